"""Architectures of Linux as data: a row for each, and for each page size where there are several.

Everyone reads a field of the row at hand; nobody else writes these numbers, or asks which architecture it is. What cannot
know its architecture, such as a listing on its own, takes `DEFAULT`.
"""

from dataclasses import dataclass

from virtiomem.abi import ZoneType
from virtiomem.units import GiB, KiB, MiB, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What Linux takes for given on an architecture; sizes in bytes."""

    name: str
    page_size: int
    pageblock_size: int
    """What the page allocator can be asked to give up as a whole (pageblock_order)."""
    section_size: int
    """A memory section (SECTION_SIZE_BITS): the smallest memory block."""
    max_block_size: int
    """The largest memory block; where it is the section, all are of that size."""
    transparent_huge_page: int
    """A huge page of the page tables' second level: what QEMU on such a host takes for a device's block size."""
    zones: tuple[tuple[ZoneType, Span], ...]
    """Where boot memory of each zone lies, lowest first."""
    pluggable_end: int
    """The last byte that can be hotplugged (arch_get_mappable_range())."""

    def pages(self, size: int) -> int:
        """The whole pages in so many bytes."""
        return size // self.page_size


X86_64 = Architecture(
    name="x86-64",
    page_size=4 * KiB,
    pageblock_size=2 * MiB,
    section_size=128 * MiB,
    max_block_size=2 * GiB,
    transparent_huge_page=2 * MiB,
    zones=(
        (ZoneType.DMA, Span(0, 16 * MiB)),
        (ZoneType.DMA32, Span(16 * MiB, 4 * GiB)),
        (ZoneType.NORMAL, Span(4 * GiB, 1 << 64)),
    ),
    pluggable_end=(1 << 52) - 1,
)
"""Five-level paging. Sources: zone_sizes_init() in arch/x86/mm/init.c, probe_memory_block_size() in arch/x86/mm/init_64.c."""

DEFAULT = X86_64
"""The architecture where none is named."""
