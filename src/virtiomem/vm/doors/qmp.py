"""``qmp:SOCKET``: QEMU behind `Backend`, through its monitor on a unix or TCP socket.

Asks only what management stacks ask, so that whether a driver is there stays unknown: QEMU tells it nowhere but in
`x-query-virtio-status`, which is unstable and asked only when the user allows it (`sent`). The guest knows it, too.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from virtiomem.errors import DeviceError, ProtocolError
from virtiomem.qemu import validation
from virtiomem.qemu.memory_devices import GET, QUERY, SET, MemoryDevice, path_of, property_of, requested_size
from virtiomem.qemu.shapes import MIGRATION_IDLE, Migration
from virtiomem.qemu.validation import NAME, NUMBER, OBJECT, Flag, Number, Shape, Text
from virtiomem.recording.values import VirtioMemInfo
from virtiomem.text import shown
from virtiomem.vm.concurrency import each
from virtiomem.vm.doors.address import Address, name_of, parse_address
from virtiomem.vm.doors.base import Ability, Connection, Door, MachineTarget
from virtiomem.vm.doors.guest_agent import socket_agent
from virtiomem.vm.doors.peer import Peer, Refused
from virtiomem.vm.doors.sent import VIRTIO_STATUS, why_not
from virtiomem.vm.model import Device, Driver, Event, HypervisorInfo, Machine, OtherMemory, VirtioMemDevice, Vm

MAX_DEVICES = 4096
"""Far above QEMU's 256 memory slots."""

_HEARING = 0.01
"""Seconds behind an event in which others are heard: a reset may follow a change of size, and have come while we were busy."""
_EVENTS = {"MEMORY_DEVICE_SIZE_CHANGE": Event.SIZE, "RESET": Event.RESET, "SHUTDOWN": Event.SHUTDOWN}
_DRIVER_OK = "DRIVER_OK"
_UNNAMED = "/machine/peripheral-anon"
"""Where QEMU keeps the devices that were started without an id."""


class _Status(Struct, frozen=True):
    status: Text


class _Summary(Struct, frozen=True, rename="kebab"):
    base_memory: Number


class _Child(Struct, frozen=True):
    name: Text
    type: Text


class _StatusBits(Struct, frozen=True):
    """Sentences that begin with a bit's name: ``VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready``."""

    statuses: list[Text]


class _VirtioStatus(Struct, frozen=True):
    """x-query-virtio-status (since QEMU 7.2, unstable)."""

    status: _StatusBits
    broken: Flag = False


@dataclass(frozen=True, slots=True)
class QmpTarget(MachineTarget):
    """A monitor's socket, as it is written and as it is."""

    text: str
    address: Address

    @classmethod
    def parse(cls, text: str, source: str) -> "QmpTarget":
        """Read it; UsageError begins with `source`."""
        return cls(text, parse_address(text, source=source))

    @property
    def name(self) -> str:
        """The socket's file without its suffix, or HOST:PORT."""
        return name_of(self.text)

    def __str__(self) -> str:
        return f"qmp:{self.text}"

    async def open(self, connection: Connection) -> Vm:
        """Connect to the monitor; the agent is not asked yet."""
        backend = QmpBackend(connection.label, self.address, unstable=connection.access.unstable)
        agent = socket_agent(connection)
        await backend.open()
        return Vm(connection.name, backend, agent)


DOOR = Door(
    "qmp",
    "QEMU, through its monitor",
    ("qmp:/monitor.sock", "qmp:HOST:PORT"),
    QmpTarget.parse,
    {
        "status": Ability("drivers: by `--agent`, or by an unstable command that needs your word"),
        "explain": Ability("drivers as for status; inside only by `--agent` or `--capture`"),
        "resize --persist": Ability("a QEMU has no stored configuration: change what starts it", can=False),
        "attach": Ability("only who has started QEMU knows which bus and which memory may take a device", can=False),
        "detach": Ability("see attach", can=False),
    },
)


class QmpBackend:
    """A QEMU on the other end of a QMP socket."""

    def __init__(self, label: str, address: Address, *, unstable: bool = False) -> None:
        """`unstable` allows unstable commands, on releases that are known to survive them."""
        self._unstable = unstable
        self._events: set[Event] = set()
        self._woken = asyncio.Event()
        self._peer = Peer(label, address, on_event=self._on_event, unstable=unstable)
        self._boot_memory = 0
        self._paths: dict[str, str] = {}

    async def open(self) -> None:
        """Connect and learn what never changes; when that fails, QEMU's only monitor is free again."""
        await self._peer.connect()
        try:
            self._boot_memory = await self._base_memory()
        except BaseException:
            # Let go at once: as long as we hold the monitor no other client, ours of the next try included, gets a
            # greeting.
            await self._peer.close()
            raise

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return asyncio.get_running_loop().time()

    async def look(self) -> Machine:
        """Return the present sizes."""
        async with self._peer.deadline():
            status = await self._ask("query-status", shape=_Status)
            found = await self._ask(QUERY, shape=list[MemoryDevice])
            if len(found) > MAX_DEVICES:
                raise ProtocolError(
                    f"{len(found)} memory devices, more than {MAX_DEVICES}", connection=self._peer.label
                )
            devices = tuple(map(_device, await self._named(found)))
        # After names were found: two devices without an id have none to compare before.
        self._check_distinct(devices)
        return Machine(status=shown(status.status, 32), boot_memory=self._boot_memory, devices=devices)

    def _check_distinct(self, devices: Sequence[Device]) -> None:
        """Refuse two devices of one id: a resize of the one would be taken for that of the other."""
        ids = [device.id for device in devices]
        if len(set(ids)) < len(ids):
            twice = next(device_id for device_id in ids if ids.count(device_id) > 1)
            raise self._peer.bad_answer(QUERY, f"two devices have the id {twice}")

    async def hypervisor_info(self, machine: Machine) -> HypervisorInfo:
        """Drivers, migration, passed-through devices; what QEMU does not tell is left unknown."""
        ids = [device.id for device in machine.virtio_mem]
        async with self._peer.deadline():
            drivers = await each(self._driver, ids)
            migration = Migration()
            with suppress(Refused):
                migration = await self._peer.ask("query-migrate", shape=Migration)
            vfio = await self._vfio()
        return HypervisorInfo(
            hypervisor=f"QEMU {self._peer.version or '(version unknown)'}",
            drivers=dict(zip(ids, drivers, strict=True)),
            # The device answers BUSY in every other state (virtio_mem_is_busy() in QEMU).
            migration=None if migration.status in MIGRATION_IDLE else shown(migration.status, 32),
            vfio=vfio,
            held_back=why_not(VIRTIO_STATUS, self._peer.version) if self._unstable else None,
        )

    async def set_requested_size(self, device: str, size: int) -> None:
        """Set a virtio-mem device's requested-size; it returns at once."""
        try:
            await self._peer.ask(SET, requested_size(self._path(device), size), shape=OBJECT)
        except Refused as error:
            raise DeviceError(f"{shown(device)}: QEMU refuses: {error.reason}", connection=self._peer.label) from None

    async def wait(self, seconds: float) -> frozenset[Event]:
        """Wait for an event; QEMU throttles size changes to one a second and device, so callers poll as well."""
        with suppress(TimeoutError):
            # Not wait_for(), which loses a cancellation that comes with the event in one turn (Python below 3.12).
            async with asyncio.timeout(max(seconds, 0)):
                await self._woken.wait()
        await asyncio.sleep(_HEARING)
        events = frozenset(self._events)
        # No await since the copy was made: an event that arrives now is left for the next call.
        self._events.clear()
        self._woken.clear()
        return events

    async def close(self) -> None:
        """Disconnect."""
        await self._peer.close()

    def _on_event(self, name: str, _: object) -> None:
        # Only its kind is kept: what an event says would be old when it is read, and the next look shows the truth.
        event = _EVENTS.get(name)
        if event is not None:
            self._events.add(event)
            self._woken.set()

    async def _base_memory(self) -> int:
        """The boot memory, in bytes; ProtocolError for a peer that is not a machine, such as qemu-storage-daemon."""
        try:
            summary = await self._peer.ask("query-memory-size-summary", shape=_Summary)
        # qemu-storage-daemon speaks QMP as well, and knows no memory.
        except Refused:
            raise ProtocolError("it speaks QMP, but is no QEMU machine", connection=self._peer.label) from None
        return summary.base_memory

    async def _ask(self, command: str, *, shape: type[Shape]) -> Shape:
        """A command that every QEMU with memory devices has."""
        try:
            return await self._peer.ask(command, shape=shape)
        except Refused as error:
            raise ProtocolError(f"QEMU refuses {command}: {error.reason}", connection=self._peer.label) from None

    def _path(self, device: str) -> str:
        """Return the place of a device in QEMU's object tree."""
        return self._paths.get(device, path_of(device))

    async def _driver(self, device: str) -> Driver:
        """Return whether a driver has set DRIVER_OK, where that may be asked."""
        path = {"path": f"{self._path(device)}/virtio-backend"}
        try:
            # In two steps, for the command is unstable: another shape of its answer makes the driver unknown, not QEMU
            # wrong.
            raw = await self._peer.ask(VIRTIO_STATUS, path, shape=OBJECT)
            status = validation.read(raw, _VirtioStatus)
        except (Refused, validation.Unsound):
            return Driver.UNKNOWN
        if status.broken:
            return Driver.BROKEN
        return Driver.READY if any(_DRIVER_OK in bit for bit in status.status.statuses) else Driver.ABSENT

    async def _vfio(self) -> tuple[str, ...]:
        """The passed-through devices, by the type of their objects."""
        named, unnamed = await self._children("/machine/peripheral"), await self._children(_UNNAMED)
        # By prefix: every kind of VFIO device (vfio-pci, vfio-pci-nohotplug …) pins memory.
        return tuple(shown(child.name, 64) for child in (*named, *unnamed) if child.type.startswith("child<vfio-"))

    async def _children(self, path: str) -> list[_Child]:
        """The objects below a path; none where the path is missing."""
        try:
            return await self._peer.ask("qom-list", {"path": path}, shape=list[_Child])
        except Refused:
            return []

    async def _named(self, devices: Iterable[MemoryDevice]) -> list[MemoryDevice]:
        """Return the devices; one that was started without an id has the name of its object in QEMU's tree."""
        found = list(devices)
        # Two more kinds of questions only where there is something to find: most devices have an id.
        if all(device.data.id is not None or device.type != "virtio-mem" for device in found):
            return found
        children = [child for child in await self._children(_UNNAMED) if child.type.startswith("child<virtio-mem-")]
        # By address: query-memory-devices gives an unnamed device no id, and an address is what both lists have.
        names = dict(zip(await each(self._memaddr, children), children, strict=True))
        return [self._under(device, names.get(device.data.memaddr)) for device in found]

    def _under(self, device: MemoryDevice, child: _Child | None) -> MemoryDevice:
        """Give a device without an id the name of its object."""
        if device.data.id is not None or device.type != "virtio-mem" or child is None:
            return device
        try:
            name = validation.read(child.name, NAME)
        except validation.Unsound as error:
            raise self._peer.bad_answer("qom-list", error.below("name")) from None
        # Remembered for qom-set, which would look below /machine/peripheral by itself.
        self._paths[name] = f"{_UNNAMED}/{name}"
        return msgspec.structs.replace(device, data=msgspec.structs.replace(device.data, id=name))

    async def _memaddr(self, child: _Child) -> int | None:
        """The address of an unnamed device."""
        where = property_of(f"{_UNNAMED}/{child.name}", "memaddr")
        try:
            return await self._peer.ask(GET, where, shape=NUMBER)
        except Refused:
            return None


def _device(device: MemoryDevice) -> Device:
    """An element of query-memory-devices."""
    info = device.info
    if isinstance(info, VirtioMemInfo):
        return VirtioMemDevice.of(info)
    if device.type == "dimm":
        return info
    return OtherMemory(id=info.id, addr=info.memaddr, size=info.size, node=info.node)
