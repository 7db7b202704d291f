"""Interface of a virtio device to its driver: registers, notifications, and the memory they share.

A `VirtioTransport` is what one VMM adapter provides; rings, drivers, the conformance suite and the fuzzer stand on it and know
nothing else. `Owner` is the other side of the device: what its user does to it.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from virtiomem.wire.mem import Config
from virtiomem.wire.ring import Layout


class Write(NamedTuple):
    """Bytes to put into guest memory."""

    addr: int
    data: bytes


class Read(NamedTuple):
    """Bytes to take from guest memory."""

    addr: int
    size: int


class Observation(NamedTuple):
    """Everything a driver can see of the device at one moment; looking clears `isr`."""

    config: Config
    status: int
    isr: int
    generation: int


class DeviceSpec(NamedTuple):
    """A virtio-mem device as its VMM is asked to make it; sizes in bytes, None for the VMM's default."""

    id: str
    size: int
    block_size: int | None = None
    requested_size: int = 0
    memaddr: int | None = None
    node: int = 0
    unplugged_inaccessible: Literal["on", "off", "auto"] | None = None


class VirtioTransport(Protocol):
    """Access of a driver to one virtio device (virtio specification 4); raises BackendError when it is lost."""

    memory: Read
    """Guest memory that the driver may use for rings and buffers."""
    patience: float
    """Seconds after which an unanswered chain counts as never answered; 0 if the device answers before `exchange` returns."""

    def offered(self) -> int:
        """Feature bits that the device offers."""

    def accept(self, features: int) -> None:
        """Write the driver's feature bits."""

    def status(self) -> int:
        """The device status byte."""

    def set_status(self, status: int) -> None:
        """Write the device status byte; 0 resets the device and waits until it is reset."""

    def queue_size(self) -> int:
        """The size of queue 0 that the device proposes."""

    def enable_queue(self, layout: Layout) -> None:
        """Place queue 0 in guest memory and enable it."""

    def observe(self) -> Observation:
        """Look at all registers at once."""

    def config(self) -> bytes:
        """The configuration space, 56 bytes, read consistently; leaves the interrupt status alone."""

    def write_config(self, offset: int, data: bytes) -> None:
        """Write to the configuration space, which no driver should."""

    def take_interrupt(self) -> int:
        """The interrupt status, which this clears."""

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True) -> list[bytes]:
        """Write guest memory, notify queue 0, then read guest memory: one round trip, in this order."""

    def exchange_and_observe(
        self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True
    ) -> tuple[list[bytes], Observation]:
        """`exchange` and `observe` in one round trip."""


class Owner(Protocol):
    """The side of a device that its user controls: requested size, machine reset, migration.

    Each call raises NotImplementedError where there is no way to do it.
    """

    def set_requested_size(self, size: int) -> None:
        """Set the property, in bytes; raises DeviceError, in the VMM's words, when it is refused."""

    def requested_size(self) -> int:
        """The property, in bytes."""

    def size(self) -> int:
        """The plugged size that the VMM reports, in bytes."""

    def system_reset(self) -> None:
        """Reset the machine; afterwards the device is as the firmware finds it."""

    def set_busy(self, busy: bool) -> None:
        """Start a migration that does not end by itself, or cancel it."""
