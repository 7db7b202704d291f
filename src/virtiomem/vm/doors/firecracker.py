"""``firecracker:SOCKET``: a microVM of Firecracker 1.14 or newer behind `Backend`, through its API socket.

It has one virtio-mem device, counts in MiB, and tells neither the device's address nor whether it has a driver.
Source: src/firecracker/swagger/firecracker.yaml and docs/memory-hotplug.md of Firecracker 1.16. Not run against the real one.
"""

from msgspec import Struct

from virtiomem.errors import BackendError, DeviceError
from virtiomem.qemu.validation import Number, Text
from virtiomem.text import shown
from virtiomem.units import MiB
from virtiomem.vm.doors.address import parse_path
from virtiomem.vm.doors.base import Ability, Door
from virtiomem.vm.doors.http import ApiTarget, HttpPeer, PollingBackend
from virtiomem.vm.doors.peer import Refused
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice

DEVICE = "mem"
"""Name of the only device: Firecracker does not name it."""
_STATES = {"Running": "running", "Paused": "paused", "Not started": "not started"}


DOOR = Door(
    "firecracker",
    "a Firecracker microVM, through its API socket",
    ("firecracker:/api.sock",),
    lambda text, source: ApiTarget("firecracker", parse_path(text, source=source), FirecrackerBackend),
    {
        "list": Ability("the address is unknown"),
        "status": Ability("drivers: by `--agent`"),
        "watch": Ability("polls, every quarter of a second: it has no events"),
        "explain": Ability("drivers and inside: by `--agent` or `--capture`"),
        "resize --persist": Ability("a microVM has no stored configuration", can=False),
        "attach": Ability("its one device is configured before it starts", can=False),
        "detach": Ability("see attach", can=False),
    },
)


class _Instance(Struct, frozen=True):
    """GET /."""

    state: Text
    vmm_version: Text


class _MachineConfig(Struct, frozen=True):
    """GET /machine-config."""

    mem_size_mib: Number


class _HotplugMemory(Struct, frozen=True):
    """GET /hotplug/memory."""

    total_size_mib: Number
    block_size_mib: Number
    plugged_size_mib: Number
    requested_size_mib: Number

    def __post_init__(self) -> None:
        # Whatever rounds to blocks relies on it, and a block of 0 would be divided by.
        if self.block_size_mib < 1 or self.block_size_mib & (self.block_size_mib - 1):
            raise ValueError(f"a device of which the block size, {self.block_size_mib} MiB, is a power of two")


class FirecrackerBackend(PollingBackend):
    """A microVM on the other end of an API socket."""

    def __init__(self, path: str, label: str) -> None:
        self._peer = HttpPeer(path, label)
        self._version = ""
        self._boot_memory = 0
        self._last: Machine | None = None

    async def open(self) -> None:
        """Learn what never changes."""
        try:
            self._version = (await self._peer.ask("GET /", shape=_Instance)).vmm_version
            self._boot_memory = (await self._peer.ask("GET /machine-config", shape=_MachineConfig)).mem_size_mib * MiB
        except Refused as error:
            raise BackendError(f"it is no Firecracker: {error.reason}", connection=self._peer.label) from None

    async def look(self) -> Machine:
        """Return the present sizes."""
        try:
            # Asked each time: a microVM can be paused meanwhile, and no event says so.
            state = (await self._peer.ask("GET /", shape=_Instance)).state
            found = await self._peer.ask("GET /hotplug/memory", shape=_HotplugMemory)
        except Refused as error:
            text = f"it shows no memory device (needs 1.14, and PUT /hotplug/memory before the start): {error.reason}"
            raise BackendError(text, connection=self._peer.label) from None
        device = VirtioMemDevice(
            id=DEVICE,
            max_size=found.total_size_mib * MiB,
            requested_size=found.requested_size_mib * MiB,
            size=found.plugged_size_mib * MiB,
            block_size=found.block_size_mib * MiB,
        )
        status = _STATES.get(state, shown(state, 32))
        self._last = Machine(status=status, boot_memory=self._boot_memory, devices=(device,))
        return self._last

    async def hypervisor_info(self, machine: Machine) -> HypervisorInfo:
        """Its version; it does not report drivers, and it has no passed-through devices."""
        drivers = {device.id: Driver.UNKNOWN for device in machine.virtio_mem}
        return HypervisorInfo(hypervisor=f"Firecracker {shown(self._version, 32)}", drivers=drivers)

    async def set_requested_size(self, device: str, size: int) -> None:
        """Set the requested size."""
        # For its max size, which our own check needs: Firecracker's cannot be relied on (below).
        (known,) = (await self.look()).virtio_mem
        if device != known.id:
            raise DeviceError(f"{shown(device)}: its only device is {known.id}", connection=self._peer.label)
        # The API counts in MiB of 32 bits.
        if size % MiB or size > known.max_size:  # before 1.16.2 a size of 2^44 MiB and more wraps around
            raise DeviceError(
                f"{device}: {size} is not a whole number of MiB up to its max size", connection=self._peer.label
            )
        try:
            await self._peer.tell("PATCH /hotplug/memory", {"requested_size_mib": size // MiB})
        except Refused as error:
            raise DeviceError(f"{device}: Firecracker refuses: {error.reason}", connection=self._peer.label) from None

    async def close(self) -> None:
        """Disconnect."""
        await self._peer.close()
