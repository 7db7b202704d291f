"""Merging System RAM on hot-add, and splitting it again on hot-remove.

Both work on one resource and its direct neighbours; nothing else is ever merged, least of all as a side effect.

**Who may merge** is said by a flag, MERGEABLE, not by the name. A name says what memory is; the flag says that the
driver which added it will never ask for exactly this resource again. A DIMM is `System RAM` like the memory of a
balloon, but its owner removes it as one piece and did not ask for merging: without the flag its flags differ from any
neighbour's that has it, and it stays apart. Only `merge_system_ram_resource` sets the flag, on the one resource that it
is called for.

**Names are compared by identity,** as the kernel compares pointers: two drivers that happen to choose the same words do not
merge. Memory that is added here has a constant for its name (`resource.names`), and what is split off takes over the
name of the rest. Of a listing that is read, `resource.iomem` interns every name.

**Merged resources die.** The lower one is extended and survives; the other leaves the tree, with no parent, and nothing
tells its holders. So a caller that passes a resource in must not use it afterwards, but the one that is returned: the
memory core forgets it (`MHP_MERGE_RESOURCE`), and removal goes by address, never by object.

Models: merge_system_ram_resource() and release_mem_region_adjustable() in kernel/resource.c (v6.1).
"""

from virtiomem import border
from virtiomem.resource.children import Children
from virtiomem.resource.flags import (
    BUSY_RAM,
    IORESOURCE_BUSY,
    IORESOURCE_MEM,
    IORESOURCE_SYSRAM_MERGEABLE,
)
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.resource.node import Resource, Trusted


def merge_system_ram_resource(res: Resource) -> Resource:
    """Mark `res` mergeable and merge it with its neighbours; return the survivor, the lowest of those merged.

    The neighbour above is tried first, then the one below. Only busy System RAM is merged: anything else comes back
    unmarked and unmerged, where the kernel would also warn once. The resources merged away are dead: they have no parent.
    """
    try:
        flags = res.flags
    except AttributeError:  # looked for only now: a call for each memory block is of the right kind
        border.instance("res", res, Resource)
        raise
    if flags & BUSY_RAM != BUSY_RAM or res.parent is None or (siblings := res.parent._children) is None:
        return res
    res.flags = flags | IORESOURCE_SYSRAM_MERGEABLE
    below, above = siblings.around(res)
    if above is not None and mergeable(res, above):
        siblings.remove(above)
        res.end = above.end
        above.parent = None
    if below is not None and mergeable(below, res):
        siblings.remove(res)
        below.end = res.end
        res.parent = None
        return below
    return res


def mergeable(low: Resource, high: Resource) -> bool:
    """True when two siblings would merge: touching, childless, with equal flags and desc and the very same name.

    A neighbour that was never marked mergeable differs in flags.
    """
    return (
        low.end + 1 == high.start
        and low.flags == high.flags
        and low.name is high.name
        and low.desc is high.desc
        and low._children is None
        and high._children is None
    )


def merge_adjacent_system_ram(root: Resource) -> int:
    """Merge all touching, childless System RAM siblings of equal name under `root`; return how many were merged away.

    This is what a listing would look like had every block been merged when it was added, whatever its kernel and driver did.
    """
    merged = _merge_children(root)
    for _, node in root.walk():
        # The walk looks for a node's children only after it has given the node: it enters what was merged.
        merged += _merge_children(node)
    return merged


def _merge_children(parent: Resource) -> int:
    if parent._children is None:
        return 0
    kept: list[Resource] = []
    below: Resource | None = None
    for child in parent._children:
        # By name, not by flag: a listing has no flags. What has children was never merged by a kernel either.
        if child._children is not None or not child.name.startswith(SYSTEM_RAM):
            below = None
        elif below is not None and below.end + 1 == child.start and below.name == child.name:
            below.end = child.end
            child.parent = None
            continue
        else:
            below = child
        kept.append(child)
    merged = len(parent._children) - len(kept)
    if merged:
        parent._children = Children(kept)
    return merged


def release_mem_region_adjustable(root: Resource, start: int, size: int) -> None:
    """Take `size` bytes from `start` out of the one busy MEM resource under `root` that holds them all.

    The resource goes away, is trimmed at either end, or is split: then its upper rest becomes a resource of the same
    name, flags and desc, and its children stay with the lower. A range that is empty, that no single resource holds, or
    whose removal would uncover a child, stays as it is, where the kernel would at most warn. Raises ArgumentError only.
    """
    if type(start) is not int or type(size) is not int or size < 1:
        border.span(start, size)
        if not size:
            return
    end = start + size - 1
    parent = root
    # Down through what is not busy, as a device's own region, to the RAM in it.
    while (siblings := parent._children) is not None and (res := siblings.at_or_below(start)) is not None:
        # `<` as in Linux, which stops at a resource that starts at `end` or above: a single first byte stays.
        if not res.start < end <= res.end or not res.flags & IORESOURCE_MEM:
            break
        if res.flags & IORESOURCE_BUSY:
            _cut(siblings, res, start, end)
            return
        parent = res
    # Only here, since nearly every range finds its resource: what found none may not be a range at all.
    border.span(start, size)


def _cut(siblings: Children[Resource], res: Resource, start: int, end: int) -> None:
    """Take [start, end], which lies inside, out of `res`."""
    if res.start == start:
        if res.end == end:
            res._unlink()
        else:
            res._set_range(end + 1, res.end)
    elif res.end == end:
        res._set_range(res.start, start - 1)
    else:
        rest = Trusted(end + 1, res.end, res.name, res.flags, res.desc)
        # Refused where it would uncover a child: Linux drops the upper rest, too, and changes nothing.
        if res._set_range(res.start, start - 1) is None:
            siblings.add_above(res, rest)
            rest.parent = res.parent
