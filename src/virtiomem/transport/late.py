"""Our own device with late answers: after a delay, and in any order.

The specification allows both, and most devices do it. The conformance suite, the fuzzer and the drivers are run against
this device, so that they do not rely on prompt answers.
"""

import time
from collections.abc import Sequence
from random import Random

from virtiomem.device.mem import MemDevice
from virtiomem.device.virtqueue import Element
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.virtio_transport import Observation, Read, Write


class LateTransport(EmbeddedTransport):
    """An `EmbeddedTransport` whose device takes `delay` seconds for each chain, and picks chains at random with `order`."""

    def __init__(self, mem: MemDevice, delay: float, order: Random | None = None) -> None:
        super().__init__(mem)
        # Patience begins again with each chain that comes, so that 20 delays are ample; the constant is for a delay of
        # 0.
        self.patience = 0.02 + 20 * delay
        self._delay = delay
        self._order = order
        self._waiting: list[Element] = []
        self._due: float | None = None
        """When the next chain is answered; None while none is known to be available."""

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True) -> list[bytes]:
        """Write, notify the device, work if it is time, read."""
        # Written and not notified: when the device looks is decided here.
        super().exchange(writes, [], notify=False)
        # A notification while it works changes nothing: it finds the chains when it comes to them.
        if notify and self._due is None:
            self._due = time.monotonic() + self._delay
        self._work()
        return super().exchange([], reads, notify=False)

    def observe(self) -> Observation:
        """Work if it is time, and look at all registers."""
        self._work()
        return super().observe()

    def set_status(self, status: int) -> None:
        """Write the device status byte; a reset drops what was taken and not answered."""
        if not status:
            self._forget()
        super().set_status(status)

    def system_reset(self) -> None:
        """Reset the machine."""
        self._forget()
        super().system_reset()

    def _forget(self) -> None:
        self._waiting.clear()
        self._due = None

    def _work(self) -> None:
        """Answer the chains that are due, one each `delay` seconds."""
        while self._due is not None and self._due <= time.monotonic():
            element = self._next()
            if element is None:
                self._due = None
                return
            self.device.answer(element)
            # From when it was due, not from now: a test that sleeps longer sees as many answers as time allows.
            self._due += self._delay

    def _next(self) -> Element | None:
        if self._order is None:
            return self.device.take()
        # All that is available is taken first, so that any of it may be next.
        while (element := self.device.take()) is not None:
            self._waiting.append(element)
        return self._waiting.pop(self._order.randrange(len(self._waiting))) if self._waiting else None
