"""A scenario behind `Backend` and `GuestView`: every command can be tried with no machine at all.

The scenario's devices and steps are the state to start from. Time is the guest's virtual time: it passes when a caller
waits, at once when `pace` is 0, in real time when it is 1. Each connection starts again.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from virtiomem.driver.parameters import Parameters
from virtiomem.errors import DeviceError
from virtiomem.guest.base import GuestConfig
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.memory.core import Memory, boot_ram
from virtiomem.recording.values import (
    DeviceInfo,
    Kexec,
    Load,
    MemoryBlock,
    PlugDimm,
    Reboot,
    Resize,
    Step,
    Unload,
    UnplugDimm,
    VirtioMemInfo,
    Wait,
)
from virtiomem.resource.tree import ResourceTree
from virtiomem.scenario import embedded_guest, load
from virtiomem.units import Size, Span
from virtiomem.vm.inside import Block, GuestMemoryInfo, ZoneUsage
from virtiomem.vm.model import Driver, Event, HypervisorInfo, Machine, NewDevice, VirtioMemDevice


@dataclass(slots=True)
class SimBackend:
    """A guest of this process, seen as a hypervisor and its guest agent would show it."""

    label: str
    guest: EmbeddedGuest
    boot_memory: int
    memory_block_size: int
    auto_online_blocks: str
    online_policy: str
    parameters: Parameters
    driver: Driver = Driver.ABSENT
    pace: float = 0.0
    _devices: list[DeviceInfo] = field(init=False)
    _now: float = field(init=False, default=0.0)
    _unplayed: float = field(init=False, default=0.0)
    """Seconds that have passed without anything due in them."""
    _events: set[Event] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._devices = self.guest.memory_devices

    def play(self, steps: Sequence[Step]) -> None:
        """Do steps of a scenario; a refused one is an outcome and the next follows, as in `virtiomem run`."""
        for step in steps:
            self._play(step)

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    async def look(self) -> Machine:
        """The devices as the last step left them."""
        devices = (VirtioMemDevice.of(d) if isinstance(d, VirtioMemInfo) else d for d in self._devices)
        return Machine(status="running", boot_memory=self.boot_memory, devices=tuple(devices))

    async def hypervisor_info(self, machine: Machine) -> HypervisorInfo:
        """Nothing is hidden in a simulated guest."""
        return HypervisorInfo(
            hypervisor="simulated",
            drivers={device.id: self.driver for device in machine.virtio_mem},
            # The guest has not been played to this moment: seconds in which nothing was due are only counted.
            retry_in=None if self.guest.retry_in is None else self.guest.retry_in - self._unplayed,
            reasons=tuple(self.guest.reasons()),
        )

    async def set_requested_size(self, device: str, size: int) -> None:
        """Set a requested-size; the guest acts at once."""
        self._do(Resize(device=device, requested_size=Size(size)), device)

    async def attach(self, new: NewDevice) -> str:
        """Plug a DIMM."""
        if new.kind != "dimm":
            text = f"{new.name}: the virtio-mem devices of a scenario are there from the start"
            raise DeviceError(text, connection=self.label)
        self._do(PlugDimm(id=new.name, size=Size(new.size), node=new.node), new.name)
        return new.name

    async def detach(self, device: str) -> None:
        """Unplug a DIMM."""
        self._do(UnplugDimm(id=device), device)

    async def wait(self, seconds: float) -> frozenset[Event]:
        """Let virtual time pass, playing the guest only when something is due in it."""
        # Even a pause of 0 gives other tasks a turn, without which a simulated machine would never let them run.
        await asyncio.sleep(0 if self._events else seconds * self.pace)
        if not self._events:
            self._now += seconds
            self._unplayed += seconds
            # The guest acts by itself only when a timer expires: until then one longer wait later is as good as many
            # now.
            if self.guest.retry_in is not None and self._unplayed >= self.guest.retry_in:
                self._let_time_pass()
        events = frozenset(self._events)
        self._events.clear()
        return events

    async def close(self) -> None:
        """Let go of the guest."""
        self.guest.close()

    def inside(self, spans: tuple[Span, ...]) -> GuestMemoryInfo:
        """Read the guest's own files; `spans` is not needed, everything is at hand."""
        del spans
        now = self.guest.snapshot()
        managed = [zone.managed for zones in now.zones.values() for zone in zones.values()]
        zones = tuple(_zones(self.guest.kernel.memory))
        return GuestMemoryInfo(
            source="simulated guest",
            block_size=self.memory_block_size,
            blocks=tuple(map(_block, now.memory_blocks)),
            mem_total=sum(managed) * self.guest.kernel.memory.page_size,
            mem_free=sum(zone.free for zone in zones),
            zones=zones,
            auto_online_blocks=self.auto_online_blocks,
            online_policy=self.online_policy,
            driver=self.parameters,
            page_size=self.guest.kernel.memory.page_size,
        )

    def _do(self, step: Step, device: str) -> None:
        """Do a step now; DeviceError when it is refused."""
        # What callers have waited lies before this step: a timer that expired in it must run first.
        self._let_time_pass()
        error = self._play(step)
        if error is not None:
            raise DeviceError(f"{device}: the device refuses: {error}", connection=self.label)

    def _play(self, step: Step) -> str | None:
        """Do a step, and note the events a hypervisor would report; returns what refused it."""
        error = self.guest.act(step)
        before, self._devices = self._devices, self.guest.memory_devices
        if before != self._devices:
            self._events.add(Event.SIZE)
        if isinstance(step, Reboot):
            self._events.add(Event.RESET)
        if isinstance(step, Load | Unload | Reboot | Kexec) and error is None:
            self.driver = Driver.READY if isinstance(step, Load) else Driver.ABSENT
        return error

    def _let_time_pass(self) -> None:
        """Play the seconds that have passed since the guest was last played."""
        if self._unplayed:
            seconds, self._unplayed = self._unplayed, 0.0
            self._play(Wait(seconds=seconds))


def open_sim(path: str, *, label: str, pace: float = 0.0, model: str | None = None) -> SimBackend:
    """Play a scenario to its last step on an embedded guest; `model` is the release of Linux instead of the scenario's."""
    scenario = load(path, kernel=model)
    guest = embedded_guest(scenario)
    kernel = guest.kernel
    backend = SimBackend(
        label=label,
        guest=guest,
        boot_memory=_boot_memory(scenario.guest, kernel.memory.iomem),
        memory_block_size=int(kernel.memory.block_size),
        auto_online_blocks=kernel.memory.policy.default_state.value,
        online_policy=kernel.memory.policy.online_policy.value,
        parameters=guest.parameters,
        driver=Driver.ABSENT if kernel.module is None else Driver.READY,
        pace=pace,
    )
    backend.play(scenario.steps)
    return backend


def _boot_memory(config: GuestConfig, iomem: ResourceTree) -> int:
    """What QEMU would call base memory; of another machine's map, its boot RAM."""
    # Another machine's map says itself what boot memory there was; `memory` is then not of that machine.
    if config.iomem is None and config.capture is None:
        return int(config.memory)
    return sum(span.size for span in boot_ram(iomem))


@dataclass(frozen=True, slots=True)
class SimAgent:
    """The agent inside a simulated guest."""

    backend: SimBackend

    async def look(self, spans: tuple[Span, ...] = (), *, claims: bool = False) -> GuestMemoryInfo:
        """Return what the guest's own files would say; the backend reports drivers by itself."""
        del claims
        return self.backend.inside(spans)

    async def count_pages(self, inside: GuestMemoryInfo, spans: tuple[Span, ...], seconds: float) -> GuestMemoryInfo:
        """Nothing more: the backend's reasons name what holds memory."""
        del spans, seconds
        return inside

    async def close(self) -> None:
        """Nothing to let go of."""


def _block(block: MemoryBlock) -> Block:
    """The neutral form of a snapshot's memory block."""
    return Block(block=block.block, online=block.is_online, zone=block.zone)


def _zones(memory: Memory) -> Iterator[ZoneUsage]:
    """The zones as the kernel's own files would show them."""
    page = memory.page_size
    for node in memory.nodes.values():
        for zone in node:
            present, managed, free = zone.present * page, zone.managed * page, (zone.managed - zone.used) * page
            kept = memory.vmemmap.kept(zone) * page
            yield ZoneUsage(node=node.nid, name=str(zone.type), present=present, managed=managed, free=free, kept=kept)
