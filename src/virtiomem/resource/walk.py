"""Searching the tree: for RAM, for a kind of memory, for what a range intersects.

Models: find_next_iomem_res() and its walkers, region_intersects() and iomem_is_exclusive() in kernel/resource.c (v6.1, with
the descent of region_intersects() into children that came later and was backported to 6.1.y).
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from virtiomem.architecture import DEFAULT
from virtiomem.resource.flags import (
    BUSY_RAM,
    IORESOURCE_BUSY,
    IORESOURCE_EXCLUSIVE,
    IORESOURCE_MEM,
    IORESOURCE_SYSTEM_RAM,
    Desc,
)
from virtiomem.resource.node import Resource, overlapping_descendants
from virtiomem.units import align_down, align_up


class Found(NamedTuple):
    """A match: the part of `resource` inside the range that was searched, both ends inclusive."""

    start: int
    end: int
    resource: Resource


class Intersection(IntEnum):
    """Result of region_intersects()."""

    INTERSECTS = 0
    """Memory of the wanted kind, and none of another."""
    DISJOINT = 1
    """No memory of the wanted kind."""
    MIXED = 2
    """Some of both."""


class PageRange(NamedTuple):
    """Whole pages."""

    start_pfn: int
    nr_pages: int


def find_next(root: Resource, start: int, end: int, flags: int, desc: Desc = Desc.NONE) -> Found | None:
    """The first resource under `root` in [`start`, `end`] that has all of `flags` and, unless NONE, this `desc`.

    A search of one byte finds nothing: the kernel calls it invalid. Models: find_next_iomem_res().
    """
    return next(walk_iomem_res_desc(root, start, end, flags, desc), None)


def walk_iomem_res_desc(root: Resource, start: int, end: int, flags: int, desc: Desc = Desc.NONE) -> Iterator[Found]:
    """All matches in address order, each clipped to the range; a match hides what is inside it."""
    if start >= end:
        return
    for node in _matching(root, start, end, flags, desc):
        found = Found(max(node.start, start), min(node.end, end), node)
        yield found
        # The kernel calls a search of one byte invalid, and what is left here may be one.
        if found.end + 1 >= end:
            return


def walk_system_ram_res(root: Resource, start: int, end: int) -> Iterator[Found]:
    """Busy System RAM: boot, hotplugged and driver-managed alike; a virtio-mem device's parent is not busy."""
    return walk_iomem_res_desc(root, start, end, BUSY_RAM)


def walk_mem_res(root: Resource, start: int, end: int) -> Iterator[Found]:
    """Busy memory of any kind."""
    return walk_iomem_res_desc(root, start, end, IORESOURCE_MEM | IORESOURCE_BUSY)


def walk_system_ram_range(
    root: Resource, start_pfn: int, nr_pages: int, page_size: int = DEFAULT.page_size
) -> Iterator[PageRange]:
    """Busy System RAM in whole pages of `page_size` bytes; a resource that holds none is passed over."""
    start, end = start_pfn * page_size, (start_pfn + nr_pages) * page_size - 1
    for found in walk_system_ram_res(root, start, end):
        first, stop = align_up(found.start, page_size), align_down(found.end + 1, page_size)
        if first < stop:
            yield PageRange(first // page_size, (stop - first) // page_size)


def region_intersects(root: Resource, start: int, size: int, flags: int, desc: Desc = Desc.NONE) -> Intersection:
    """Return whether the `size` bytes from `start` hold memory of a kind, of other kinds, or both; holes do not matter.

    A child of `root` of another kind counts for the wanted kind where resources inside it cover all of the range.
    """
    end = start + size - 1
    wanted = other = False
    for node in root.children.overlapping(start, end):
        if _matches(node, flags, desc):
            wanted = True
            continue
        inside = list(_matching(node, max(start, node.start), min(end, node.end), flags, desc))
        wanted = wanted or bool(inside)
        other = other or not _cover(inside, max(start, node.start), min(end, node.end))
    if not wanted:
        return Intersection.DISJOINT
    return Intersection.MIXED if other else Intersection.INTERSECTS


def iomem_is_exclusive(
    root: Resource,
    address: int,
    *,
    strict_checks: bool = True,
    io_strict_devmem: bool = True,
    page_size: int = DEFAULT.page_size,
) -> bool:
    """True when user space may not map the page of `address` through /dev/mem.

    `strict_checks` is off with iomem=relaxed; `io_strict_devmem` is CONFIG_IO_STRICT_DEVMEM (Debian: on). Exclusive
    System RAM, such as all of a virtio-mem device's region, is never mappable.
    """
    page = align_down(address, page_size)
    for node in overlapping_descendants(root, page, page + page_size - 1):
        # Before what iomem=relaxed switches off: user space must not touch a device's memory that is unplugged.
        if _matches(node, IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE, Desc.NONE):
            return True
        if strict_checks and node.busy and (io_strict_devmem or node.flags & IORESOURCE_EXCLUSIVE):
            return True
    return False


def _matches(node: Resource, flags: int, desc: Desc) -> bool:
    return node.flags & flags == flags and desc in (Desc.NONE, node.desc)


def _matching(root: Resource, start: int, end: int, flags: int, desc: Desc) -> Iterator[Resource]:
    """The topmost matches below `root` that overlap [start, end]."""
    stack = [root.children.overlapping(start, end)]
    while stack:
        for node in stack[-1]:
            if _matches(node, flags, desc):
                yield node
            # A child of a match is part of it; only what does not match is entered.
            elif node._children is not None:
                stack.append(node._children.overlapping(start, end))
                break
        else:
            stack.pop()


def _cover(nodes: list[Resource], start: int, end: int) -> bool:
    """True when `nodes`, in order, cover [start, end] without a gap."""
    for node in nodes:
        if node.start > start:
            return False
        start = max(start, node.end + 1)
    return start > end
