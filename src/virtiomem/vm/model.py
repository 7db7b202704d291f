"""The neutral model of a running machine, and what a backend must be able to do.

Names are QMP's (`requested-size`, `size`, `max-size`, `block-size`); other hypervisors are translated into them at their
backend's border. Sizes are bytes, times are seconds of the backend's own clock.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import asdict

from virtiomem.reasons import Reason
from virtiomem.recording.values import DimmInfo, VirtioMemInfo
from virtiomem.units import Span
from virtiomem.vm.inside import GuestMemoryInfo


class Driver(StrEnum):
    """State of a device's driver in the guest, where it is known."""

    READY = "ready"
    """It set DRIVER_OK and the device works."""
    ABSENT = "absent"
    """No driver set DRIVER_OK since the last reset."""
    BROKEN = "broken"
    """The device waits for a reset: its driver broke the protocol."""
    UNKNOWN = "unknown"
    """Neither the hypervisor nor the guest tells."""


class Event(StrEnum):
    """An event that the hypervisor pushed."""

    SIZE = "size"
    RESET = "reset"
    SHUTDOWN = "shutdown"


class VirtioMemDevice(Struct, frozen=True, kw_only=True, tag="virtio-mem"):
    """A virtio-mem device as its hypervisor reports it: a size in bytes, or an address, that is not reported is None.

    `size` is what is plugged. What was configured is always reported.
    """

    id: str
    max_size: int
    requested_size: int
    size: int | None
    block_size: int
    memaddr: int | None = None
    node: int = 0

    @classmethod
    def of(cls, info: VirtioMemInfo) -> "VirtioMemDevice":
        """The same for a device whose hypervisor reports everything."""
        return cls(**asdict(info))

    @property
    def region(self) -> Span | None:
        """Region of the device's memory, plugged or not; None while that is unknown."""
        return None if self.memaddr is None else Span.sized(self.memaddr, self.max_size)

    @property
    def settled(self) -> bool:
        """True when what is plugged is known to be what is asked for."""
        return self.size == self.requested_size

    @property
    def assumed_size(self) -> int:
        """Plugged size or, while that is unknown, the requested size: the best that a plan can start from."""
        return self.requested_size if self.size is None else self.size


class OtherMemory(DimmInfo, frozen=True, kw_only=True, tag="other"):
    """A memory device that is neither virtio-mem nor a DIMM: NVDIMM, virtio-pmem, SGX. It counts in no total of RAM and
    cannot be resized.
    """


Device = VirtioMemDevice | DimmInfo
"""One memory device; a DIMM's three sizes are equal and its `block_size` is 0."""


def kind(device: Device) -> str:
    """Name the kind of a memory device: ``virtio-mem``, ``dimm`` or ``other``."""
    return str(device.__struct_config__.tag)


class Machine(Struct, frozen=True, kw_only=True, rename="kebab"):
    """One look at a machine; cheap enough to repeat every second."""

    status: str
    """The hypervisor's word: running, paused, prelaunch …"""
    boot_memory: int
    devices: tuple[Device, ...]
    plugged_sum: int | None = None
    """What all virtio-mem devices have plugged, where the hypervisor tells that and not what each has."""

    @property
    def running(self) -> bool:
        """True when the guest's CPUs run."""
        return self.status == "running"

    @property
    def virtio_mem(self) -> tuple[VirtioMemDevice, ...]:
        """The devices that can be resized."""
        return tuple(device for device in self.devices if isinstance(device, VirtioMemDevice))

    @property
    def requested(self) -> int:
        """The sum of the virtio-mem devices' requested sizes."""
        return sum(device.requested_size for device in self.virtio_mem)

    @property
    def plugged(self) -> int | None:
        """The sum of the virtio-mem devices' sizes; None when that of one is unknown, and the sum is not reported either."""
        sizes = [device.size for device in self.virtio_mem]
        return self.plugged_sum if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def fixed(self) -> int:
        """Boot memory and DIMMs: what no resize changes."""
        dimms = [device for device in self.devices if isinstance(device, DimmInfo) and kind(device) == "dimm"]
        return self.boot_memory + sum(device.size for device in dimms)

    def device(self, device_id: str) -> Device | None:
        """The device of that id."""
        return next((device for device in self.devices if device.id == device_id), None)


class HypervisorInfo(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Other conditions that affect a resize; read before one and when one is stuck."""

    hypervisor: str
    drivers: dict[str, Driver]
    """By device id."""
    migration: str | None = None
    """State of an active migration, during which the device answers BUSY; None if no migration runs."""
    vfio: tuple[str, ...] = ()
    """Passed-through devices: they pin all plugged memory."""
    retry_in: float | None = None
    """Seconds until the driver tries again, where the backend can know it (a simulated guest)."""
    reasons: tuple[Reason, ...] = ()
    """Why devices are not at their requested sizes, where the backend can know it (a simulated guest)."""
    held_back: str | None = None
    """Why a question that the user allowed was not asked: it might harm this hypervisor."""


class Backend(Protocol):
    """One running machine. Every method states its effect, what it must not do, and what alone makes it fail.

    Common to all: BackendError when the machine is lost, BackendTimeout when it does not answer in the door's time limit,
    ProtocolError when the answer is impossible. Each is one line that begins with the connection.
    """

    def now(self) -> float:
        """The time in seconds: monotonic, virtual for a simulated guest.

        Must not go backwards, nor run without a waiting caller when it is virtual. Never fails.
        """

    async def look(self) -> Machine:
        """Return the present sizes.

        Must not change anything, nor give a number for what the hypervisor does not tell: that is None. Fails only if
        the machine is lost.
        """

    async def hypervisor_info(self, machine: Machine) -> HypervisorInfo:
        """Return the other conditions of a resize of `machine`, which `look` has returned.

        Must not fail for what this hypervisor cannot tell, nor send what may do harm. Fails only if the machine is lost.
        """

    async def set_requested_size(self, device: str, size: int) -> None:
        """Set a virtio-mem device's requested-size, in bytes; it returns at once, the guest follows.

        Must not wait for the guest, nor change anything else. The same size once more is not an error, and lets the driver
        try at once where the hypervisor passes it on. Fails only if the hypervisor refuses: DeviceError, with its words,
        and nothing has changed; or if the machine is lost.
        """

    async def wait(self, seconds: float) -> frozenset[Event]:
        """Return what happened since the last call: at once when something did, else after `seconds` at the latest.

        Must not lose an event that came between two calls, nor take longer. Never fails: a machine that is lost is found
        so by the next look.
        """

    async def close(self) -> None:
        """Let go of the machine.

        Must not change it, nor take more than a few seconds. Never fails, repeated or when the machine is lost.
        """


class NewDevice(Struct, frozen=True, kw_only=True):
    """A memory device that a machine is to get; sizes in bytes."""

    kind: Literal["virtio-mem", "dimm"]
    name: str
    size: int
    node: int = 0
    block_size: int
    requested_size: int = 0


@runtime_checkable
class Attaching(Protocol):
    """A backend that can add and remove memory devices while the machine runs; raises as `Backend` does."""

    async def attach(self, new: NewDevice) -> str:
        """Add a device, and return the id under which `look` shows it.

        Must not wait for the guest. Fails only if the hypervisor refuses: DeviceError, and nothing has changed.
        """

    async def detach(self, device: str) -> None:
        """Ask for a device to be removed; the guest decides, and the device is gone once `look` does not show it.

        Must not wait for the guest. Fails only if the hypervisor refuses: DeviceError, and nothing has changed.
        """


class GuestView(Protocol):
    """An agent inside the guest that answers questions; raises as `Backend` does."""

    async def look(self, spans: tuple[Span, ...] = (), *, claims: bool = False) -> GuestMemoryInfo:
        """Return the guest's view of its memory; also the zone of every memory block in `spans`, and the drivers' `claims`."""

    async def count_pages(self, inside: GuestMemoryInfo, spans: tuple[Span, ...], seconds: float) -> GuestMemoryInfo:
        """Return `inside` with the uses of pages of its online memory blocks in `spans`, of as many as there is time for."""

    async def close(self) -> None:
        """Let go of the agent; harmless when repeated."""


@dataclass(frozen=True, slots=True)
class Vm:
    """An open machine: its hypervisor's side and, when there is one, the agent inside."""

    name: str
    backend: Backend
    agent: GuestView | None = None
    remarks: tuple[str, ...] = ()
    """What its user has to know before it is talked to."""

    async def aclose(self) -> None:
        """Let go of the machine and of its agent; harmless when repeated or when they are lost."""
        try:
            if self.agent is not None:
                await self.agent.close()
        finally:
            await self.backend.close()
