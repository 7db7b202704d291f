"""A resource tree as the lines of its listing, equal neighbours counted instead of repeated.

A guest of 16 TiB that does not merge has 100 000 lines that differ only in their address; they are not read one by one.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from virtiomem.resource.node import Resource


class Row(NamedTuple):
    """`times` resources of `size` bytes each, one behind the other from `start`; with children only ever one."""

    depth: int
    start: int
    size: int
    times: int
    name: str

    @property
    def stop(self) -> int:
        """The address behind the last of them."""
        return self.start + self.size * self.times


def rows(root: Resource) -> list[Row]:
    """The lines below `root` in the order of the listing; childless siblings of one name and size, adjacent, are one row."""
    found: list[Row] = []
    depth, start, size, times, name = -1, 0, 0, 0, ""
    open_row = False  # the last row may take in the next sibling
    for level, node in root.walk():
        childless = not node.children
        alike = (level, node.start, node.size, node.name) == (depth, start + size * times, size, name)
        if open_row and childless and alike:
            times += 1
            continue
        if times:
            found.append(Row(depth, start, size, times, name))
        depth, start, size, times, name = level, node.start, node.size, 1, node.name
        # A row with children stays alone: what stands below it would belong to one of several.
        open_row = childless
    if times:
        found.append(Row(depth, start, size, times, name))
    return found


def singles(found: Iterable[Row]) -> Iterator[Row]:
    """The rows with nothing counted: one for each resource."""
    for row in found:
        for i in range(row.times):
            yield Row(row.depth, row.start + i * row.size, row.size, 1, row.name)
