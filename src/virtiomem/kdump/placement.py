"""Place the segments of an ordinary image as kexec_file_load() does; the map shows them once the next kernel runs.

A crash kernel's image is another matter: it has its own reserved memory.

Models: kexec_locate_mem_hole() and locate_mem_hole_top_down() in kernel/kexec_file.c (v6.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from virtiomem import border
from virtiomem.errors import Errno, KernelError
from virtiomem.releases.linux import DEFAULT, LinuxRelease
from virtiomem.resource.flags import IORESOURCE_SYSRAM_DRIVER_MANAGED
from virtiomem.resource.tree import Resource
from virtiomem.resource.walk import walk_system_ram_res
from virtiomem.units import U64_MAX, Span, align_down, align_up

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an image: its size, the alignment of its start, and the lowest address that it may have, in bytes."""

    size: int
    align: int = PAGE
    lowest: int = 0


def place(tree: Resource, segments: Sequence[Segment], release: LinuxRelease = DEFAULT) -> list[Span]:
    """Place each segment, in whole pages, in the order in which they are added.

    Raises KernelError (EADDRNOTAVAIL) where no RAM has room for one; ArgumentError.
    """
    border.instance("tree", tree, Resource)
    ram = _ram(tree, release)
    taken: list[Span] = []
    for segment in segments:
        found = (place for node in ram if (place := _hole(node, segment, taken, release)) is not None)
        if (hole := next(found, None)) is None:
            raise KernelError(Errno.EADDRNOTAVAIL, f"no System RAM has room for a segment of {segment.size} bytes")
        taken.append(hole)
    return taken


def _ram(tree: Resource, release: LinuxRelease) -> list[Span]:
    """System RAM in the order of the search, without what a driver manages. Since: 6.8 (loads_from_the_top)."""
    found = [
        Span(start, end + 1)
        for start, end, resource in walk_system_ram_res(tree, 0, U64_MAX)
        if not resource.flags & IORESOURCE_SYSRAM_DRIVER_MANAGED
    ]
    return found[::-1] if release.loads_from_the_top else found


def _hole(ram: Span, segment: Segment, taken: Sequence[Span], release: LinuxRelease) -> Span | None:
    """The highest place in `ram` that is free; None where no gap is large enough. Since: 6.8 (loads_flush)."""
    size, align = align_up(segment.size, PAGE), max(segment.align, PAGE)
    start = align_down(ram.stop - size - (not release.loads_flush), align)
    # From the top: once moved below one, a segment can only meet those that lie lower.
    for other in sorted(taken, reverse=True):
        if start < other.stop and other.start < start + size:
            start = align_down(other.start - size, align)
    return Span(start, start + size) if start >= max(ram.start, segment.lowest) else None
