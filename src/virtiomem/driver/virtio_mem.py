"""One virtio-mem device as its driver sees it: probe, the work function, requests, notifications, removal.

Models: struct virtio_mem and what is common to both modes in drivers/virtio/virtio_mem.c (v6.1).
"""

from collections.abc import Callable

from virtiomem.abi import Sleep
from virtiomem.clock import Clock
from virtiomem.driver import messages
from virtiomem.driver.added import AddedMemory
from virtiomem.driver.bbm import BigBlockMode
from virtiomem.driver.link import Link
from virtiomem.driver.messages import Key
from virtiomem.driver.mode import Mode
from virtiomem.driver.parameters import DEFAULTS, Parameters
from virtiomem.driver.sbm import SubBlockMode
from virtiomem.driver.sizes import Units, choose_units
from virtiomem.driver.work import Work
from virtiomem.errors import OK, Errno
from virtiomem.memory import hotplug
from virtiomem.memory.core import Memory
from virtiomem.memory.notifier import MemoryEvent, MemoryNotify
from virtiomem.resource.flags import IORESOURCE_EXCLUSIVE, IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import Resource, ResourceConflict
from virtiomem.transport.channel import RequestChannel
from virtiomem.units import U64_MAX, Span, format_size, is_power_of_two
from virtiomem.wire.mem import Config, Feature, RequestType

Log = Callable[[str, str], None]
"""Takes the level and the text of a kernel log line."""


class VirtioMem:
    """One device and its driver's state. Sizes and addresses are bytes."""

    def __init__(
        self,
        name: str,
        channel: RequestChannel,
        memory: Memory,
        clock: Clock,
        parameters: Parameters = DEFAULTS,
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
        self.unplug_all_required = False
        """Memory was plugged before the probe: nothing else is done until the device has unplugged it all."""
        self.waits_for_online = False
        """The last pass ended because too much of what was added is offline."""
        self.added: AddedMemory
        """What the driver has in Linux."""
        self.mode: Mode
        self.work = Work(clock, self._pass, lambda: self.plugged_size, self.log)
        """The work function: when it runs, and how it went."""
        self._link = Link(channel)
        self._log = log
        self._resource: Resource | None = None
        self._mgid = -1
        self._config_changed = False
        self._removing = False
        self._hotplug_active = False
        self._hears: dict[MemoryEvent, Callable[[MemoryNotify], Errno]] = {
            MemoryEvent.GOING_ONLINE: self._going_online,
            MemoryEvent.CANCEL_ONLINE: self._cancel_online,
            MemoryEvent.ONLINE: self._online,
            MemoryEvent.GOING_OFFLINE: self._going_offline,
            MemoryEvent.CANCEL_OFFLINE: self._cancel_offline,
            MemoryEvent.OFFLINE: self._offline,
        }
        """What there is to do for an event: nothing for PREPARE_ONLINE, which GOING_ONLINE follows, and FINISH_OFFLINE."""

    def __repr__(self) -> str:
        sizes = f"{format_size(self.plugged_size)} plugged, {format_size(self.requested_size)} requested"
        return f"<VirtioMem {self.name}: {sizes}>"

    def log(self, level: str, text: str) -> None:
        """Write a kernel log line."""
        self._log(level, messages.line(self.name, text))

    # -- probe and removal ----------------------------------------------------------------------------------------------

    def probe(self) -> Errno:
        """Set the device up: claim its region, choose a mode, start to work. EBUSY when the region is taken.

        Models: virtio_mem_probe(), virtio_mem_init_hotplug(). Differs: sizes that no device may have (a block size
        that is not a power of two, an empty region) are refused with EINVAL, where Linux trusts the device.
        """
        # Linux's virtio core does this before it calls any probe: a driver before this one may have left its queue.
        self._link.channel.reset()
        config = self._link.config()
        self.addr, self.region_size = config.addr, config.region_size
        self.device_block_size = config.block_size
        self.plugged_size = config.plugged_size
        self.nid = self._translate_node(config)
        self.log("info", f"{Key.START_ADDRESS}: {self.addr:#x}")
        self.log("info", f"{Key.REGION_SIZE}: {self.region_size:#x}")
        self.log("info", f"{Key.DEVICE_BLOCK_SIZE}: {self.device_block_size:#x}")
        self.log("info", f"{Key.NID}: {self.nid}")
        if not is_power_of_two(self.device_block_size) or not 0 < self.region_size <= U64_MAX - self.addr:
            self.log("err", "device configuration is impossible")
            return Errno.EINVAL
        self._warn_of_waste()
        units = self._choose_units()
        if rc := self._claim_region():
            return rc
        self._prepare_to_add(units)
        self.mode = (BigBlockMode if units.big else SubBlockMode)(self, units.plugged)
        if self.plugged_size:
            # Left by a driver before this one, and not in use: of memory that is in use the region could not have been
            # claimed.
            self.unplug_all_required = True
            self.log("info", "unplugging all memory is required")
        # In this order: the first pass may put memory online, which the notifier must hear of; and a change of the
        # configuration since it was read above, before anybody listened, is found by that pass, which reads it again.
        self.memory.notifiers.register(self._notified)
        self._link.channel.on_config_change(self._config_interrupt)
        self._config_interrupt()
        return OK

    def _translate_node(self, config: Config) -> int:
        """The node of the device's proximity domain if known, else that of its address."""
        known = self.memory.knows_domains and config.node_id in self.memory.nodes
        if known and self._link.channel.features & Feature.ACPI_PXM:
            return config.node_id
        return self.memory.node_of(config.addr)

    def _warn_of_waste(self) -> None:
        """Models: the warnings of virtio_mem_init_hotplug()."""
        for end, address in (("start", self.addr), ("end", self.addr + self.region_size)):
            if address % self.memory.block_size:
                self.log("warning", f"The alignment of the physical {end} address can make some memory unusable.")
        if self.addr + self.region_size - 1 > self.memory.hotpluggable_end:
            self.log("warning", "Some device memory is not addressable/pluggable. This can make some memory unusable.")

    def _choose_units(self) -> Units:
        """See `choose_units`, with the warnings of Linux."""
        mb_size, wanted = self.memory.block_size, self.parameters.bbm_block_size
        units = choose_units(self.device_block_size, mb_size, self.parameters, self.memory.architecture)
        if units.big and wanted and not is_power_of_two(wanted):
            self.log("warning", "bbm_block_size is not a power of 2")
        elif units.big and wanted and wanted < units.plugged:
            self.log("warning", "bbm_block_size is too small")
        self.log("info", f"memory block size: {mb_size:#x}")
        self.log("info", f"{'big block' if units.big else 'subblock'} size: {units.plugged:#x}")
        return units

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
        resource.set_busy(False)  # a request does not descend into a busy resource, and this one is to hold the blocks
        self._resource = resource
        return OK

    def _prepare_to_add(self, units: Units) -> None:
        """Have a group for memory that is added in such units."""
        self._mgid = self.memory.groups.register_dynamic(self.nid, units.added // self.memory.page_size)
        self.added = AddedMemory(
            self.memory,
            Span.sized(self.addr, self.region_size),
            self._mgid,
            units,
            merge=self.parameters.merge_resources,
            queue_work=self.work.queue,
            config_changed=lambda: self._config_changed,
            log=self.log,
        )

    def remove(self) -> None:
        """Let go of the device; memory that is still in Linux stays, and so does its place in the resource tree.

        Models: virtio_mem_remove(), virtio_mem_deinit_hotplug(). Differs: Linux would wait forever for a device that
        owes it an answer; here the driver leaves.
        """
        # First: until the notifier is gone, user space must not put online what `mode.remove` is about to take out.
        self._removing = True
        self.work.stop()
        self.mode.remove()
        self.memory.notifiers.unregister(self._notified)
        # One byte too far, as in Linux: the first block of a device right behind this one counts as this one's.
        if hotplug.has_system_ram(self.memory, self.addr, self.addr + self.region_size):
            self.log("warning", "device still has system memory added")
        elif self._resource is not None:
            self.memory.iomem.release_resource(self._resource)
            self.memory.groups.unregister(self._mgid)
        self._link.channel.on_config_change(None)
        self._link.channel.reset()

    def adopt(self, addr: int, plugged: int) -> Errno:
        """Plug the first `plugged` bytes of the unit at `addr` and add it, out of turn.

        This is how a guest that is running already comes to be; no kernel does it.
        """
        # Else the request would be refused before it is sent: the probe leaves a change for its first pass to read.
        self._config_changed = False
        return self.mode.adopt(addr, plugged)

    def freeze(self, to: Sleep) -> Errno:
        """The guest is about to sleep: reset the device, or EPERM when it cannot sleep so deep.

        Models: virtio_mem_freeze(), virtio_mem_pm_notifier_cb(). Since: 6.10 (suspends).
        """
        lasts = not self.plugged_size or self._link.channel.features & Feature.PERSISTENT_SUSPEND
        if not self.memory.release.suspends:
            refusal = "save/restore not supported."
        elif to is Sleep.DISK:
            refusal = "hibernation is not supported."
        elif to is Sleep.MEMORY and not lasts:
            refusal = "suspending with plugged memory is not supported"
        else:
            self._link.channel.reset()
            return OK
        self.log("err", refusal)
        return Errno.EPERM

    def restore(self) -> None:
        """The guest is awake: see what has changed meanwhile. Models: virtio_mem_restore()."""
        self._config_interrupt()

    def detach(self) -> None:
        """Stop hearing from the device: the kernel that this driver ran in is gone."""
        self._removing = True
        self.work.stop()
        self._link.channel.on_config_change(None)

    # -- a pass of the work function ------------------------------------------------------------------------------------

    def _config_interrupt(self) -> None:
        """The device changed its configuration. Models: virtio_mem_config_changed()."""
        self._config_changed = True
        self.work.queue()

    def _pass(self) -> Errno:
        """One attempt to bring what is plugged closer to what is requested."""
        self.added.failures.clear()
        # An emptied block that Linux kept: EBUSY starts the timer, though nothing is wanted. Since: 6.5
        # (retries_emptied_blocks).
        rc = self._try_once() or (Errno.EBUSY if self.mode.emptied_remain else OK)
        self.waits_for_online = rc is Errno.ENOSPC and not self.added.could_add()
        return rc

    def _try_once(self) -> Errno:
        """From leftovers to the difference between requested and plugged."""
        rc = OK
        if self.unplug_all_required:
            # Before the configuration is read: this may shrink the usable region, and what was read earlier would be
            # stale.
            rc = self._send_unplug_all()
        if self._config_changed:
            # Before the configuration is read: a change that comes during the reading is left for the next pass.
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
        self.log("info", f"{Key.PLUGGED_SIZE}: {self.plugged_size:#x}")
        self.log("info", f"{Key.REQUESTED_SIZE}: {self.requested_size:#x}")

    def usable_end(self, config: Config) -> int:
        """End (exclusive) of the pluggable range: the usable region, cut at the highest address that can be hotplugged.

        Differs: it ends with the region that the probe claimed, where Linux trusts the device to keep to that.
        """
        usable = min(config.usable_region_size, self.region_size)
        return min(self.addr + usable, self.memory.hotpluggable_end + 1)

    # -- requests -------------------------------------------------------------------------------------------------------

    def send_plug(self, addr: int, size: int) -> Errno:
        """Ask the device to plug; EAGAIN, and nothing sent, when the configuration has changed meanwhile."""
        if self._config_changed:
            return Errno.EAGAIN
        rc = self._send(RequestType.PLUG, addr, size)
        if not rc:
            # The driver keeps count itself: a device does not interrupt when plugged_size changes.
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
            # The usable region may have shrunk, and no interrupt says so: this pass reads the configuration again.
            self._config_changed = True
        return rc

    def _send(self, kind: RequestType, addr: int, size: int) -> Errno:
        return self._link.send(kind, addr, size, self.device_block_size)

    # -- notifications --------------------------------------------------------------------------------------------------

    def contains(self, start: int, size: int) -> bool:
        """True when the range lies in the device's region."""
        return self.addr <= start and start + size <= self.addr + self.region_size

    def _notified(self, event: MemoryEvent, notify: MemoryNotify) -> Errno:
        """Models: virtio_mem_memory_notifier_cb()."""
        hear = self._hears.get(event)
        if hear is None or notify.start >= self.addr + self.region_size or notify.start + notify.size <= self.addr:
            return OK
        # Refused rather than guessed at: Linux adds and onlines by the unit, and a driver that is wrong about that
        # loses count.
        if not self.mode.expects(notify):
            return Errno.EPERM
        return hear(notify)

    def _going_online(self, notify: MemoryNotify) -> Errno:
        if self._removing:
            return Errno.EBUSY
        # Also if the mode refuses: this driver then hears CANCEL_ONLINE like the others, which clears it.
        self._hotplug_active = True
        return self.mode.going_online(notify)

    def _cancel_online(self, _: MemoryNotify) -> Errno:
        self._hotplug_active = False
        return OK

    def _online(self, notify: MemoryNotify) -> Errno:
        """Memory is online: there may be room to add more, unless this is our own doing."""
        self.mode.online(notify)
        self.added.went_online(notify.size)
        # A pass that puts memory online goes on by itself; half the threshold, so that not every block starts a pass
        # (`added`).
        if not self.work.active and self.added.offline_size <= self.added.resume_size:
            self.work.queue()
        self._hotplug_active = False
        return OK

    def _going_offline(self, notify: MemoryNotify) -> Errno:
        if self._removing:
            return Errno.EBUSY
        self._hotplug_active = True
        self.mode.going_offline(notify)
        return OK

    def _cancel_offline(self, notify: MemoryNotify) -> Errno:
        # A veto is announced also to those that were never asked: what they did not drop, they must not take back.
        if self._hotplug_active:
            self.mode.cancel_offline(notify)
            self._hotplug_active = False
        return OK

    def _offline(self, notify: MemoryNotify) -> Errno:
        """Memory is offline: with unplug_online off, only now can it be unplugged."""
        self.mode.offline(notify)
        self.added.went_offline(notify.size)
        if not self.parameters.unplug_online:
            self.work.queue()
        self._hotplug_active = False
        return OK

    # -- the truth ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert the driver's invariants, and that driver and core agree."""
        assert not self._hotplug_active, "a notification was never finished"
        if self.work.hung:
            return
        self.mode.check()
        self.added.check()
