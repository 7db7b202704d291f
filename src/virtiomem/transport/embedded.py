"""Our own device behind a transport: registers by call, the ring in a piece of memory."""

from collections.abc import Sequence

from virtiomem.device.mem import MemDevice
from virtiomem.device.virtio import VirtioDevice
from virtiomem.errors import ProtocolError
from virtiomem.transport.owner import EmbeddedOwner
from virtiomem.transport.virtio_transport import Observation, Read, Write
from virtiomem.units import MiB
from virtiomem.wire.ring import Layout

RAM_BASE = 1 * MiB
RAM_SIZE = 1 * MiB
"""Where the shared memory lies; QEMU's transport uses the same, so that both see the same addresses."""


class Ram:
    """Guest memory of `size` bytes from `base`; raises ProtocolError outside."""

    def __init__(self, base: int = RAM_BASE, size: int = RAM_SIZE) -> None:
        self.base = base
        self._data = bytearray(size)

    def read(self, addr: int, size: int) -> bytes:
        """Read bytes."""
        offset = self._offset(addr, size)
        # A copy: the memory goes on changing, and what was read must not.
        return bytes(self._data[offset : offset + size])

    def write(self, addr: int, data: bytes) -> None:
        """Write bytes."""
        offset = self._offset(addr, len(data))
        self._data[offset : offset + len(data)] = data

    def _offset(self, addr: int, size: int) -> int:
        # Any address may come from the ring of a hostile driver, and Python would take a negative index.
        offset = addr - self.base
        if offset < 0 or offset + size > len(self._data):
            raise ProtocolError(f"no guest memory at {addr:#x} ({size} bytes)")
        return offset


class EmbeddedTransport(EmbeddedOwner):
    """A `transport.virtio_transport.VirtioTransport` and `Owner` of a MemDevice in this process."""

    # It answers while it is notified: what is not there then never comes.
    patience = 0.0

    def __init__(self, mem: MemDevice) -> None:
        super().__init__(mem)
        self._ram = Ram()
        self.device = VirtioDevice(mem, self._ram)
        self.memory = Read(RAM_BASE, RAM_SIZE)
        self.order: Sequence[int] = ()
        """Which of the chains of the next notifications to answer first, by their positions; the others follow."""

    # --- VirtioTransport ---

    def offered(self) -> int:
        """Feature bits that the device offers."""
        return self.device.offered

    def accept(self, features: int) -> None:
        """Write the driver's feature bits."""
        self.device.accept(features)

    def status(self) -> int:
        """The device status byte."""
        return self.device.status

    def set_status(self, status: int) -> None:
        """Write the device status byte."""
        self.device.set_status(status)

    def queue_size(self) -> int:
        """The size of queue 0."""
        return self.device.queue_size

    def enable_queue(self, layout: Layout) -> None:
        """Place and enable queue 0."""
        self.device.enable_queue(layout)

    def observe(self) -> Observation:
        """Look at all registers."""
        device = self.device
        # read_isr() clears it, as reading the register does: an observation is also an acknowledgement.
        return Observation(device.mem.config, device.status, device.read_isr(), device.generation)

    def config(self) -> bytes:
        """The configuration space."""
        return self.device.mem.config.pack()

    def write_config(self, offset: int, data: bytes) -> None:
        """Nothing: all fields are read-only."""

    def take_interrupt(self) -> int:
        """The interrupt status, which this clears."""
        return self.device.read_isr()

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True) -> list[bytes]:
        """Write, notify the device, read."""
        # In order: the available index comes last, and the device may only see it with all before it written.
        for addr, data in writes:
            self._ram.write(addr, data)
        if notify:
            # All are taken before any is answered, for a device that answers out of order has read them all.
            taken = [self.device.take() for _ in self.order]
            for element in (taken[position] for position in self.order):
                if element is not None:
                    self.device.answer(element)
            self.device.notify()
        return [self._ram.read(addr, size) for addr, size in reads]

    def exchange_and_observe(
        self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True
    ) -> tuple[list[bytes], Observation]:
        """Write, notify the device, read, look."""
        return self.exchange(writes, reads, notify=notify), self.observe()

    # --- Owner ---

    def system_reset(self) -> None:
        """Reset the machine."""
        self.device.system_reset()
