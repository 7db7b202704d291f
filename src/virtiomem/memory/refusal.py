"""Why Linux does not add memory, or does not let a memory block go offline: what the errno stands for."""

from collections import Counter
from collections.abc import Iterable

from virtiomem.errors import Errno
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.memory.vmemmap import memmap_size
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.resource.tree import ResourceConflict


def why_refused(memory: Memory, nid: int, start: int, size: int, rc: Errno) -> Reason:
    """The reason for an errno that adding this range has just ended with, or would end with."""
    facts: dict[str, object] = {"addr": start, "size": size, "errno": rc.name}
    match rc:
        case Errno.EINVAL if not memory.is_aligned(start, size):
            value = start if start % memory.block_size else size
            return Reason(ReasonKind.NO_WHOLE_BLOCKS, facts | {"value": value, "block": memory.block_size})
        case Errno.E2BIG:
            return Reason(ReasonKind.NOT_PLUGGABLE, facts | {"stop": start + size, "end": memory.hotpluggable_end + 1})
        case Errno.EEXIST if (taken := _taken_by(memory, start, size)) is not None:
            return Reason(ReasonKind.RANGE_TAKEN, facts | {"by": taken})
        case Errno.ENOMEM if (short := no_struct_pages(memory, nid, size)) is not None:
            return short
        case _:
            return Reason(ReasonKind.NOT_ADDED_ERRNO, facts)


def no_struct_pages(memory: Memory, nid: int, size: int) -> Reason | None:
    """Return the reason when free memory cannot pay for `size` new bytes on a node; None when it can."""
    vmemmap, page = memory.vmemmap, memory.page_size
    need = size // memory.block_size * vmemmap.block_pages
    if not vmemmap.counted or vmemmap.available(nid) >= need:
        return None
    facts = {"need": memmap_size(size, memory.architecture), "node": nid, "free": vmemmap.available_on(nid) * page}
    return Reason(ReasonKind.NO_STRUCT_PAGES, facts)


def _taken_by(memory: Memory, start: int, size: int) -> str | None:
    """Name the resource that has the range already; None when it is free."""
    try:
        # Asked of the tree by a request that is given back: only that descends as the one that failed did.
        memory.iomem.release_resource(memory.iomem.request_region(start, size, "probe"))
    except ResourceConflict as error:
        return str(error.conflict)
    return None


def uses_of(memory: Memory, block: MemoryBlock, pageblocks: Iterable[int] | None = None) -> list[dict[str, object]]:
    """Count the pages of each user in a memory block, or in these pageblocks of it."""
    used: Counter[tuple[str, str]] = Counter()
    for index in block.used if pageblocks is None else pageblocks:
        if (use := block.used.get(index)) is not None:
            used["movable" if use.movable else "unmovable", use.id] += memory.architecture.pages(memory.pageblock_size)
    return [{"pages": count, "kind": kind, "id": id_} for (kind, id_), count in sorted(used.items())]


def room_of(memory: Memory) -> dict[str, object]:
    """Return what is free of all memory, and what describes the memory that was added, which is not: in bytes."""
    free = sum(zone.managed - zone.used for node in memory.nodes.values() for zone in node.zones.values())
    memmap = sum(pages for block in memory.blocks.values() for _, pages in block.paid)
    return {"free": free * memory.page_size, "memmap": memmap * memory.page_size}


def why_not_offline(memory: Memory, block: MemoryBlock, rc: Errno) -> Reason | None:
    """The reason for an errno of `offline_pages`: what holds the block; None where nothing in it is known to."""
    # ENOMEM is about movable pages that found no room; any other errno is about those that do not move.
    uses = [use for use in uses_of(memory, block) if rc is Errno.ENOMEM or use["kind"] == "unmovable"]
    if not uses or block.zone is None:
        return None
    facts: dict[str, object] = {"block": block.id, "zone": str(block.zone.type), "uses": uses}
    if rc is Errno.ENOMEM:
        return Reason(ReasonKind.IN_USE_NO_ROOM, facts | room_of(memory))
    return Reason(ReasonKind.IN_USE, facts)
