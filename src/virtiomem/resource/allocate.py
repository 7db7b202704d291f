"""Finding a gap: the lowest free place of a given size and alignment between the children of a resource.

Models: allocate_resource() and reallocate_resource() in kernel/resource.c (v6.1).
"""

from collections.abc import Callable, Iterator

from virtiomem import border
from virtiomem.errors import Errno, KernelError
from virtiomem.resource.node import Resource
from virtiomem.units import U64_MAX, align_up

AlignFunction = Callable[[int, int, int, int], int]
"""(gap start, gap end, size, align) -> where to start in the gap, whose start is aligned already."""


def allocate_resource(
    root: Resource, new: Resource, size: int, lowest: int, highest: int, align: int, alignf: AlignFunction | None
) -> None:
    """Place `new` in the lowest gap under `root` within [`lowest`, `highest`] that holds `size` bytes.

    A `new` that is under `root` already is grown, shrunk or moved; it may use its own place.
    Raises KernelError (EBUSY) when no gap is large enough, or `new` would have to move and has children.
    """
    start = _find_place(root, new, size, lowest, highest, align, alignf)
    if start is None:
        raise KernelError(
            Errno.EBUSY, f"no free {size:#x} bytes aligned to {align:#x} under {root.title} for {new.name!r}"
        )
    end = start + size - 1
    # The range first: `_link` files a node under its start, and children that `new` has may not fit the place.
    if new.parent is None and new._set_range(start, end) is None:
        conflict = root._link(new)
    elif new.parent is None:
        raise KernelError(Errno.EBUSY, f"{new} has children and cannot move to {start:#x}-{end:#x}")
    # In place where the range that was found holds the old one, or lies inside it and no child could be uncovered.
    elif (start <= new.start and new.end <= end) or (new._children is None and new.contains(start, end)):
        conflict = new._resize(start, end)
    elif new._children is None:
        # Out of the container before the range changes: the container finds a child by its start.
        new._unlink()
        new.start, new.end = start, end
        conflict = root._link(new)
    else:
        raise KernelError(Errno.EBUSY, f"{new} has children and cannot move to {start:#x}-{end:#x}")
    assert conflict is None, "a gap has room"


def _find_place(
    root: Resource, new: Resource, size: int, lowest: int, highest: int, align: int, alignf: AlignFunction | None
) -> int | None:
    for gap_start, gap_end in _gaps(root, new):
        low, high = max(gap_start, lowest), min(gap_end, highest)
        start = align_up(low, align)
        # Aligning may carry the start past the last address, where no gap is.
        if start > U64_MAX:
            continue
        if alignf is not None:
            where = alignf(start, high, size, align)
            border.integer("what alignf returns", where)
            # It may point below the gap, where something lies already.
            if where < start:
                continue
            start = where
        if size > 0 and start + size - 1 <= high:
            return start
    return None


def _gaps(root: Resource, own: Resource) -> Iterator[tuple[int, int]]:
    """The free ranges between the children of `root`, both ends inclusive; the place of `own` counts as free."""
    start = root.start
    for child in root.children:
        # `start` stays: the gap below `own` goes on through its place to the sibling above.
        if child is own:
            continue
        if start < child.start:
            yield start, child.start - 1
        start = child.end + 1
    if start <= root.end:
        yield start, root.end
