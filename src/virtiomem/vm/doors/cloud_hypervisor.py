"""``cloud-hypervisor:SOCKET``: a VM of Cloud Hypervisor behind `Backend`, through its API socket.

A device is a memory zone with a hotplug size; without zones it is the one of ``mem0``. What is plugged is reported
since v52, and only as a sum: of one device it is known, of more it is not, nor where there is a balloon. Addresses and
drivers are not reported. Source: vmm/src/api/openapi/cloud-hypervisor.yaml and vmm/src/{config,lib}.rs of v53. Not run
against the real one.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from virtiomem.errors import BackendError, DeviceError
from virtiomem.qemu.validation import Name, Number, Text
from virtiomem.text import shown
from virtiomem.units import MiB
from virtiomem.vm.doors.address import parse_path
from virtiomem.vm.doors.base import Ability, Door
from virtiomem.vm.doors.http import ApiTarget, HttpPeer, PollingBackend
from virtiomem.vm.doors.peer import Refused
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice

BLOCK_SIZE = 2 * MiB
"""VIRTIO_MEM_DEFAULT_BLOCK_SIZE in virtio-devices/src/mem.rs; the API does not tell it."""
NO_ZONES = "mem0"
"""The device of a VM without zones (DEFAULT_MEMORY_ZONE in vmm/src/memory_manager.rs)."""
TELLS_PLUGGED = 52
"""The first release of which memory_actual_size follows what is plugged."""
_METHOD = "VirtioMem"
_RESIZABLE = {"Running", "Paused"}
"""A VM that is only created takes a resize for a change of its boot memory."""


DOOR = Door(
    "cloud-hypervisor",
    "a VM of Cloud Hypervisor, through its API socket",
    ("cloud-hypervisor:/api.sock",),
    lambda text, source: ApiTarget("cloud-hypervisor", parse_path(text, source=source), CloudHypervisorBackend),
    {
        "list": Ability(
            "addresses are unknown; so is what is plugged before v52, where there is a balloon, and of each of several zones"
        ),
        "status": Ability("drivers: by `--agent`"),
        "resize": Ability("what is plugged must be known, else only with `--no-wait`; the same size again is not sent"),
        "watch": Ability("polls, every quarter of a second: its events have no sizes"),
        "explain": Ability(
            "drivers, migrations and inside are unknown; inside and drivers by `--agent` or `--capture`"
        ),
        "resize --persist": Ability("a resize holds over a reboot; a VM has no stored configuration", can=False),
        "attach": Ability("its zones are configured before it starts", can=False),
        "detach": Ability("see attach", can=False),
    },
)


class _Ping(Struct, frozen=True):
    """GET /vmm.ping."""

    version: Text


class _Zone(Struct, frozen=True):
    id: Name
    size: Number = 0
    hotplug_size: Number | None = None
    hotplugged_size: Number | None = None


class _Memory(Struct, frozen=True):
    size: Number = 0
    hotplug_method: Text = "Acpi"
    hotplug_size: Number | None = None
    hotplugged_size: Number | None = None
    zones: list[_Zone] | None = None

    @property
    def resizable(self) -> list[_Zone]:
        """The parts that can be resized: the zones with a hotplug size, or all memory where there are no zones."""
        if self.hotplug_method != _METHOD:
            return []
        whole = _Zone(NO_ZONES, self.size, self.hotplug_size, self.hotplugged_size)
        return [zone for zone in self.zones or [whole] if zone.hotplug_size]


class _Numa(Struct, frozen=True):
    guest_numa_id: Number
    memory_zones: list[Text] | None = None


class _Balloon(Struct, frozen=True):
    size: Number = 0


class _PassedThrough(Struct, frozen=True):
    path: Text


class _VmConfig(Struct, frozen=True):
    memory: _Memory
    numa: list[_Numa] | None = None
    balloon: _Balloon | None = None
    devices: list[_PassedThrough] | None = None


class _Info(Struct, frozen=True):
    """GET /vm.info; sizes in bytes."""

    state: Text
    config: _VmConfig
    memory_actual_size: Number | None = None


class CloudHypervisorBackend(PollingBackend):
    """A VM on the other end of an API socket."""

    def __init__(self, path: str, label: str) -> None:
        self._peer = HttpPeer(path, label, prefix="/api/v1")
        self._version = ""
        self._last: Machine | None = None

    async def open(self) -> None:
        """Learn the version."""
        try:
            self._version = (await self._peer.ask("GET /vmm.ping", shape=_Ping)).version
        except Refused as error:
            raise BackendError(f"it is no Cloud Hypervisor: {error.reason}", connection=self._peer.label) from None

    async def look(self) -> Machine:
        """Return the present sizes, where the VMM reports them."""
        info = await self._info()
        memory = info.config.memory
        # With zones `memory.size` is 0, so that nothing is counted twice.
        boot = memory.size + sum(zone.size for zone in memory.zones or ())
        plugged = self._plugged(info, boot)
        zones = memory.resizable
        devices = tuple(
            VirtioMemDevice(
                id=zone.id,
                max_size=zone.hotplug_size or 0,
                requested_size=zone.hotplugged_size or 0,
                # The sum is all that is reported: of several zones it cannot be divided.
                size=plugged if len(zones) == 1 else None,
                block_size=BLOCK_SIZE,
                node=_node(info, zone.id),
            )
            for zone in zones
        )
        told = plugged if len(zones) > 1 else None
        self._last = Machine(status=shown(info.state.lower(), 32), boot_memory=boot, devices=devices, plugged_sum=told)
        return self._last

    async def hypervisor_info(self, machine: Machine) -> HypervisorInfo:
        """Its version, and passed-through devices; it does not report drivers or migrations."""
        info = await self._info()
        return HypervisorInfo(
            hypervisor=f"Cloud Hypervisor {shown(self._version, 32)}",
            drivers={device.id: Driver.UNKNOWN for device in machine.virtio_mem},
            vfio=tuple(shown(Path(device.path).name, 64) for device in info.config.devices or ()),
        )

    async def set_requested_size(self, device: str, size: int) -> None:
        """Set the requested size of a zone; the API takes it and the zone's boot memory as one number."""
        info = await self._info()
        zone = next((zone for zone in info.config.memory.resizable if zone.id == device), None)
        if zone is None:
            raise DeviceError(f"{shown(device)} is gone", connection=self._peer.label)
        # Looked at first, for a VM that is only created answers 204 and changes its boot memory instead.
        if info.state not in _RESIZABLE:
            text = (
                f"{device}: the VM is {shown(info.state.lower(), 32)}: it can be resized while it is running or paused"
            )
            raise DeviceError(text, connection=self._peer.label)
        if (zone.hotplugged_size or 0) == size:  # the same size again is an error there
            return
        # The API has one number for boot memory and hotplugged memory together.
        total = zone.size + size
        try:
            if info.config.memory.zones:
                await self._peer.tell("PUT /vm.resize-zone", {"id": device, "desired_ram": total})
            else:
                await self._peer.tell("PUT /vm.resize", {"desired_ram": total})
        except Refused as error:
            # An error may be about a size that was taken all the same, or that another client has just set: the size
            # that is requested decides.
            if await self._requested(device) != size:
                text = f"{device}: Cloud Hypervisor refuses: {error.reason}"
                raise DeviceError(text, connection=self._peer.label) from None

    async def close(self) -> None:
        """Disconnect."""
        await self._peer.close()

    async def _info(self) -> _Info:
        try:
            return await self._peer.ask("GET /vm.info", shape=_Info)
        except Refused as error:
            raise BackendError(f"it has no VM: {error.reason}", connection=self._peer.label) from None

    async def _requested(self, device: str) -> int | None:
        found = (zone for zone in (await self._info()).config.memory.resizable if zone.id == device)
        return next((zone.hotplugged_size or 0 for zone in found), None)

    def _plugged(self, info: _Info, boot: int) -> int | None:
        """Sum the plugged sizes of all devices; None where it is not reported, or is impossible."""
        # A balloon takes its actual size out of the sum, and that size is not reported.
        if info.memory_actual_size is None or (info.config.balloon and info.config.balloon.size):
            return None
        release = re.match(r"v?(\d{1,4})\.", self._version)
        # Before v52 the sum is what was configured, so that every resize would seem done at once.
        if release is None or int(release[1]) < TELLS_PLUGGED or info.memory_actual_size < boot:
            return None
        return info.memory_actual_size - boot


def _node(info: _Info, zone: str) -> int:
    """The node that has a zone; 0 where none is said to."""
    return next(_nodes(info, zone), 0)


def _nodes(info: _Info, zone: str) -> Iterator[int]:
    return (numa.guest_numa_id for numa in info.config.numa or () if zone in (numa.memory_zones or ()))
