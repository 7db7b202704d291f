"""Why Linux does not add memory, in words: what an errno of add_memory() stands for."""

from virtiomem.errors import Errno
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
    """That so much new memory of a node cannot be paid for; None when it can."""
    vmemmap, page = memory.vmemmap, memory.page_size
    need = size // memory.block_size * vmemmap.block_pages
    if not vmemmap.counted or vmemmap.available(nid) >= need:
        return None
    facts = {"need": memmap_size(size, memory.architecture), "node": nid, "free": vmemmap.available_on(nid) * page}
    return Reason(ReasonKind.NO_STRUCT_PAGES, facts)


def _taken_by(memory: Memory, start: int, size: int) -> str | None:
    """What has the range already."""
    try:
        memory.iomem.release_resource(memory.iomem.request_region(start, size, "probe"))
    except ResourceConflict as error:
        return str(error.conflict)
    return None
