"""Struct pages that lie in the very memory block that they describe (memory_hotplug.memmap_on_memory).

They take the first pageblocks of the block: present in its zone, never managed by it. Models: mhp_memmap_on_memory(),
mhp_supports_memmap_on_memory() (mm/memory_hotplug.c, v6.1).
"""

from collections.abc import Sequence

from virtiomem.abi import MemmapOnMemory
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.memory.notifier import MemoryNotify
from virtiomem.memory.vmemmap import memmap_size
from virtiomem.units import align_up


def pageblocks_inside(memory: Memory, size: int) -> int:
    """Pageblocks of each memory block that take its struct pages, in a range of `size` bytes to be added; 0: they are
    elsewhere.
    """
    if not (_is_on(memory) and _may_have(memory, size // memory.block_size)):
        return 0
    needed = memmap_size(memory.block_size, memory.architecture)
    inside = align_up(needed, memory.pageblock_size)
    forced = memory.policy.memmap_on_memory is MemmapOnMemory.FORCE
    # Struct pages there are mapped with huge pages, so they must fill whole ones; `force` wastes what a pageblock
    # has left.
    whole = needed % memory.architecture.transparent_huge_page == 0 and (forced or inside == needed)
    return inside // memory.pageblock_size if whole and inside < memory.block_size else 0


def _is_on(memory: Memory) -> bool:
    """Return whether the parameter is on; a kernel that does not know `force` ignores it. Since: 6.6 (memmap_can_be_forced)."""
    setting = memory.policy.memmap_on_memory
    return setting is MemmapOnMemory.YES or (setting is MemmapOnMemory.FORCE and memory.release.memmap_can_be_forced)


def _may_have(memory: Memory, blocks: int) -> bool:
    """Return whether struct pages can lie inside that many memory blocks added or removed at once. Since: 6.8
    (memmap_in_each_block).
    """
    return blocks == 1 or memory.release.memmap_in_each_block


def removable(memory: Memory, blocks: Sequence[MemoryBlock]) -> bool:
    """Return whether a range can be removed: all its blocks have their struct pages inside, or all elsewhere."""
    inside = [block for block in blocks if block.memmap_pageblocks]
    return not inside or (len(inside) == len(blocks) and _may_have(memory, len(blocks)))


def notify_of(memory: Memory, block: MemoryBlock) -> MemoryNotify:
    """Return the range that notifiers see of a block that goes online or offline: all of it but its struct pages."""
    taken = block.memmap_pageblocks * memory.pageblock_size
    return MemoryNotify(block.id * memory.block_size + taken, memory.block_size - taken, block.nid)


def mask_of(block: MemoryBlock) -> int:
    """A bit for each pageblock that struct pages take."""
    return (1 << block.memmap_pageblocks) - 1
