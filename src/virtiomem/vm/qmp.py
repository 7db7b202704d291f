"""QEMU behind `Backend`, through QMP on a unix or TCP socket.

Asks only what management stacks ask, plus `x-query-virtio-status`, which is marked unstable: whether a driver is there
is the one thing QEMU tells nowhere else, and "unknown" is a good answer when it does not.
"""

import asyncio
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from virtiomem.errors import DeviceError, ProtocolError
from virtiomem.qemu import migration as migrations
from virtiomem.units import U64_MAX, is_power_of_two
from virtiomem.vm.base import Device, Driver, Event, Kind, Machine, Surroundings
from virtiomem.vm.peer import Address, Peer, Refused, one_line

MAX_DEVICES = 4096
"""Far above QEMU's 256 memory slots."""

_EVENTS = {"MEMORY_DEVICE_SIZE_CHANGE": Event.SIZE, "RESET": Event.RESET, "SHUTDOWN": Event.SHUTDOWN}
_DRIVER_OK = "DRIVER_OK"

Shape = TypeVar("Shape")
Natural = Annotated[int, Meta(ge=0)]


class _Data(Struct, frozen=True, rename="kebab"):
    """The part of MemoryDeviceInfo's data that all kinds share in some spelling."""

    id: str | None = None
    size: Natural = 0
    node: Natural = 0
    memaddr: Natural = 0
    addr: Natural = 0
    max_size: Natural = 0
    requested_size: Natural = 0
    block_size: Natural = 0

    def __post_init__(self) -> None:
        sizes = (self.size, self.node, self.memaddr, self.addr, self.max_size, self.requested_size, self.block_size)
        if max(sizes) > U64_MAX:
            raise ValueError(f"{hex(max(sizes))[:40]} is above 2^64-1")
        if self.id is not None and not (self.id.isprintable() and 0 < len(self.id) <= 255):
            raise ValueError("an id that is no name")


class _MemoryDevice(Struct, frozen=True):
    """An element of query-memory-devices."""

    type: str
    data: _Data

    def __post_init__(self) -> None:
        if self.type == "virtio-mem" and not is_power_of_two(self.data.block_size):
            raise ValueError(f"block-size {self.data.block_size} is no power of two")


class _Status(Struct, frozen=True):
    status: str


class _Summary(Struct, frozen=True, rename="kebab"):
    base_memory: Natural


class _Migration(Struct, frozen=True):
    status: str = "none"


class _Child(Struct, frozen=True):
    name: str
    type: str


class _StatusBits(Struct, frozen=True):
    """Sentences that begin with a bit's name: ``VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready``."""

    statuses: list[str]


class _VirtioStatus(Struct, frozen=True):
    """x-query-virtio-status (since QEMU 7.2, unstable)."""

    status: _StatusBits
    broken: bool = False


class QmpBackend:
    """A QEMU on the other end of a QMP socket."""

    def __init__(self, label: str, address: Address) -> None:
        self._events: set[Event] = set()
        self._woken = asyncio.Event()
        self._peer = Peer(label, address, on_event=self._on_event)
        self._boot_memory = 0
        self._paths: dict[str, str] = {}

    async def open(self) -> None:
        """Connect and learn what never changes; when that fails, QEMU's only monitor is free again."""
        await self._peer.connect()
        try:
            self._boot_memory = await self._base_memory()
        except BaseException:
            await self._peer.close()
            raise

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return asyncio.get_running_loop().time()

    async def look(self) -> Machine:
        """How big everything is right now."""
        status, found = await asyncio.gather(
            self._ask("query-status", shape=_Status),
            self._ask("query-memory-devices", shape=list[_MemoryDevice]),
        )
        if len(found) > MAX_DEVICES:
            raise ProtocolError(f"{self._peer.label}: {len(found)} memory devices, more than {MAX_DEVICES}")
        if any(device.data.id is None for device in found):
            found = [await self._named(device) for device in found]
        devices = tuple(_device(device.type, device.data) for device in found)
        return Machine(status=one_line(status.status, 32), boot_memory=self._boot_memory, devices=devices)

    async def surroundings(self, machine: Machine) -> Surroundings:
        """Drivers, migration, passed-through devices; what QEMU does not tell is left unknown."""
        ids = [device.id for device in machine.virtio_mem]
        drivers = await asyncio.gather(*(self._driver(device_id) for device_id in ids))
        migration = _Migration()
        with suppress(Refused):
            migration = await self._peer.ask("query-migrate", shape=_Migration)
        return Surroundings(
            hypervisor=f"QEMU {self._peer.version or '(version unknown)'}",
            drivers=dict(zip(ids, drivers, strict=True)),
            migration=None if migration.status in migrations.IDLE else one_line(migration.status, 32),
            vfio=await self._vfio(),
        )

    async def request(self, device: str, size: int) -> None:
        """qom-set requested-size."""
        where = {"path": self._path(device), "property": "requested-size", "value": size}
        try:
            await self._peer.ask("qom-set", where, shape=dict[str, Any])
        except Refused as error:
            raise DeviceError(f"{self._peer.label}: {one_line(device)}: QEMU refuses: {error.reason}") from None

    async def wait(self, seconds: float) -> frozenset[Event]:
        """Wait for an event; QEMU throttles size changes to one a second and device, so callers poll as well."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), max(seconds, 0))
        events = frozenset(self._events)
        self._events.clear()
        self._woken.clear()
        return events

    async def close(self) -> None:
        """Disconnect."""
        await self._peer.close()

    def _on_event(self, name: str) -> None:
        event = _EVENTS.get(name)
        if event is not None:
            self._events.add(event)
            self._woken.set()

    async def _base_memory(self) -> int:
        """The boot memory, in bytes; ProtocolError for a peer that is no machine, such as qemu-storage-daemon."""
        try:
            summary = await self._peer.ask("query-memory-size-summary", shape=_Summary)
        except Refused:
            raise ProtocolError(f"{self._peer.label}: it speaks QMP, but is no QEMU machine") from None
        return summary.base_memory

    async def _ask(self, command: str, *, shape: type[Shape]) -> Shape:
        """A command that every QEMU with memory devices has."""
        try:
            return await self._peer.ask(command, shape=shape)
        except Refused as error:
            raise ProtocolError(f"{self._peer.label}: QEMU refuses {command}: {error.reason}") from None

    def _path(self, device: str) -> str:
        """Where a device is in QEMU's object tree."""
        return self._paths.get(device, f"/machine/peripheral/{device}")

    async def _driver(self, device: str) -> Driver:
        """Whether a driver has set DRIVER_OK."""
        path = {"path": f"{self._path(device)}/virtio-backend"}
        try:
            raw = await self._peer.ask("x-query-virtio-status", path, shape=dict[str, Any])
            status = msgspec.convert(raw, _VirtioStatus)
        except (Refused, msgspec.ValidationError):
            return Driver.UNKNOWN
        if status.broken:
            return Driver.BROKEN
        return Driver.READY if any(_DRIVER_OK in bit for bit in status.status.statuses) else Driver.ABSENT

    async def _vfio(self) -> tuple[str, ...]:
        """The passed-through devices, by the type of their objects."""
        named, unnamed = await asyncio.gather(
            self._children("/machine/peripheral"), self._children("/machine/peripheral-anon")
        )
        return tuple(one_line(child.name, 64) for child in (*named, *unnamed) if child.type.startswith("child<vfio-"))

    async def _children(self, path: str) -> list[_Child]:
        """The objects below a path; none where the path is missing."""
        try:
            return await self._peer.ask("qom-list", {"path": path}, shape=list[_Child])
        except Refused:
            return []

    async def _named(self, device: _MemoryDevice) -> _MemoryDevice:
        """A device that was started without an id, under the name QEMU's object tree gives it."""
        if device.data.id is not None or device.type != "virtio-mem":
            return device
        for child in await self._children("/machine/peripheral-anon"):
            path = f"/machine/peripheral-anon/{child.name}"
            if child.type.startswith("child<virtio-mem-") and await self._memaddr(path) == device.data.memaddr:
                self._paths[child.name] = path
                return msgspec.structs.replace(device, data=msgspec.structs.replace(device.data, id=child.name))
        return device

    async def _memaddr(self, path: str) -> int | None:
        """The address of an unnamed device."""
        try:
            return await self._peer.ask("qom-get", {"path": path, "property": "memaddr"}, shape=int)
        except Refused:
            return None


def _device(kind: str, data: _Data) -> Device:
    """The neutral form of an element of query-memory-devices."""
    device_id = data.id if data.id is not None else f"{data.memaddr or data.addr:#x}"
    if kind == "virtio-mem":
        return Device(
            id=device_id,
            kind=Kind.VIRTIO_MEM,
            memaddr=data.memaddr,
            size=data.size,
            requested_size=data.requested_size,
            max_size=data.max_size,
            block_size=data.block_size,
            node=data.node,
        )
    return Device(
        id=device_id,
        kind=Kind.DIMM if kind in {"dimm", "nvdimm"} else Kind.OTHER,
        memaddr=data.addr or data.memaddr,
        size=data.size,
        requested_size=data.size,
        max_size=data.size,
        block_size=0,
        node=data.node,
    )
