"""Sub-block mode: memory blocks of which any set of sub-blocks may be plugged.

**Three truths about a block.** They agree when no pass runs, except for a driver that was loaded again,
for PLUGGED blocks and for emptied blocks that Linux kept:

1. The device's bitmap says which sub-blocks are plugged. Only it decides whether there is memory behind an address. The
   driver does not read it; it changes its own copy when the device acknowledges a request.
2. The driver's copy: a byte for each sub-block (`_plugged`) and a state for each block (`order.MB`). After a driver is
   loaded again it is empty although the device may have memory plugged; the first pass then sends UNPLUG_ALL.
3. Linux's memory block: whether it exists, whether it is online and in which zone, and which of its pages are withheld
   from the page allocator (fake-offline). The administrator can change this at any time through sysfs; the memory
   notifier keeps the driver's state in step, and may refuse.

Linux must never touch a page that is not plugged, so the three change in an order that leaves Linux with less than is
plugged, never with more. Plugging: device, driver, Linux. Unplugging from an online block: Linux gives up the pages, then
the device, then the driver. The pages of an offline block are unused, so there Linux comes last: device, driver, and Linux
loses the block when nothing in it is plugged. Where a step fails, the difference stays visible as a state: PLUGGED is a
block that the device has and Linux does not (`unplug_pending` tries again); a partial state with nothing plugged is a block
that Linux has and the device does not (it could not be removed, `_remove_emptied`).

**What keeps Linux from pages that are not plugged.** Before an online sub-block is unplugged its pages are taken from the
page allocator. `online_page` hands out plugged sub-blocks only. `going_online` refuses a block whose state is neither
OFFLINE nor OFFLINE_PARTIAL, such as one that is just being removed. `remove` takes partial offline blocks from Linux when
the driver leaves, for without the driver's callback they would go online whole. Linux does not take a page offline that has
a reference, and the driver holds one to each withheld page: `going_offline` lets go of them so that a partial block can go
offline at all, and `cancel_offline` takes them back where it did not. Linux is also kept from running out of memory: see
`added`.

**Partial blocks come first,** both ways, among blocks that are online. Linux holds struct pages for a whole block (2M for
128M, with pages of 4K) however little of it is plugged. Filling a partial block needs no further page structures and adds
no block; emptying one gets rid of a block, and of its struct pages, soonest.

- Plug: partial blocks that are online (kernel zones, then Movable), where the memory can be used at once; then partial
  offline ones; then blocks used before; then new ones. Kernel zones first, because every allocation can use them.
- Unplug: offline blocks, which are unused; then partial before whole, and of either kind Movable before kernel zones,
  because what lies in Movable can usually be moved away, and what lies in a kernel zone often cannot.

**Low sub-blocks are plugged first, high ones unplugged first,** blocks too. Plugged memory so stays one run at the low end
of the region, where the usable region begins and where one request can name it. A whole block takes one request to
unplug, a run in an offline block too. Pages of an online block must be emptied first. If the block is full
and all of it is wanted, the driver tries it whole; otherwise, or if something in it cannot be moved (EBUSY, which is normal),
one sub-block at a time, skipping those that are busy. If less was unplugged than is wanted, the pass ends with EBUSY, and
the retry timer runs: see `work`.

Models: the virtio_mem_sbm_*() functions of drivers/virtio/virtio_mem.c (v6.1).
"""

from collections.abc import Iterator

from virtiomem.abi import BlockState
from virtiomem.driver.mode import ModeHost
from virtiomem.driver.order import EMPTIED_ORDER, FULL, MB, PARTIAL, PLUG_ORDER, UNPLUG_OFFLINE, UNPLUG_ORDER
from virtiomem.driver.states import UnitStates
from virtiomem.errors import OK, Errno
from virtiomem.memory import contig
from virtiomem.memory.notifier import MemoryNotify
from virtiomem.memory.onlining import generic_online_page, withhold_pages
from virtiomem.units import align_up
from virtiomem.wire.mem import Config


class SubBlockMode:
    """Sub-block mode of one device."""

    name = "sbm"

    def __init__(self, vm: ModeHost, sb_size: int) -> None:
        self._vm = vm
        self._added = vm.added
        self._memory = vm.memory
        self.plug_size = sb_size
        """Bytes of a sub-block."""
        self.unit_size = vm.memory.block_size
        self.sbs_per_mb = self.unit_size // sb_size
        self.states = UnitStates(MB, align_up(vm.addr, self.unit_size) // self.unit_size)
        self._plugged = bytearray()
        self._last_usable = -1
        self.emptied_remain = False
        self._all_plugged = b"\1" * self.sbs_per_mb

    # -- sub-blocks -----------------------------------------------------------------------------------------------------

    def _at(self, mb: int) -> int:
        """Index of a memory block's first sub-block."""
        return (mb - self.states.first) * self.sbs_per_mb

    def plugged_in(self, mb: int) -> int:
        """Bytes plugged in a memory block of this device."""
        at = self._at(mb)
        return self._plugged.count(1, at, at + self.sbs_per_mb) * self.plug_size

    def _is_full(self, mb: int) -> bool:
        at = self._at(mb)
        return self._plugged.find(0, at, at + self.sbs_per_mb) < 0

    def _is_empty(self, mb: int) -> bool:
        at = self._at(mb)
        return self._plugged.find(1, at, at + self.sbs_per_mb) < 0

    def _runs(self, mb: int) -> Iterator[tuple[int, int, bool]]:
        """First sub-block, count and whether plugged, of each run in a memory block, ascending."""
        at = self._at(mb)
        stop = at + self.sbs_per_mb
        start = at
        while start < stop:
            plugged = self._plugged[start]
            end = self._plugged.find(1 - plugged, start, stop)
            end = stop if end < 0 else end
            yield start - at, end - start, bool(plugged)
            start = end

    def _range(self, mb: int, sb: int, count: int) -> tuple[int, int]:
        """Address and size, in bytes, of `count` sub-blocks."""
        return mb * self.unit_size + sb * self.plug_size, count * self.plug_size

    def _plug_sb(self, mb: int, sb: int, count: int) -> Errno:
        """Plug sub-blocks at the device. Models: virtio_mem_sbm_plug_sb()."""
        rc = self._vm.send_plug(*self._range(mb, sb, count))
        if not rc:
            at = self._at(mb) + sb
            self._plugged[at : at + count] = self._all_plugged[:count]
        return rc

    def _unplug_sb(self, mb: int, sb: int, count: int) -> Errno:
        """Unplug sub-blocks at the device. Models: virtio_mem_sbm_unplug_sb()."""
        rc = self._vm.send_unplug(*self._range(mb, sb, count))
        if not rc:
            at = self._at(mb) + sb
            self._plugged[at : at + count] = bytes(count)
        return rc

    # -- plugging -------------------------------------------------------------------------------------------------------

    def refresh(self, config: Config) -> None:
        """Learn which memory blocks lie wholly in the usable region."""
        self._last_usable = self._vm.usable_end(config) // self.unit_size - 1

    def plug(self, diff: int) -> Errno:
        """Plug `diff` bytes: into blocks already in Linux, then blocks used before, then new ones.

        Models: virtio_mem_sbm_plug_request().
        """
        wanted = diff // self.plug_size
        for state in PLUG_ORDER:
            for mb in self.states.each(state):
                if not wanted:
                    return OK
                rc, wanted = self._plug_any_sb(mb, wanted)
                if rc:
                    return rc
        blocks = self._blocks_to_add()
        while wanted:
            if not self._added.could_add():
                return Errno.ENOSPC
            unused = next(blocks, None)
            if unused is None:
                return Errno.ENOSPC
            rc, wanted = self._plug_and_add(unused, wanted)
            if rc:
                return rc
        return OK

    def _blocks_to_add(self) -> Iterator[int]:
        """Unused blocks, ascending, then new ones while the usable region has room."""
        yield from self.states.each(MB.UNUSED)
        while self.states.next <= self._last_usable:
            yield self._append()

    def _append(self) -> int:
        """Bring the next block into being."""
        self._plugged += bytes(self.sbs_per_mb)
        return self.states.append()

    def adopt(self, addr: int, plugged: int) -> Errno:
        """Plug and add one block, whichever it is."""
        mb = addr // self.unit_size
        while self.states.next <= mb:
            self._append()
        return self._plug_and_add(mb, plugged // self.plug_size)[0]

    def _plug_and_add(self, mb: int, wanted: int) -> tuple[Errno, int]:
        """Plug the first sub-blocks of an unused block, then add it; returns what is still wanted.

        Models: virtio_mem_sbm_plug_and_add_mb().
        """
        count = min(wanted, self.sbs_per_mb)
        if rc := self._plug_sb(mb, 0, count):
            return rc, wanted
        # Before it is added: adding may put it online at once, and `going_online` goes by the state.
        self.states[mb] = MB.OFFLINE if count == self.sbs_per_mb else MB.OFFLINE_PARTIAL
        if rc := self._added.add(mb * self.unit_size, self.unit_size):
            # Linux did not take it: what stays plugged would count as the guest's although the guest cannot use it.
            failed = self._unplug_sb(mb, 0, count)
            self.states[mb] = MB.PLUGGED if failed else MB.UNUSED
            return rc, wanted
        return OK, wanted - count

    def _plug_any_sb(self, mb: int, wanted: int) -> tuple[Errno, int]:
        """Plug unplugged sub-blocks of a block that is in Linux, lowest first; returns what is still wanted.

        Models: virtio_mem_sbm_plug_any_sb().
        """
        partial = self.states[mb]
        holes = [(sb, count) for sb, count, plugged in self._runs(mb) if not plugged]
        for sb, hole in holes:
            if not wanted:
                break
            count = min(hole, wanted)
            if rc := self._plug_sb(mb, sb, count):
                return rc, wanted
            wanted -= count
            # An online block withheld these pages when it went online. An offline one hands them out when it goes:
            # `online_page`.
            if partial is not MB.OFFLINE_PARTIAL:
                contig.clear_fake_offline(self._memory, *self._range(mb, sb, count))
        if self._is_full(mb):
            self.states[mb] = FULL[partial]
        return OK, wanted

    # -- unplugging -----------------------------------------------------------------------------------------------------

    def unplug(self, diff: int) -> Errno:
        """Unplug `diff` bytes, EBUSY when some stay plugged. Models: virtio_mem_sbm_unplug_request()."""
        wanted = diff // self.plug_size
        for state in UNPLUG_ORDER:
            if state not in UNPLUG_OFFLINE and not self._vm.parameters.unplug_online:
                return OK  # not EBUSY: a retry would find the same; a block that goes offline queues a pass
            for mb in self.states.each_reversed(state):
                if not wanted:
                    return OK
                unplug = self._unplug_offline if state in UNPLUG_OFFLINE else self._unplug_online
                rc, wanted = unplug(mb, wanted)
                if rc:
                    return rc
        return Errno.EBUSY if wanted else OK

    def unplug_pending(self) -> Errno:
        """Unplug blocks that could neither be added nor unplugged, then try again to remove what was emptied."""
        for mb in self.states.each(MB.PLUGGED):
            rc, _ = self._unplug_raw(mb, self.sbs_per_mb)
            if rc:
                return rc
            self.states[mb] = MB.UNUSED
        if self.emptied_remain:
            self._remove_all_emptied()
        return OK

    def _remove_all_emptied(self) -> None:
        """Try again to remove every block with nothing plugged."""
        self.emptied_remain = False
        for state in EMPTIED_ORDER:
            for mb in self.states.each(state):
                if self._is_empty(mb):
                    self._remove_emptied(mb)

    def _remove_emptied(self, mb: int) -> None:
        """Take a block with nothing plugged from Linux; one that will not go is tried again, or stays.

        Since: 6.5 (retries_emptied_blocks).
        """
        # Here the state changes last: going offline may fail, and on the way `offline` wants to know the state it left.
        if not self._added.offline_and_remove(mb * self.unit_size, self.unit_size):
            self.states[mb] = MB.UNUSED
        elif self._memory.release.retries_emptied_blocks:
            self.emptied_remain = True

    def _unplug_raw(self, mb: int, wanted: int) -> tuple[Errno, int]:
        """Unplug unused sub-blocks, highest first, whole runs at a time; returns what is still wanted.

        Models: virtio_mem_sbm_unplug_any_sb_raw().
        """
        # Whole runs, for no page of an offline block is in use: nothing in the run can be busy.
        for sb, run, plugged in reversed(list(self._runs(mb))):
            if not plugged:
                continue
            if not wanted:
                break
            count = min(run, wanted)
            if rc := self._unplug_sb(mb, sb + run - count, count):
                return rc, wanted
            wanted -= count
        return OK, wanted

    def _unplug_offline(self, mb: int, wanted: int) -> tuple[Errno, int]:
        """Unplug from an offline block, and remove it when nothing is left.

        Models: virtio_mem_sbm_unplug_any_sb_offline().
        """
        rc, wanted = self._unplug_raw(mb, wanted)
        # Also after an error: the requests before it were acknowledged.
        if not self._is_full(mb):
            self.states[mb] = MB.OFFLINE_PARTIAL
        if not rc and self._is_empty(mb):
            # In this order: from here on `going_online` vetoes putting the block online, so removing it cannot fail.
            self.states[mb] = MB.UNUSED
            self._added.remove(mb * self.unit_size, self.unit_size)
        return rc, wanted

    def _unplug_online(self, mb: int, wanted: int) -> tuple[Errno, int]:
        """Unplug from an online block: whole in one request if it can be, else one sub-block at a time.

        Models: virtio_mem_sbm_unplug_any_sb_online().
        """
        rc = Errno.EBUSY
        # One request for a whole block rather than one for each sub-block.
        if wanted >= self.sbs_per_mb and self._is_full(mb):
            rc = self._unplug_sb_online(mb, 0, self.sbs_per_mb)
            if not rc:
                wanted -= self.sbs_per_mb
            elif rc is not Errno.EBUSY:
                return rc, wanted
        if rc:
            # One page that cannot move made the whole block busy; the sub-blocks around it can still go.
            rc, wanted = self._unplug_single_sbs(mb, wanted)
            if rc:
                return rc, wanted
        if self._is_empty(mb):
            self._remove_emptied(mb)
        return OK, wanted

    def _unplug_single_sbs(self, mb: int, wanted: int) -> tuple[Errno, int]:
        """Unplug sub-blocks of an online block one by one, highest first; busy ones are passed over."""
        at = self._at(mb)
        for sb in reversed(range(self.sbs_per_mb)):
            if not wanted:
                break
            if not self._plugged[at + sb]:
                continue
            rc = self._unplug_sb_online(mb, sb, 1)
            if not rc:
                wanted -= 1
            elif rc is not Errno.EBUSY:
                return rc, wanted
        return OK, wanted

    def _unplug_sb_online(self, mb: int, sb: int, count: int) -> Errno:
        """Take sub-blocks from the page allocator, then unplug them. Models: virtio_mem_sbm_unplug_sb_online()."""
        start, size = self._range(mb, sb, count)
        if rc := self._added.fake_offline(start, size):
            return rc
        if rc := self._unplug_sb(mb, sb, count):
            contig.clear_fake_offline(self._memory, start, size)
            return rc
        self.states[mb] = PARTIAL.get(self.states[mb], self.states[mb])
        return OK

    # -- notifications --------------------------------------------------------------------------------------------------

    def expects(self, notify: MemoryNotify) -> bool:
        """Exactly one memory block at a time."""
        return notify.size == self.unit_size and notify.start % self.unit_size == 0

    def going_online(self, notify: MemoryNotify) -> Errno:
        """Only what the driver knows to be offline may go online."""
        mb = notify.start // self.unit_size
        if mb in self.states and self.states[mb] in (MB.OFFLINE, MB.OFFLINE_PARTIAL):
            return OK
        self._vm.log("warning", "memory block onlining denied")
        return Errno.EPERM

    def online(self, notify: MemoryNotify) -> None:
        """Note the zone that the block went to."""
        mb = notify.start // self.unit_size
        zone = self._memory.blocks[mb].zone
        full = MB.KERNEL if zone is not None and zone.is_kernel else MB.MOVABLE
        self.states[mb] = PARTIAL[full] if self.states[mb] is MB.OFFLINE_PARTIAL else full

    def offline(self, notify: MemoryNotify) -> None:
        """Note that the block is offline."""
        mb = notify.start // self.unit_size
        self.states[mb] = MB.OFFLINE_PARTIAL if self.states[mb] in FULL else MB.OFFLINE

    def going_offline(self, notify: MemoryNotify) -> None:
        """Let go of the unplugged sub-blocks."""
        for start, size in self._withheld(notify.start // self.unit_size):
            contig.drop_references(self._memory, start, size)

    def cancel_offline(self, notify: MemoryNotify) -> None:
        """Withhold the unplugged sub-blocks again."""
        for start, size in self._withheld(notify.start // self.unit_size):
            contig.retake_references(self._memory, start, size)

    def _withheld(self, mb: int) -> list[tuple[int, int]]:
        return [self._range(mb, sb, count) for sb, count, plugged in self._runs(mb) if not plugged]

    def online_page(self, start: int, size: int) -> None:
        """Hand out plugged sub-blocks, withhold the others.

        Differs: Linux calls this for each 4 MiB; here it is called once for a whole memory block.
        """
        assert size == self.unit_size, f"{size:#x} bytes go online, not a memory block"
        mb = start // self.unit_size
        for sb, count, plugged in self._runs(mb):
            (generic_online_page if plugged else withhold_pages)(self._memory, *self._range(mb, sb, count))

    # -- the end, and the truth -----------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Remove partially plugged offline blocks: once the driver is gone, user space could put them online whole."""
        for mb in self.states.each(MB.OFFLINE_PARTIAL):
            self._added.remove(mb * self.unit_size, self.unit_size)
            self.states[mb] = MB.UNUSED

    def counts(self) -> dict[str, int]:
        """Memory blocks in each state."""
        return self.states.counts()

    def plugged_bytes(self) -> int:
        """Bytes of plugged sub-blocks."""
        return self._plugged.count(1) * self.plug_size

    def check(self) -> None:
        """Assert that states, sub-blocks and the core's blocks agree."""
        self.states.check()
        assert len(self._plugged) == (self.states.next - self.states.first) * self.sbs_per_mb, "sub-blocks are missing"
        for mb in range(self.states.first, self.states.next):
            state, plugged, block = self.states[mb], self.plugged_in(mb), self._memory.blocks.get(mb)
            assert self._vm.contains(*self._range(mb, 0, self.sbs_per_mb)), f"memory block {mb} is outside the region"
            assert (block is not None) == (state >= MB.OFFLINE), f"memory block {mb} is {state.name} but {block}"
            if state in (MB.OFFLINE, MB.KERNEL, MB.MOVABLE):
                assert plugged == self.unit_size, f"memory block {mb} is {state.name} with {plugged:#x} plugged"
            elif state in FULL:
                assert plugged < self.unit_size, f"memory block {mb} is {state.name} but all plugged"
            elif state is MB.UNUSED:
                assert not plugged, f"memory block {mb} is unused but {plugged:#x} is plugged"
            if block is not None:
                self._check_block(mb, state)

    def _check_block(self, mb: int, state: MB) -> None:
        block = self._memory.blocks[mb]
        online = block.state is BlockState.ONLINE
        assert online == (state >= MB.KERNEL), f"memory block {mb} is {state.name} but {block}"
        if online and block.zone is not None:
            assert block.zone.is_kernel == (state in (MB.KERNEL, MB.KERNEL_PARTIAL)), f"{block} is in {state.name}"
            withheld = sum(self._memory.mask_of(start, size)[1] for start, size in self._withheld(mb))
            assert block.fake_offline == withheld, f"{block}: fake-offline pages are not the unplugged sub-blocks"
