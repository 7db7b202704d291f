"""One virtio-mem device as its driver sees it: probe, the work function, requests, notifications, removal.

Models: struct virtio_mem and what is common to both modes in drivers/virtio/virtio_mem.c (v6.1).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from virtiomem.clock import Clock
from virtiomem.driver.bbm import BigBlockMode
from virtiomem.driver.link import Link
from virtiomem.driver.mode import Mode, choose_unit, offline_threshold
from virtiomem.driver.sbm import SubBlockMode
from virtiomem.driver.work import Work
from virtiomem.errors import Errno
from virtiomem.memory import contig, hotplug
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.memory.hotplug import MHP_MERGE_RESOURCE, MHP_NID_IS_MGID
from virtiomem.memory.notifier import MemoryEvent, MemoryNotify
from virtiomem.memory.zone import Zone
from virtiomem.resource.flags import IORESOURCE_EXCLUSIVE, IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import Resource, ResourceConflict
from virtiomem.transport.base import Transport
from virtiomem.units import PAGE_SIZE, U64_MAX, Span, align_down, align_up, is_power_of_two
from virtiomem.wire.mem import Config, Feature, RequestType

RESOURCE_NAME = "System RAM (virtio_mem)"
"""Differs: Linux makes the string anew for each device, which nobody can tell: two devices' memory never has the same
parent."""

Log = Callable[[str, str], None]
"""Takes the level and the text of a kernel log line."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Module parameters (virtio_mem.*). `merge_resources` is not one: false is the driver before MHP_MERGE_RESOURCE."""

    unplug_online: bool = True
    force_bbm: bool = False
    bbm_block_size: int = 0
    """Bytes; 0 for the smallest possible."""
    bbm_safe_unplug: bool = True
    merge_resources: bool = True


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Memory that should have been unplugged in the last pass and was not."""

    span: Span
    errno: Errno
    zone: Zone | None


class VirtioMem:
    """One device and its driver's state. Sizes and addresses are bytes."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        memory: Memory,
        clock: Clock,
        parameters: Parameters = Parameters(),
        log: Log = lambda level, text: None,  # noqa: ARG005
    ) -> None:
        """`name` is the guest's name of the device, ``virtio0``."""
        self.name = name
        self.memory = memory
        self.parameters = parameters
        self.addr = 0
        self.region_size = 0
        self.device_block_size = 0
        self.nid = 0
        self.plugged_size = 0
        self.requested_size = 0
        self.offline_size = 0
        """Memory added but not online."""
        self.offline_threshold = offline_threshold(0)
        self.unplug_all_required = False
        """Memory was plugged before the probe: nothing else is done until the device has unplugged it all."""
        self.waits_for_online = False
        """The last pass ended because too much of what was added is offline."""
        self.obstacles: list[Obstacle] = []
        """What the last pass could not unplug."""
        self.mode: Mode
        self.work = Work(clock, self._pass, lambda: self.plugged_size, self.log)
        """The work function: when it runs, and how it went."""
        self._link = Link(transport)
        self._log = log
        self._resource: Resource | None = None
        self._mgid = -1
        self._config_changed = False
        self._removing = False
        self._hotplug_active = False

    def log(self, level: str, text: str) -> None:
        """Write a kernel log line."""
        self._log(level, f"virtio_mem {self.name}: {text}")

    # -- probe and removal ----------------------------------------------------------------------------------------------

    def probe(self) -> Errno:
        """Set the device up: claim its region, choose a mode, start to work. EBUSY when the region is taken.

        Models: virtio_mem_probe(), virtio_mem_init_hotplug(). Differs: sizes that no device may have (a block size
        that is no power of two, an empty region) are refused with EINVAL, where Linux trusts the device.
        """
        self._link.transport.reset()
        config = self._link.config()
        self.addr, self.region_size = config.addr, config.region_size
        self.device_block_size = config.block_size
        self.plugged_size = config.plugged_size
        self.nid = self._translate_node(config)
        self.log("info", f"start address: {self.addr:#x}")
        self.log("info", f"region size: {self.region_size:#x}")
        self.log("info", f"device block size: {self.device_block_size:#x}")
        self.log("info", f"nid: {self.nid}")
        if not is_power_of_two(self.device_block_size) or not 0 < self.region_size <= U64_MAX - self.addr:
            self.log("err", "device configuration is impossible")
            return Errno.EINVAL
        self._warn_of_waste()
        self.mode = self._choose_mode()
        if rc := self._claim_region():
            return rc
        self._mgid = self.memory.groups.register_dynamic(self.nid, self.mode.unit_size // PAGE_SIZE)
        if self.plugged_size:
            self.unplug_all_required = True
            self.log("info", "unplugging all memory is required")
        self.memory.notifiers.register(self._notified)
        self._link.transport.on_config_change(self._config_interrupt)
        self._config_interrupt()
        return Errno.OK

    def _translate_node(self, config: Config) -> int:
        """The node of the device's proximity domain if known, else that of its address."""
        if self._link.transport.features & Feature.ACPI_PXM and config.node_id in self.memory.nodes:
            return config.node_id
        return self.memory.node_of(config.addr)

    def _warn_of_waste(self) -> None:
        """Models: the warnings of virtio_mem_init_hotplug()."""
        for end, address in (("start", self.addr), ("end", self.addr + self.region_size)):
            if address % self.memory.block_size:
                self.log("warning", f"The alignment of the physical {end} address can make some memory unusable.")
        if self.addr + self.region_size - 1 > self.memory.hotpluggable_end:
            self.log("warning", "Some device memory is not addressable/pluggable. This can make some memory unusable.")

    def _choose_mode(self) -> Mode:
        """Sub-block mode where at least two sub-blocks fit a memory block, else big-block mode."""
        mb_size, wanted = self.memory.block_size, self.parameters.bbm_block_size
        unit, big = choose_unit(
            self.device_block_size, mb_size, force_bbm=self.parameters.force_bbm, bbm_block_size=wanted
        )
        if big and wanted and not is_power_of_two(wanted):
            self.log("warning", "bbm_block_size is not a power of 2")
        elif big and wanted and wanted < unit:
            self.log("warning", "bbm_block_size is too small")
        self.log("info", f"memory block size: {mb_size:#x}")
        self.log("info", f"{'big block' if big else 'subblock'} size: {unit:#x}")
        self.offline_threshold = offline_threshold(unit if big else mb_size)
        return BigBlockMode(self, unit) if big else SubBlockMode(self, unit)

    def _claim_region(self) -> Errno:
        """Put the parent of all the device's memory into the resource tree. Models: virtio_mem_create_resource()."""
        try:
            resource = self.memory.iomem.request_region(
                self.addr, self.region_size, self.name, IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE
            )
        except ResourceConflict:
            self.log("warning", "could not reserve device region")
            self.log("info", "reloading the driver is not supported")
            return Errno.EBUSY
        resource.set_busy(False)
        self._resource = resource
        return Errno.OK

    def remove(self) -> None:
        """Let go of the device; memory that is still in Linux stays, and so does its place in the resource tree.

        Models: virtio_mem_remove(), virtio_mem_deinit_hotplug(). Differs: Linux would wait for ever for a device that
        owes it an answer; here the driver leaves.
        """
        self._removing = True
        self.work.stop()
        self.mode.remove()
        self.memory.notifiers.unregister(self._notified)
        if hotplug.has_system_ram(self.memory, self.addr, self.addr + self.region_size):
            self.log("warning", "device still has system memory added")
        elif self._resource is not None:
            self.memory.iomem.release_resource(self._resource)
            self.memory.groups.unregister(self._mgid)
        self._link.transport.on_config_change(None)
        self._link.transport.reset()

    def adopt(self, addr: int, plugged: int) -> Errno:
        """Plug the first `plugged` bytes of the unit at `addr` and add it, out of turn.

        This is how a guest that is running already comes to be; no kernel does it.
        """
        self._config_changed = False
        return self.mode.adopt(addr, plugged)

    def detach(self) -> None:
        """Stop hearing from the device: the kernel that this driver ran in is gone."""
        self._removing = True
        self.work.stop()
        self._link.transport.on_config_change(None)

    # -- a pass of the work function ------------------------------------------------------------------------------------

    def _config_interrupt(self) -> None:
        """The device changed its configuration. Models: virtio_mem_config_changed()."""
        self._config_changed = True
        self.work.queue()

    def _pass(self) -> Errno:
        """One attempt to bring what is plugged closer to what is requested."""
        self.obstacles.clear()
        rc = self._try_once()
        self.waits_for_online = rc is Errno.ENOSPC and not self.could_add_memory(self.mode.unit_size)
        return rc

    def _try_once(self) -> Errno:
        """From leftovers to the difference between requested and plugged."""
        rc = Errno.OK
        if self.unplug_all_required:
            rc = self._send_unplug_all()
        if self._config_changed:
            self._config_changed = False
            self._refresh_config()
        rc = rc or self.mode.unplug_pending()
        if rc or self.requested_size == self.plugged_size:
            return rc
        if self.requested_size > self.plugged_size:
            return self.mode.plug(self.requested_size - self.plugged_size)
        return self.mode.unplug(self.plugged_size - self.requested_size)

    def _refresh_config(self) -> None:
        """Models: virtio_mem_refresh_config()."""
        config = self._link.config()
        self.plugged_size = config.plugged_size
        self.requested_size = config.requested_size
        self.mode.refresh(config)
        self.log("info", f"plugged size: {self.plugged_size:#x}")
        self.log("info", f"requested size: {self.requested_size:#x}")

    def usable_end(self, config: Config) -> int:
        """The first byte behind what can be plugged: the usable region, as far as it is addressable."""
        return min(self.addr + config.usable_region_size, self.memory.hotpluggable_end + 1)

    # -- requests -------------------------------------------------------------------------------------------------------

    def send_plug(self, addr: int, size: int) -> Errno:
        """Ask the device to plug; EAGAIN, and nothing sent, when the configuration has changed meanwhile."""
        if self._config_changed:
            return Errno.EAGAIN
        rc = self._send(RequestType.PLUG, addr, size)
        if not rc:
            self.plugged_size += size
        return rc

    def send_unplug(self, addr: int, size: int) -> Errno:
        """Ask the device to unplug; EAGAIN, and nothing sent, when the configuration has changed meanwhile."""
        if self._config_changed:
            return Errno.EAGAIN
        rc = self._send(RequestType.UNPLUG, addr, size)
        if not rc:
            self.plugged_size -= size
        return rc

    def _send_unplug_all(self) -> Errno:
        rc = self._send(RequestType.UNPLUG_ALL, 0, 0)
        if not rc:
            self.unplug_all_required = False
            self.plugged_size = 0
            self._config_changed = True
        return rc

    def _send(self, kind: RequestType, addr: int, size: int) -> Errno:
        return self._link.send(kind, addr, size, self.device_block_size)

    # -- what the modes need of Linux -----------------------------------------------------------------------------------

    def could_add_memory(self, size: int) -> bool:
        """False when too much of what was added is still offline."""
        return self.offline_size + size <= self.offline_threshold

    def add_memory(self, addr: int, size: int) -> Errno:
        """Add plugged memory to Linux, which may put it online at once. Models: virtio_mem_add_memory()."""
        flags = MHP_NID_IS_MGID
        if self.parameters.merge_resources:
            flags |= MHP_MERGE_RESOURCE
        self.offline_size += size
        rc = hotplug.add_memory_driver_managed(self.memory, self._mgid, addr, size, RESOURCE_NAME, flags)
        if rc:
            self.offline_size -= size
            self.log("warning", f"adding memory failed: {-rc}")
        return rc

    def remove_memory(self, addr: int, size: int) -> None:
        """Remove offline memory from Linux, which cannot fail. Models: virtio_mem_remove_memory()."""
        rc = hotplug.remove_memory(self.memory, addr, size)
        assert not rc, f"{Span.sized(addr, size)} was to be offline"
        self.offline_size -= size
        self.work.queue()

    def offline_and_remove_memory(self, addr: int, size: int) -> Errno:
        """Take memory from Linux. Models: virtio_mem_offline_and_remove_memory()."""
        zone = self.memory.zone_of(addr)
        rc = hotplug.offline_and_remove_memory(self.memory, addr, size)
        if rc:
            self.obstacles.append(Obstacle(Span.sized(addr, size), rc, zone))
            return rc
        self.offline_size -= size
        self.work.queue()
        return Errno.OK

    def fake_offline(self, addr: int, size: int) -> Errno:
        """Take exactly this memory from the page allocator: ENOMEM, or EBUSY for every other reason.

        In Movable it is worth trying five times. Models: virtio_mem_fake_offline().
        """
        zone = self.memory.zone_of(addr)
        tries = 1 if zone is None or zone.is_kernel else 5
        for _ in range(tries):
            rc = contig.alloc_contig_range(self.memory, addr, size)
            if not rc:
                contig.set_fake_offline(self.memory, addr, size, onlined=True)
                return Errno.OK
            if rc is Errno.ENOMEM:
                break
        rc = Errno.ENOMEM if rc is Errno.ENOMEM else Errno.EBUSY
        self.obstacles.append(Obstacle(Span.sized(addr, size), rc, zone))
        return rc

    # -- notifications --------------------------------------------------------------------------------------------------

    def contains(self, start: int, size: int) -> bool:
        """True when the range lies in the device's region."""
        return self.addr <= start and start + size <= self.addr + self.region_size

    def _notified(self, event: MemoryEvent, notify: MemoryNotify) -> Errno:
        """Models: virtio_mem_memory_notifier_cb()."""
        if notify.start >= self.addr + self.region_size or notify.start + notify.size <= self.addr:
            return Errno.OK
        if not self.mode.expects(notify):
            return Errno.EPERM
        match event:
            case MemoryEvent.GOING_ONLINE:
                return self._going_online(notify)
            case MemoryEvent.ONLINE:
                self._online(notify)
            case MemoryEvent.GOING_OFFLINE:
                if self._removing:
                    return Errno.EBUSY
                self._hotplug_active = True
                self.mode.going_offline(notify)
            case MemoryEvent.OFFLINE:
                self._offline(notify)
            case MemoryEvent.CANCEL_OFFLINE if self._hotplug_active:
                self.mode.cancel_offline(notify)
                self._hotplug_active = False
            case MemoryEvent.CANCEL_ONLINE:
                self._hotplug_active = False
        return Errno.OK

    def _going_online(self, notify: MemoryNotify) -> Errno:
        if self._removing:
            return Errno.EBUSY
        self._hotplug_active = True
        return self.mode.going_online(notify)

    def _online(self, notify: MemoryNotify) -> None:
        """Memory is online: there may be room to add more, unless this is our own doing."""
        self.mode.online(notify)
        self.offline_size -= notify.size
        if not self.work.active and self.could_add_memory(self.offline_threshold // 2):
            self.work.queue()
        self._hotplug_active = False

    def _offline(self, notify: MemoryNotify) -> None:
        """Memory is offline: with unplug_online off, only now can it be unplugged."""
        self.mode.offline(notify)
        self.offline_size += notify.size
        if not self.parameters.unplug_online:
            self.work.queue()
        self._hotplug_active = False

    # -- the truth ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert the driver's invariants, and that driver and core agree."""
        assert not self._hotplug_active, "a notification was never finished"
        if self.work.hung:
            return
        self.mode.check()
        offline = sum(1 for block in self._blocks() if block.zone is None)
        assert self.offline_size == offline * self.memory.block_size, "offline_size is not what is offline"

    def _blocks(self) -> Iterator[MemoryBlock]:
        """The memory blocks that lie wholly in the region."""
        mb_size = self.memory.block_size
        start = align_up(self.addr, mb_size)
        return self.memory.blocks_in(start, align_down(self.addr + self.region_size, mb_size) - start)
