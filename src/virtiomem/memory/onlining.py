"""Memory blocks going online and offline.

Models: online_pages(), offline_pages() (mm/memory_hotplug.c), memory_subsys_online(), memory_subsys_offline(),
state_store() (drivers/base/memory.c), v6.1.
"""

from virtiomem import border
from virtiomem.abi import BlockState, OnlineType
from virtiomem.errors import OK, ArgumentValueError, Errno
from virtiomem.memory import memmap, poison
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.contig import set_fake_offline
from virtiomem.memory.core import Memory
from virtiomem.memory.faults import FaultPoint
from virtiomem.memory.notifier import MemoryEvent
from virtiomem.memory.policy import zone_for_block
from virtiomem.memory.zone import Zone
from virtiomem.units import Span


def device_online(memory: Memory, block: MemoryBlock, how: OnlineType = OnlineType.ONLINE) -> Errno | None:
    """Put a block online; None when it is online already. See `online_pages`. Raises ArgumentError."""
    _check_block(memory, block)
    border.instance("how", how, OnlineType)
    return put_online(memory, block, how)


def put_online(memory: Memory, block: MemoryBlock, how: OnlineType) -> Errno | None:
    """As `device_online`, for callers in the core."""
    if block.state is BlockState.ONLINE:
        return None
    rc = online_pages(memory, block, how)
    block.state = BlockState.OFFLINE if rc else BlockState.ONLINE
    return rc


def device_offline(memory: Memory, block: MemoryBlock) -> Errno | None:
    """Take a block offline; None when it is offline already. See `offline_pages`. Raises ArgumentError."""
    _check_block(memory, block)
    return take_offline(memory, block)


def take_offline(memory: Memory, block: MemoryBlock) -> Errno | None:
    """As `device_offline`, for callers in the core."""
    if block.state is BlockState.OFFLINE:
        return None
    block.state = BlockState.GOING_OFFLINE
    rc = offline_pages(memory, block)
    block.state = BlockState.ONLINE if rc else BlockState.OFFLINE
    return rc


def store_state(memory: Memory, block_id: int, how: OnlineType) -> Errno:
    """Write a word to a block's `state` in sysfs.

    ENOENT without such a block; EINVAL for the state it already has; else as `online_pages` and `offline_pages`.
    Raises ArgumentError. Models: state_store().
    """
    border.instance("memory", memory, Memory)
    border.integer("block_id", block_id)
    border.instance("how", how, OnlineType)
    block = memory.blocks.get(block_id)
    if block is None:
        return Errno.ENOENT
    rc = take_offline(memory, block) if how is OnlineType.OFFLINE else put_online(memory, block, how)
    # Linux's state_store() turns the 1 of a block that is in that state already into EINVAL.
    return Errno.EINVAL if rc is None else rc


def _check_block(memory: Memory, block: MemoryBlock) -> None:
    """Refuse a block that has been removed, or is another kernel's."""
    border.instance("memory", memory, Memory)
    border.instance("block", block, MemoryBlock)
    if memory.blocks.get(block.id) is not block:
        raise ArgumentValueError(f"block must be one of the memory's, not {block!r}, which is not there")


def online_pages(memory: Memory, block: MemoryBlock, how: OnlineType) -> Errno:
    """Give a block's pages to the allocator, in the zone that `how` and the policy choose.

    EHWPOISON, without a notification, for a poisoned page. A veto of PREPARE_ONLINE ends it; one of GOING_ONLINE is
    returned, and everyone hears CANCEL_ONLINE, also those who were not asked, and FINISH_OFFLINE. Models:
    memory_block_online(), too. Since: 6.9 (brackets_events).
    """
    if block.poisoned and (rc := poison.going_online(memory, block)):
        return rc
    notify = memmap.notify_of(memory, block)
    bracketed = memory.release.brackets_events
    # Before a zone is chosen: until this is accepted the memory may not even be accessible, as on s390.
    if bracketed and (rc := memory.notifiers.notify(MemoryEvent.PREPARE_ONLINE, notify)):
        return rc
    zone = zone_for_block(memory, block, how)
    start_pfn, pages = block.id * memory.pages_per_block, memory.pages_per_block
    # The zone spans the pages before anybody is asked, for those who are asked may look at them in their zone.
    zone.grow(start_pfn, pages)
    rc = memory.faults.take(FaultPoint.GOING_ONLINE) or memory.notifiers.notify(MemoryEvent.GOING_ONLINE, notify)
    if rc:
        # The chain does not know how far the question went: a notifier has to remember itself whether it was asked.
        memory.notifiers.cancel(MemoryEvent.CANCEL_ONLINE, notify)
        zone.shrink(start_pfn, pages)
        if bracketed:
            memory.notifiers.notify(MemoryEvent.FINISH_OFFLINE, notify)
        return rc
    zone.add_online(start_pfn, pages)
    block.zone = zone
    if memory.online_page_callback is None:
        generic_online_page(memory, notify.start, notify.size)
    else:
        memory.online_page_callback(notify.start, notify.size)
    _adjust_present(block, zone, pages)
    memory.notifiers.notify(MemoryEvent.ONLINE, notify)
    return OK


def generic_online_page(memory: Memory, start: int, size: int) -> None:
    """Hand a range of a block that is going online to the allocator; bytes."""
    zone = memory.blocks[start // memory.block_size].zone
    assert zone is not None, f"{start:#x} is going online in no zone"
    zone.managed += size // memory.page_size


def withhold_pages(memory: Memory, start: int, size: int) -> None:
    """Keep a range of a block that is going online from the allocator; bytes, whole pageblocks."""
    set_fake_offline(memory, start, size, onlined=False)


def offline_pages(memory: Memory, block: MemoryBlock) -> Errno:
    """Take a block's pages from the allocator.

    EINVAL for memory in several zones or not all System RAM; EBUSY when something unmovable is in it, or a driver
    holds pages; ENOMEM when what is movable has nowhere to go; a veto of GOING_OFFLINE. At the end everyone hears
    FINISH_OFFLINE. Models: memory_block_offline(), too. Since: 6.9 (brackets_events).

    Differs: Linux tries to migrate until a signal comes; here it is tried once. Boot memory always refuses (EBUSY); in
    Linux that depends on what lies in it. Where Linux itself keeps boot memory, that refuses only with a line of the map in it.
    """
    zone = block.zone
    if zone is None or not memory.is_system_ram(block.id * memory.block_size, memory.block_size):
        return Errno.EINVAL
    rc = memory.faults.take(FaultPoint.ISOLATE)
    if (
        rc
        or (block.boot and _is_kernels(memory, memory.span_of(block.id)))
        or (block.used and memory.users.unmovable_in(block, _everything(memory, block)))
    ):
        return rc or Errno.EBUSY
    notify = memmap.notify_of(memory, block)
    # What the zone manages of it: struct pages that lie inside were never handed out.
    leaving = notify.size // memory.page_size
    rc = (
        memory.faults.take(FaultPoint.GOING_OFFLINE)
        or memory.notifiers.notify(MemoryEvent.GOING_OFFLINE, notify)
        or _migrate(memory, block, zone, leaving)
    )
    if rc:
        memory.notifiers.cancel(MemoryEvent.CANCEL_OFFLINE, notify)
        return rc
    # A notifier that receives OFFLINE finds the pages gone from every count. The span shrinks last: a veto above then
    # leaves nothing to undo, and only now is it known which online pages are left to end at.
    _leave_zone(memory, block, zone, leaving)
    memory.notifiers.notify(MemoryEvent.OFFLINE, notify)
    zone.shrink(block.id * memory.pages_per_block, memory.pages_per_block)
    if memory.release.brackets_events:
        memory.notifiers.notify(MemoryEvent.FINISH_OFFLINE, notify)
    return OK


def _is_kernels(memory: Memory, span: Span) -> bool:
    """Return whether boot memory is taken to have something unmovable in it."""
    if not memory.architecture.keeps_boot_memory:
        return True
    tops = memory.iomem.children.overlapping(span.start, span.stop - 1)
    return any(not top.busy or any(top.children.overlapping(span.start, span.stop - 1)) for top in tops)


def _everything(memory: Memory, block: MemoryBlock) -> int:
    """A bit for each pageblock of a block that does not hold its struct pages."""
    return ((1 << memory.pageblocks_per_block) - 1) & ~memmap.mask_of(block)


def _migrate(memory: Memory, block: MemoryBlock, zone: Zone, leaving: int) -> Errno:
    """Empty a block with `leaving` managed pages: EBUSY for pages that a driver withholds and did not let go of."""
    # A withheld page whose reference the driver kept: Linux takes it for a page in use that cannot be migrated.
    if block.fake_offline & ~block.dropped:
        return Errno.EBUSY
    if rc := memory.faults.take(FaultPoint.MIGRATE):
        return rc
    if block.used and (rc := memory.users.evacuate(block, _everything(memory, block))):
        return rc
    # What is in use in the zone has to fit into what is left of it.
    return Errno.EBUSY if zone.used and zone.managed - zone.used < leaving else OK


def _leave_zone(memory: Memory, block: MemoryBlock, zone: Zone, managed: int) -> None:
    pages = memory.pages_per_block
    zone.managed -= managed
    zone.remove_online(block.id * pages)
    _adjust_present(block, zone, -pages)
    block.zone = None
    block.fake_offline = block.dropped = 0


def _adjust_present(block: MemoryBlock, zone: Zone, pages: int) -> None:
    """Count present pages of zone and group. Models: adjust_present_page_count()."""
    zone.present += pages
    if block.group is not None:
        if zone.is_kernel:
            block.group.present_kernel += pages
        else:
            block.group.present_movable += pages
