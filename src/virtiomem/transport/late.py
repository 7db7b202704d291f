"""Our own device, answering when it likes: after a delay, and in any order.

What the specification allows a device to do, and most devices do: the conformance suite, the fuzzer and the drivers are
run against it, so that they take nothing for granted that only a prompt device gives.
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
        self.patience = 0.02 + 20 * delay
        self._delay = delay
        self._order = order
        self._waiting: list[Element] = []
        self._due: float | None = None
        """When the next chain is answered; None while none is known to be available."""

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True) -> list[bytes]:
        """Write, notify the device, work if it is time, read."""
        super().exchange(writes, [], notify=False)
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
            self._due += self._delay

    def _next(self) -> Element | None:
        if self._order is None:
            return self.device.take()
        while (element := self.device.take()) is not None:
            self._waiting.append(element)
        return self._waiting.pop(self._order.randrange(len(self._waiting))) if self._waiting else None
