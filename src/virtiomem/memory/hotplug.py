"""Memory arriving and leaving.

Flags (mhp_t) are plain ints, as resource flags are: they are tested for every block that comes.

Models: add_memory(), add_memory_driver_managed(), add_memory_resource(), remove_memory(), offline_and_remove_memory()
(mm/memory_hotplug.c, v6.1). Sizes and addresses are bytes.
"""

from virtiomem import border
from virtiomem.abi import BlockState, OnlineType
from virtiomem.errors import OK, ArgumentValueError, Errno
from virtiomem.memory import memmap
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import MAX_BLOCKS, Memory
from virtiomem.memory.faults import FaultPoint
from virtiomem.memory.group import MemoryGroup
from virtiomem.memory.onlining import put_online, take_offline
from virtiomem.resource.flags import (
    BUSY_RAM,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSTEM_RAM,
)
from virtiomem.resource.names import DRIVER_RAM, SYSTEM_RAM
from virtiomem.resource.tree import Resource, ResourceConflict
from virtiomem.resource.walk import find_next
from virtiomem.units import Span

_DRIVER_RAM = IORESOURCE_SYSTEM_RAM | IORESOURCE_SYSRAM_DRIVER_MANAGED

MAX_INT = (1 << 31) - 1
"""What the kernel's int holds."""

MHP_NONE = 0
MHP_MERGE_RESOURCE = 1 << 0
"""Mark the resource mergeable and merge it with equal neighbours; its Resource is dead afterwards."""
MHP_MEMMAP_ON_MEMORY = 1 << 1
"""The struct pages live in the added range."""
MHP_NID_IS_MGID = 1 << 2
"""The node argument is the id of a memory group."""


def add_memory(memory: Memory, nid: int, start: int, size: int, flags: int = MHP_NONE) -> Errno:
    """Add plain System RAM; see `add_memory_driver_managed` for the errors."""
    _check_range(memory, start, size)
    _check_owner(nid, flags)
    return add_named(memory, nid, start, size, SYSTEM_RAM, flags)


def add_memory_driver_managed(
    memory: Memory, nid: int, start: int, size: int, resource_name: str, flags: int = MHP_NONE
) -> Errno:
    """Add memory that only its driver can find again.

    `resource_name` is ``System RAM ($DRIVER)`` (else EINVAL). E2BIG outside what can be hotplugged; EEXIST when the
    range is taken; EINVAL unless it is whole memory blocks, or for an unknown node or group; ENOMEM. On an error
    nothing has changed. A block that cannot be put online stays offline; that is not an error. Raises ArgumentError.
    """
    _check_range(memory, start, size)
    _check_owner(nid, flags)
    border.name("resource_name", resource_name)
    if DRIVER_RAM.fullmatch(resource_name) is None:
        return Errno.EINVAL
    return add_named(memory, nid, start, size, resource_name, flags)


def add_named(memory: Memory, nid: int, start: int, size: int, name: str, flags: int) -> Errno:
    """As `add_memory` and `add_memory_driver_managed`, for drivers of ours."""
    # Claimed before anything else is checked, as in Linux: an unaligned range that is also taken is EEXIST, not EINVAL.
    res = _register_memory_resource(memory, start, size, name)
    if isinstance(res, Errno):
        return res
    if rc := _add_resource(memory, nid, res, flags):
        memory.iomem.release_resource(res)
        return rc
    return OK


def _check_range(memory: object, start: object, size: object) -> None:
    border.instance("memory", memory, Memory)
    border.span(start, size)


def _check_owner(nid: object, flags: object) -> None:
    border.integer("nid", nid, -1, MAX_INT)
    border.integer("flags", flags, 0, MAX_INT)


def _register_memory_resource(memory: Memory, start: int, size: int, name: str) -> Resource | Errno:
    """Claim the range in the resource tree: E2BIG or EEXIST. Models: register_memory_resource()."""
    if size == 0 or start < memory.hotpluggable_start or start + size - 1 > memory.hotpluggable_end:
        return Errno.E2BIG
    if rc := memory.faults.take(FaultPoint.REGISTER_RESOURCE):
        return rc
    # By the text and not by identity: Linux compares the string here, though it merges by the pointer.
    flags = IORESOURCE_SYSTEM_RAM if name == SYSTEM_RAM else _DRIVER_RAM
    try:
        return memory.iomem.request_region(start, size, name, flags)
    except ResourceConflict:
        return Errno.EEXIST


def add_memory_resource(memory: Memory, nid: int, res: Resource, flags: int = MHP_NONE) -> Errno:
    """Add the memory of a resource that is in the tree already; on an error its owner releases it.

    Raises ArgumentError unless it is busy System RAM there.
    """
    border.instance("memory", memory, Memory)
    border.instance("res", res, Resource)
    _check_owner(nid, flags)
    if not memory.is_system_ram(res.start, res.size):
        raise ArgumentValueError(f"res must be busy System RAM in the resource tree, not {res}")
    if res.start < memory.hotpluggable_start or res.end > memory.hotpluggable_end:
        return Errno.E2BIG
    return _add_resource(memory, nid, res, flags)


def _add_resource(memory: Memory, nid: int, res: Resource, flags: int) -> Errno:
    """The order is the kernel's: blocks, nodes, firmware map, then merging, then onlining."""
    start, size = res.start, res.size
    if not memory.is_aligned(start, size):
        return Errno.EINVAL
    group: MemoryGroup | None = None
    if flags & MHP_NID_IS_MGID:
        group = memory.groups.get(nid)
        if group is None:
            return Errno.EINVAL
        nid = group.nid
    if nid not in memory.nodes:
        return Errno.EINVAL
    if rc := memory.faults.take(FaultPoint.ONLINE_NODE):
        return rc
    inside = memmap.pageblocks_inside(memory, size) if flags & MHP_MEMMAP_ON_MEMORY else 0
    if flags & MHP_MEMMAP_ON_MEMORY and not (inside or _is_hint(memory)):
        return Errno.EINVAL
    blocks = _create_memory_blocks(memory, nid, start, size, group, inside)
    if isinstance(blocks, Errno):
        return blocks
    # Driver-managed memory stays out: after a plain kexec the next kernel must not use it before its driver has looked.
    if res.name == SYSTEM_RAM:
        memory.firmware_map.append(Span.sized(start, size))
    # Merged before it is online: memory that stays offline merges, too. From here on `res` may be dead.
    if flags & MHP_MERGE_RESOURCE:
        memory.iomem.merge_system_ram_resource(res)
    _online_by_default(memory, blocks)
    return OK


def _is_hint(memory: Memory) -> bool:
    """Return whether struct pages may be elsewhere when they do not fit inside the memory. Since: 6.6
    (memmap_flag_is_a_hint).
    """
    return memory.release.memmap_flag_is_a_hint


def _create_memory_blocks(
    memory: Memory, nid: int, start: int, size: int, group: MemoryGroup | None, memmap_pageblocks: int
) -> list[MemoryBlock] | Errno:
    """Map the range and make its blocks, offline: all or none. EEXIST when one exists, ENOMEM for too many."""
    ids = range(start // memory.block_size, (start + size) // memory.block_size)
    if rc := memory.faults.take(FaultPoint.ARCH_ADD):
        return rc
    if len(ids) + len(memory.blocks) > MAX_BLOCKS:
        return Errno.ENOMEM
    # Looked for in all of them before the first is made, so that a failure has nothing to undo.
    if not memory.blocks.keys().isdisjoint(ids):
        return Errno.EEXIST
    if rc := memory.faults.take(FaultPoint.CREATE_BLOCKS):
        return rc
    blocks = [MemoryBlock(id_, nid, group, memmap_pageblocks=memmap_pageblocks) for id_ in ids]
    # Paid before a block is filed: a block without struct pages does not exist.
    if rc := _pay(memory, blocks):
        return rc
    for block in blocks:
        memory.blocks[block.id] = block
    if group is not None:
        group.blocks += len(blocks)
    return blocks


def _pay(memory: Memory, blocks: list[MemoryBlock]) -> Errno:
    """Take what new blocks cost from free memory: ENOMEM where there is too little.

    What earlier blocks of the range have taken is then lost, for Linux does not give it back. Models: __add_pages()
    (mm/memory_hotplug.c, v6.1).
    """
    vmemmap = memory.vmemmap
    if not vmemmap.counted:
        return OK
    for block in blocks:
        pages = vmemmap.inside_pages if block.memmap_pageblocks else vmemmap.block_pages
        if (paid := vmemmap.take(block.nid, pages)) is None:
            return Errno.ENOMEM
        block.paid = paid
    return OK


def _online_by_default(memory: Memory, blocks: list[MemoryBlock]) -> None:
    """Put new blocks online as the default state says. Stop at the first failure, which is ignored: the memory stays added."""
    if memory.policy.default_state is OnlineType.OFFLINE:
        return
    for block in blocks:
        # None, for a block that is online already, ends it as well: Linux stops at any result but 0, and there it is 1.
        if put_online(memory, block, memory.policy.default_state) is not OK:
            break


def remove_memory(memory: Memory, start: int, size: int) -> Errno:
    """Remove offline memory: EBUSY when a block is not offline. Blocks that do not exist are ignored.

    EINVAL where some blocks have their struct pages inside (`memmap`) and others not.

    Raises ArgumentError for a range that is not whole memory blocks (the kernel stops with a BUG).
    """
    _check_range(memory, start, size)
    if not memory.is_aligned(start, size):
        raise ArgumentValueError(f"start and size must be whole memory blocks, not {start:#x} and {size:#x}")
    return remove_blocks(memory, start, size)


def remove_blocks(memory: Memory, start: int, size: int) -> Errno:
    """As `remove_memory`, for callers who know that the range is whole memory blocks."""
    blocks = list(memory.blocks_in(start, size))
    # All of them before the first goes: the range is removed whole or stays whole.
    if any(block.state is not BlockState.OFFLINE for block in blocks):
        return Errno.EBUSY
    removable = memmap.removable(memory, blocks)
    # Since 6.8 (memmap_in_each_block) Linux looks at the struct pages last, when the firmware's entry is gone.
    if not removable and not memory.release.memmap_in_each_block:
        return Errno.EINVAL
    # Only an entry of exactly this range goes, as in Linux: memory added as one and removed in parts leaves its entry.
    if memory.firmware_map and (span := Span.sized(start, size)) in memory.firmware_map:
        memory.firmware_map.remove(span)
    if not removable:
        return Errno.EINVAL
    # Blocks go before the resource: as long as anything of the memory is there, its addresses stay claimed.
    for block in blocks:
        del memory.blocks[block.id]
        if block.paid:
            memory.vmemmap.give_back(block.paid)
        if block.group is not None:
            block.group.blocks -= 1
    memory.iomem.release_mem_region_adjustable(start, size)
    return OK


def offline_and_remove_memory(memory: Memory, start: int, size: int) -> Errno:
    """Take memory offline and remove it, or leave it as it was.

    EINVAL unless the range is whole memory blocks; ENOMEM; else the first error of taking a block offline, and then
    the blocks that were taken offline by this call are put online again as they were (a failure there is ignored).
    Raises ArgumentError.
    """
    _check_range(memory, start, size)
    return offline_and_remove(memory, start, size)


def offline_and_remove(memory: Memory, start: int, size: int) -> Errno:
    """As `offline_and_remove_memory`, for drivers of ours."""
    if not memory.is_aligned(start, size):
        return Errno.EINVAL
    if rc := memory.faults.take(FaultPoint.OFFLINE_AND_REMOVE):
        return rc
    done: list[tuple[MemoryBlock, OnlineType]] = []
    for block in memory.blocks_in(start, size):
        # Before it is tried: to undo it the zone must be known, and a block that is offline has none left.
        movable = block.zone is not None and not block.zone.is_kernel
        rc_or_none = take_offline(memory, block)
        if rc_or_none:
            for offlined, how in done:
                put_online(memory, offlined, how)
            return rc_or_none
        if rc_or_none is OK:
            # A block that was offline already stays out of the list: undoing must not put it online.
            done.append((block, OnlineType.ONLINE_MOVABLE if movable else OnlineType.ONLINE_KERNEL))
    return remove_blocks(memory, start, size)


def has_system_ram(memory: Memory, start: int, end: int) -> bool:
    """True when busy System RAM lies in [start, end], both inclusive (walk_iomem_res_desc() with any callback)."""
    return find_next(memory.iomem, start, end, BUSY_RAM) is not None
