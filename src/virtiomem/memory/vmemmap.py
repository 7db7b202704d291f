"""Cost of new memory: struct pages, and what else describes it, taken from free memory of the kernel zones.

Models: vmemmap_alloc_block() (mm/sparse-vmemmap.c), which takes whole huge pages first and single pages when no huge
page is free, from the node's own zones and then from the others', the highest first, down to the minimum watermark:
init_per_zone_wmark_min(), setup_per_zone_lowmem_reserve() (mm/page_alloc.c), set_recommended_min_free_kbytes()
(mm/khugepaged.c), v6.1.

Differs: pages are counted by zone and have no place, so that none of them keeps a memory block from going offline as long as
its zone has as many free pages elsewhere.
"""

from collections.abc import Iterator, Mapping
from math import isqrt
from operator import attrgetter

from virtiomem.abi import ZoneType
from virtiomem.architecture import Architecture
from virtiomem.memory.zone import Node, Zone
from virtiomem.releases.linux import LinuxBuild, LinuxRelease
from virtiomem.units import KiB, MiB

STRUCT_PAGE = 64
"""Bytes of struct page."""
BLOCK_OVERHEAD = 4 * KiB
"""Bytes that a memory block takes in addition to its struct pages: device, sysfs directory and links, section, its
share of page tables."""
HUGE_PAGES_FROM = 640 * MiB
"""With less boot memory Linux has less than 512M in the allocator's hands, and does without transparent huge pages
(hugepage_init())."""
_SHARE = 54
"""Boot memory divided by this goes to struct pages (1/64) and hash tables that grow with it."""
_HUGE_PAGES_TAKE = 7 * MiB
_PCP_TYPES = 3
"""MIGRATE_PCPTYPES."""
_MAX_WATERMARKS = 256 * MiB
"""Limit of all minimum watermarks together, without huge pages (init_per_zone_wmark_min())."""
_RATIO = 256
"""What zones below Normal keep of theirs for those who can use no other: one page for each 256 above
(sysctl_lowmem_reserve_ratio)."""

Parts = tuple[tuple[Zone, int], ...]
"""Pages taken, by zone."""
NOTHING: Parts = ()


def memmap_size(size: int, architecture: Architecture) -> int:
    """Bytes of struct pages for that much memory."""
    return architecture.pages(size) * STRUCT_PAGE


def free_after_boot(build: LinuxBuild, memory: int) -> int:
    """Return what is free of that many bytes of boot memory, where only our agent runs: measured, within 2M.

    At least a quarter, where no Linux would boot. Since: 6.12 (boot_takes).
    """
    huge_pages = _HUGE_PAGES_TAKE if memory >= HUGE_PAGES_FROM else 0
    return max(memory - memory // _SHARE - build.boot_takes - huge_pages, memory // 4)


class Vmemmap:
    """Free memory of one kernel's nodes that can pay for new memory. Counts are in pages."""

    def __init__(
        self, nodes: Mapping[int, Node], architecture: Architecture, release: LinuxRelease, block_size: int
    ) -> None:
        """Nothing is counted before `boot_with`. Since: 6.6 (movable_shares_watermarks)."""
        self.counted = False
        """Whether free memory is counted: `boot_with` has said how much there was."""
        self._nodes = nodes
        self._page_size = architecture.page_size
        # set_recommended_min_free_kbytes(): two pageblocks for each zone and one for each pair of migrate types.
        self._wanted_in_zone = architecture.pages(architecture.pageblock_size) * (2 + _PCP_TYPES * _PCP_TYPES)
        self.block_pages = -(-(memmap_size(block_size, architecture) + BLOCK_OVERHEAD) // self._page_size)
        """What one memory block takes."""
        self.inside_pages = -(-BLOCK_OVERHEAD // self._page_size)
        """What one takes that has its struct pages inside."""
        every = [zone for node in nodes.values() for zone in node.zones.values()]
        self._sharing = [zone for zone in every if release.movable_shares_watermarks or zone.is_kernel]
        """The zones over which the minimum watermarks are spread."""
        own = {nid: [node.zones[type_] for type_ in _HIGHEST_FIRST] for nid, node in nodes.items()}
        self._own = list(own.values())
        """The kernel zones of each node, highest first."""
        self._kernel = [zone for zones in self._own for zone in zones]
        self._zonelists = {
            nid: [*zones, *(zone for other in own if other != nid for zone in own[other])] for nid, zones in own.items()
        }
        """Kernel zones in the order in which they are tried: the node's own, highest first, then those of the others."""
        self._max_minimum = max(_MAX_WATERMARKS // self._page_size, self._wanted_in_zone * len(self._kernel))
        """What `_min_free` never gives more than."""
        self._huge_pages = False
        self._keeps: dict[Zone, int] = {}
        self._kept_for: tuple[int, ...] = ()

    def boot_with(self, free: int) -> None:
        """Count from now on: after boot that many pages are free in the kernel zones, on all nodes.

        What is not free is taken to lie in the highest zones, as boot's own memory does.
        """
        kernel = [zone for type_ in ZoneType for node in self._nodes.values() for zone in [node.zones[type_]]]
        kernel = [zone for zone in kernel if zone.is_kernel]
        for zone in kernel:
            room = min(free, zone.managed)
            zone.used = zone.managed - room
            free -= room
        self.counted = True
        self._huge_pages = sum(zone.managed for zone in kernel) * self._page_size >= HUGE_PAGES_FROM

    def take(self, nid: int, pages: int) -> Parts | None:
        """Take pages for memory of a node, from the zones that are tried for it; None, and nothing taken, for too few."""
        zones = self._zonelists[nid]
        first = zones[0]
        # Nearly always there is enough whatever the watermarks are, which each block that comes would have computed again. No
        # zone of the node lies above the first: it keeps no reserve for one.
        if first.managed - first.used - first.cma - self._max_minimum >= pages:
            first.used += pages
            return ((first, pages),)
        return self._take_in_parts(zones, self._kept(), pages)

    def _take_in_parts(self, zones: list[Zone], keeps: Mapping[Zone, int], pages: int) -> Parts | None:
        """Take from each zone what it has; None, and nothing taken, when all have too few."""
        parts: list[tuple[Zone, int]] = []
        for zone in zones:
            there = min(zone.managed - zone.used - keeps[zone], pages)
            if there > 0:
                zone.used += there
                pages -= there
                parts.append((zone, there))
            if not pages:
                return tuple(parts)
        self.give_back(tuple(parts))
        return None

    def give_back(self, parts: Parts) -> None:
        """Give back what was taken."""
        for zone, pages in parts:
            zone.used -= pages

    def available(self, nid: int) -> int:
        """Pages that new memory of a node could take, on whichever node they are."""
        keeps = self._kept()
        return sum(max(zone.managed - zone.used - keeps[zone], 0) for zone in self._zonelists[nid])

    def available_on(self, nid: int) -> int:
        """Those of them that are on the node itself."""
        keeps = self._kept()
        zones = (self._nodes[nid].zones[type_] for type_ in _HIGHEST_FIRST)
        return sum(max(zone.managed - zone.used - keeps[zone], 0) for zone in zones)

    def kept(self, zone: Zone) -> int:
        """Return the pages of a zone that struct pages may not take."""
        return self._kept().get(zone, 0)

    def _kept(self) -> dict[Zone, int]:
        """Return the pages that struct pages may not take, by kernel zone; computed again when a zone has grown or shrunk."""
        # Each time a block comes, so no more than this is done. Zone by zone: a block may go from one to another.
        managed = tuple(map(_MANAGED, self._sharing))
        if managed != self._kept_for:
            self._kept_for = managed
            self._keeps = dict(self._watermarks(sum(managed)))
        return self._keeps

    def _watermarks(self, managed: int) -> Iterator[tuple[Zone, int]]:
        """Yield the pages that no struct page comes from: minimum watermark, low memory reserve, and what only movable
        users may have.
        """
        minimum = self._min_free(sum(map(_MANAGED, self._kernel)))
        for zones in self._own:
            above = 0
            for zone in zones:
                yield zone, zone.cma + (minimum * zone.managed // managed if managed else 0) + above // _RATIO
                above += zone.managed

    def _min_free(self, managed: int) -> int:
        """Pages of all minimum watermarks: min_free_kbytes, which huge pages raise."""
        kib = managed * self._page_size // KiB
        # init_per_zone_wmark_min(): the root of sixteen times the managed KiB, from 128 KiB.
        pages = max(128 * KiB, min(isqrt(kib * 16) * KiB, _MAX_WATERMARKS)) // self._page_size
        if self._huge_pages:
            zones = sum(zone.populated for zone in self._kernel)
            # So that types of pages seldom mix; at most a twentieth of what is managed.
            pages = max(pages, min(self._wanted_in_zone * zones, managed // 20))
        return pages


_MANAGED = attrgetter("managed")
_HIGHEST_FIRST = (ZoneType.NORMAL, ZoneType.DMA32, ZoneType.DMA)
