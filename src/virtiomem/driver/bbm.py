"""Big-block mode: units of one or more memory blocks, plugged as a whole or not at all.

Models: the virtio_mem_bbm_*() functions of drivers/virtio/virtio_mem.c (v6.1).
"""

from collections.abc import Iterator
from enum import IntEnum

from virtiomem.abi import BlockState
from virtiomem.driver.mode import ModeHost
from virtiomem.driver.order import BIG_BLOCK_PASSES, big_block_rank
from virtiomem.driver.states import UnitStates
from virtiomem.errors import OK, Errno
from virtiomem.memory import contig
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.notifier import MemoryNotify
from virtiomem.memory.onlining import generic_online_page, withhold_pages
from virtiomem.units import align_up
from virtiomem.wire.mem import Config


class BB(IntEnum):
    """State of a big block."""

    UNUSED = 0
    """Not plugged, not in Linux."""
    PLUGGED = 1
    """Plugged, not in Linux: left over from an error, to be unplugged."""
    ADDED = 2
    """Plugged and in Linux, online or not."""
    FAKE_OFFLINE = 3
    """Plugged and in Linux, its pages taken from the allocator: about to be removed."""


class BigBlockMode:
    """Big-block mode of one device."""

    name = "bbm"

    def __init__(self, vm: ModeHost, bb_size: int) -> None:
        self._vm = vm
        self._added = vm.added
        self._memory = vm.memory
        self.unit_size = self.plug_size = bb_size
        self.states = UnitStates(BB, align_up(vm.addr, bb_size) // bb_size)
        self._last_usable = -1
        self.emptied_remain = False  # nothing is emptied here without being removed

    def refresh(self, config: Config) -> None:
        """Learn which big blocks lie wholly in the usable region."""
        self._last_usable = self._vm.usable_end(config) // self.unit_size - 1

    def _blocks(self, bb: int) -> Iterator[MemoryBlock]:
        return self._memory.blocks_in(bb * self.unit_size, self.unit_size)

    # -- plugging -------------------------------------------------------------------------------------------------------

    def plug(self, diff: int) -> Errno:
        """Plug whole big blocks: those used before, then new ones. Models: virtio_mem_bbm_plug_request()."""
        wanted = diff // self.unit_size
        blocks = self._blocks_to_add()
        while wanted:
            if not self._added.could_add():
                return Errno.ENOSPC
            bb = next(blocks, None)
            if bb is None:
                return Errno.ENOSPC
            if rc := self._plug_and_add(bb):
                return rc
            wanted -= 1
        return OK

    def _blocks_to_add(self) -> Iterator[int]:
        yield from self.states.each(BB.UNUSED)
        while self.states.next <= self._last_usable:
            yield self.states.append()

    def adopt(self, addr: int, plugged: int) -> Errno:  # noqa: ARG002 - Mode's interface; a big block is plugged whole
        """Plug and add one big block, whichever it is."""
        bb = addr // self.unit_size
        while self.states.next <= bb:
            self.states.append()
        return self._plug_and_add(bb)

    def _plug_and_add(self, bb: int) -> Errno:
        """Models: virtio_mem_bbm_plug_and_add_bb()."""
        start = bb * self.unit_size
        if rc := self._vm.send_plug(start, self.unit_size):
            return rc
        # Before it is added, as in sub-block mode: adding may put it online at once.
        self.states[bb] = BB.ADDED
        if rc := self._added.add(start, self.unit_size):
            # Linux did not take it: what stays plugged would count as the guest's although the guest cannot use it.
            failed = self._vm.send_unplug(start, self.unit_size)
            self.states[bb] = BB.PLUGGED if failed else BB.UNUSED
            return rc
        return OK

    # -- unplugging -----------------------------------------------------------------------------------------------------

    def unplug(self, diff: int) -> Errno:
        """Unplug whole big blocks, EBUSY when some stay: offline ones, then all-Movable ones, then any.

        Models: virtio_mem_bbm_unplug_request().
        """
        wanted = diff // self.unit_size
        if not wanted:
            return OK
        for unplug_pass in BIG_BLOCK_PASSES:
            for bb in self.states.each_reversed(BB.ADDED):
                # A later pass also takes what an earlier one left: a block that was busy then is tried again.
                if big_block_rank(offline=self._is_offline(bb), movable=self._is_movable(bb)) > unplug_pass:
                    continue
                rc = self._remove_and_unplug(bb)
                # This one is in use, the next may not be. Any other error would meet the next one, too.
                if rc is Errno.EBUSY:
                    continue
                wanted -= not rc
                if rc or not wanted:
                    return rc
            if not self._vm.parameters.unplug_online:
                return OK  # not EBUSY: a retry would find the same; a block that goes offline queues a pass
        return Errno.EBUSY

    def unplug_pending(self) -> Errno:
        """Unplug big blocks that were plugged but could neither be added nor unplugged."""
        for bb in self.states.each(BB.PLUGGED):
            if rc := self._vm.send_unplug(bb * self.unit_size, self.unit_size):
                return rc
            self.states[bb] = BB.UNUSED
        return OK

    def _is_offline(self, bb: int) -> bool:
        return all(block.state is BlockState.OFFLINE for block in self._blocks(bb))

    def _is_movable(self, bb: int) -> bool:
        return not any(block.zone is not None and block.zone.is_kernel for block in self._blocks(bb))

    def _remove_and_unplug(self, bb: int) -> Errno:
        """Take a big block from Linux, then unplug it. Models: virtio_mem_bbm_offline_remove_and_unplug_bb()."""
        start, safe = bb * self.unit_size, self._vm.parameters.bbm_safe_unplug
        # All of it is withheld first: else Linux could allocate in its first memory block while the last one goes
        # offline.
        if safe and (rc := self._fake_offline(bb)):
            return rc
        if rc := self._added.offline_and_remove(start, self.unit_size):
            if safe:
                # What Linux put back online on its way out was withheld again, for the state is still FAKE_OFFLINE.
                self._fake_online(bb, list(self._blocks(bb)))
            return rc
        rc = self._vm.send_unplug(start, self.unit_size)
        # Linux has let go of it: if the device has not, `unplug_pending` asks again.
        self.states[bb] = BB.PLUGGED if rc else BB.UNUSED
        return rc

    def _fake_offline(self, bb: int) -> Errno:
        """Take all online memory of a big block from the page allocator, or none of it.

        Differs: Linux goes section by section (128 MiB); here it is memory block by memory block, which may be larger.
        """
        # Before the first page is taken: what goes online meanwhile is then withheld as well (`online_page`).
        self.states[bb] = BB.FAKE_OFFLINE
        done: list[MemoryBlock] = []
        for block in self._blocks(bb):
            if block.state is not BlockState.ONLINE:
                continue
            if rc := self._added.fake_offline(block.id * self._memory.block_size, self._memory.block_size):
                self._fake_online(bb, done)
                return rc
            done.append(block)
        return OK

    def _fake_online(self, bb: int, blocks: list[MemoryBlock]) -> None:
        """Give the online memory of `blocks` back to the page allocator."""
        for block in blocks:
            # An offline block withholds nothing: going offline cleared it.
            if block.state is BlockState.ONLINE:
                start = block.id * self._memory.block_size
                contig.clear_fake_offline(self._memory, start, self._memory.block_size)
        self.states[bb] = BB.ADDED

    # -- notifications --------------------------------------------------------------------------------------------------

    def expects(self, notify: MemoryNotify) -> bool:
        """Within one big block."""
        return notify.start // self.unit_size == (notify.start + notify.size - 1) // self.unit_size

    def going_online(self, notify: MemoryNotify) -> Errno:  # noqa: ARG002 - Mode's interface
        """Always."""
        # Whole or not at all: what Linux has of a big block is plugged, so there is nothing to protect.
        return OK

    def online(self, notify: MemoryNotify) -> None:
        """Nothing to note: zones are looked up when needed."""

    def offline(self, notify: MemoryNotify) -> None:
        """Nothing to note."""

    def going_offline(self, notify: MemoryNotify) -> None:
        """Let go of the pages of a big block that is about to be removed."""
        if self._is_fake_offline(notify.start):
            contig.drop_references(self._memory, notify.start, notify.size)

    def cancel_offline(self, notify: MemoryNotify) -> None:
        """Withhold them again."""
        if self._is_fake_offline(notify.start):
            contig.retake_references(self._memory, notify.start, notify.size)

    def online_page(self, start: int, size: int) -> None:
        """Hand the pages out, unless the big block is about to be removed."""
        (withhold_pages if self._is_fake_offline(start) else generic_online_page)(self._memory, start, size)

    def _is_fake_offline(self, address: int) -> bool:
        bb = address // self.unit_size
        return bb in self.states and self.states[bb] is BB.FAKE_OFFLINE

    # -- the end, and the truth -----------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Big blocks are whole: whatever stays is safe to use."""

    def counts(self) -> dict[str, int]:
        """Big blocks in each state."""
        return self.states.counts()

    def plugged_bytes(self) -> int:
        """Bytes of plugged big blocks."""
        return sum(self.states.count[BB.PLUGGED :]) * self.unit_size

    def check(self) -> None:
        """Assert that states and the core's blocks agree."""
        self.states.check()
        per_bb = self.unit_size // self._memory.block_size
        for bb in range(self.states.first, self.states.next):
            state, blocks = self.states[bb], list(self._blocks(bb))
            assert self._vm.contains(bb * self.unit_size, self.unit_size), f"big block {bb} is outside the region"
            assert state is not BB.FAKE_OFFLINE, f"big block {bb} is still fake-offline"
            expected = per_bb if state is BB.ADDED else 0
            assert len(blocks) == expected, f"big block {bb} is {state.name} with {len(blocks)} memory blocks"
            assert not any(block.fake_offline for block in blocks), f"big block {bb} has fake-offline pages"
