"""Choose the zone of a block that goes online.

Models: zone_for_pfn_range(), default_zone_for_pfn(), auto_movable_zone_for_pfn(), auto_movable_can_online_movable()
(mm/memory_hotplug.c, v6.1).
"""

from collections.abc import Iterable

from virtiomem.abi import BlockState, OnlinePolicy, OnlineType, ZoneType
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.memory.group import MemoryGroup
from virtiomem.memory.zone import Zone


def zone_for_block(memory: Memory, block: MemoryBlock, how: OnlineType) -> Zone:
    """The zone that `block` would go to. Models: zone_for_pfn_range()."""
    node = memory.nodes[block.nid]
    movable = node.zones[ZoneType.MOVABLE]
    if how is OnlineType.ONLINE_MOVABLE:
        return movable
    start_pfn, pages = block.id * memory.pages_per_block, memory.pages_per_block
    kernel = node.kernel_zone_for(start_pfn, pages)
    if how is OnlineType.ONLINE_KERNEL:
        return kernel
    if memory.policy.online_policy is OnlinePolicy.AUTO_MOVABLE:
        return movable if _auto_movable(memory, block) else kernel
    in_kernel, in_movable = kernel.intersects(start_pfn, pages), movable.intersects(start_pfn, pages)
    # In both, or in neither: then nothing around it says where it belongs.
    if in_kernel is in_movable:
        return movable if memory.policy.movable_node else kernel
    return movable if in_movable else kernel


def _auto_movable(memory: Memory, block: MemoryBlock) -> bool:
    """Return whether policy auto-movable makes a block movable. Models: auto_movable_zone_for_pfn().

    Differs: falling back to a kernel zone, Linux asks for the one where its look at the group's unit ended; here it is
    always the block's own, which is another one only at the end of DMA32.
    """
    group = block.group
    # A ratio of 0 switches it off; below it would divide by zero.
    if memory.policy.auto_movable_ratio == 0:
        return False
    if group is not None and not group.is_dynamic:
        # A DIMM goes away as a whole or not at all: one block in a kernel zone is enough to keep it.
        if group.present_kernel:
            return False
        # All of it is counted at its first block, so that it does not end half movable.
        to_place = group.max_pages - group.present_movable
    elif group is None or group.unit_pages == memory.pages_per_block:
        to_place = memory.pages_per_block
    else:
        online = _online_in_unit(memory, block, group.unit_pages)
        # A unit goes as a whole, too: movable blocks next to one in a kernel zone could not leave either.
        if any(other.zone is None or other.zone.is_kernel for other in online):
            return False
        to_place = group.unit_pages - len(online) * memory.pages_per_block
    if not _can_online_movable(memory, None, group, to_place):
        return False
    return not memory.policy.auto_movable_numa_aware or _can_online_movable(memory, block.nid, group, to_place)


def _online_in_unit(memory: Memory, block: MemoryBlock, unit_pages: int) -> list[MemoryBlock]:
    """The online blocks of the unit that `block` is in."""
    per_unit = unit_pages // memory.pages_per_block
    first = block.id // per_unit * per_unit
    unit = (memory.blocks.get(id_) for id_ in range(first, first + per_unit))
    return [other for other in unit if other is not None and other.state is not BlockState.OFFLINE]


def _can_online_movable(memory: Memory, nid: int | None, group: MemoryGroup | None, pages: int) -> bool:
    """Whether `pages` more movable ones keep the ratio, on one node or (nid None) over all.

    Models: auto_movable_can_online_movable(). Kernel memory inside a dynamic group allows for more movable memory in
    that group only; what other groups need of the early kernel memory is not there for this one.
    """
    nodes = memory.nodes.values() if nid is None else [memory.nodes[nid]]
    zones = [zone for node in nodes for zone in node if zone.populated]
    kernel_early = sum(zone.present_early - zone.cma for zone in zones if zone.is_kernel)
    movable = sum(zone.cma if zone.is_kernel else zone.present for zone in zones)
    ratio = memory.policy.auto_movable_ratio
    others = [other for other in _dynamic(memory.groups, nid) if other is not group]
    needed = sum(max(other.present_movable * 100 // ratio - other.present_kernel, 0) for other in others)
    if kernel_early <= needed:
        return False
    kernel_early -= needed
    # Paid for already, by what was taken off the kernel's memory.
    movable -= sum(other.present_movable for other in others)
    if group is not None and group.is_dynamic:
        kernel_early += group.present_kernel
    return movable + pages <= ratio * kernel_early // 100


def _dynamic(groups: Iterable[MemoryGroup], nid: int | None) -> list[MemoryGroup]:
    return [group for group in groups if group.is_dynamic and nid in (None, group.nid)]
