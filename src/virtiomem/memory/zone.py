"""Nodes and zones, counted in pages as /proc/zoneinfo counts them.

Models: struct zone, struct pglist_data, resize_zone_range(), shrink_zone_span() (include/linux/mmzone.h,
mm/memory_hotplug.c, v6.1).

A zone *spans* from its first to its last page, holes included. Growing moves an edge outwards. When the block at an edge
goes offline, the new edge is the nearest page that is still online: Linux steps through the span from that end, a
subsection at a time, which costs as many steps as the hole is wide (4096 for 8G). Here two heaps hold the starts of the
hotplugged ranges, the lowest first and the highest first; ranges do not overlap, so the highest start has the highest end.

Deletion is lazy. `remove_online` takes a range out of `online` only; its two entries stay in the heaps and are *stale*:
the start is not in `online`. They are dropped when they come to the top, which is the only place that is ever read. A
range that goes offline and online again puts a second, equal entry next to the first, which is harmless. Ranges that
come and go far from the edges would let a heap grow without bound, so beyond twice the online ranges and 64 it is
rebuilt: 2n, so that n insertions or more lie between two rebuilds of n entries, and 64, so that a zone of few blocks
rarely rebuilds. Putting a range online costs O(log n), taking it offline O(1), a shrink O(log n) for each entry that it
drops, one for each insertion.

Boot memory is one range with holes in it, not in the heaps. When it becomes the edge again, the span ends at a whole
subsection even where boot memory ends within one, because Linux steps by subsections and knows of no smaller hole.
Hotplugged ranges are whole memory blocks, which end at a subsection anyway.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from virtiomem.abi import ZoneType
from virtiomem.architecture import Architecture
from virtiomem.units import MiB, Span, align_down, align_up

SUBSECTION_SIZE = 2 * MiB
"""Bytes of a memory section's smallest part (SUBSECTION_SHIFT): the steps in which a shrinking span looks for its new edge."""


class Zone:
    """One zone of one node; every count is in pages."""

    __slots__ = (
        "_boot",
        "_boot_edges",
        "_highest",
        "_lowest",
        "boot_managed",
        "cma",
        "is_kernel",
        "managed",
        "nid",
        "online",
        "present",
        "present_early",
        "spanned",
        "start_pfn",
        "type",
        "used",
    )

    def __init__(self, nid: int, type_: ZoneType) -> None:
        self.nid = nid
        self.type = type_
        self.is_kernel = type_ is not ZoneType.MOVABLE
        """Whether the kernel may use it for itself: every zone but Movable."""
        self.start_pfn = 0
        self.spanned = 0
        self.present = 0
        """Pages of online memory, fake-offline ones included."""
        self.present_early = 0
        """Those of `present` that came with the boot."""
        self.managed = 0
        """Pages in the hands of the page allocator."""
        self.boot_managed = 0
        """Those of `managed` that came with the boot."""
        self.used = 0
        """Those of `managed` that are not free, where that is counted: what boot took, users, and struct pages."""
        self.cma = 0
        """Those of the contiguous memory allocator, which movable users share: they count as movable."""
        self.online: dict[int, int] = {}
        """Hotplugged ranges that are online here: first page to number of pages."""
        self._boot = self._boot_edges = Span(0, 0)
        self._lowest: list[int] = []
        self._highest: list[int] = []

    @property
    def end_pfn(self) -> int:
        """The page after the last one spanned."""
        return self.start_pfn + self.spanned

    @property
    def populated(self) -> bool:
        """True when some page is present (populated_zone())."""
        return self.present > 0

    def add_boot_memory(self, span: Span, present: int, managed: int, subsection_pages: int) -> None:
        """Take in boot memory: `span` in pages, which may have holes, and the pages really there."""
        self._boot = span
        self._boot_edges = Span(align_down(span.start, subsection_pages), align_up(span.stop, subsection_pages))
        self.start_pfn, self.spanned = span.start, span.size
        self.present = self.present_early = present
        self.managed = self.boot_managed = managed

    def intersects(self, start_pfn: int, pages: int) -> bool:
        """True when the zone's span touches the range (zone_intersects())."""
        return self.spanned > 0 and start_pfn < self.end_pfn and start_pfn + pages > self.start_pfn

    def grow(self, start_pfn: int, pages: int) -> None:
        """Span the range too (resize_zone_range())."""
        # Before `start_pfn` moves: `end_pfn` is counted from it.
        end = max(start_pfn + pages, self.end_pfn) if self.spanned else start_pfn + pages
        if not self.spanned or start_pfn < self.start_pfn:
            self.start_pfn = start_pfn
        self.spanned = end - self.start_pfn

    def add_online(self, start_pfn: int, pages: int) -> None:
        """Note that a hotplugged range is online here; the zone spans it already."""
        self.online[start_pfn] = pages
        heappush(self._lowest, start_pfn)
        heappush(self._highest, -start_pfn)
        if max(len(self._lowest), len(self._highest)) > 2 * len(self.online) + 64:
            self._rebuild_edges()

    def remove_online(self, start_pfn: int) -> None:
        """Note that a hotplugged range is no longer online."""
        del self.online[start_pfn]

    def shrink(self, start_pfn: int, pages: int) -> None:
        """Give up an end of the span when the range lies there (shrink_zone_span()); holes stay spanned.

        Boot memory that becomes the edge again is spanned up to a whole subsection.
        """
        if start_pfn == self.start_pfn:
            start, end = self._first_online(), self.end_pfn
        elif start_pfn + pages == self.end_pfn:
            start, end = self.start_pfn, self._last_online()
        else:
            return
        # A range that was the whole span leaves no edge to find: the span is empty then, from 0.
        self.start_pfn, self.spanned = (start, end - start) if start < end else (0, 0)

    def _first_online(self) -> int:
        while self._lowest and self._lowest[0] not in self.online:
            heappop(self._lowest)
        start = self._lowest[0] if self._lowest else self.end_pfn
        return min(start, self._boot_edges.start) if self._boot.size else start

    def _last_online(self) -> int:
        while self._highest and -self._highest[0] not in self.online:
            heappop(self._highest)
        end = self.start_pfn
        if self._highest:
            start = -self._highest[0]
            end = start + self.online[start]
        return max(end, self._boot_edges.stop) if self._boot.size else end

    def _rebuild_edges(self) -> None:
        # A sorted list is a heap.
        self._lowest = sorted(self.online)
        self._highest = sorted(-start for start in self.online)

    def check(self) -> None:
        """Assert the zone's invariants."""
        hotplugged = sum(self.online.values())
        assert self.present == self.present_early + hotplugged, f"{self}: present pages are not boot + online blocks"
        assert 0 <= self.managed <= self.present <= self.spanned, f"{self}: not managed <= present <= spanned"
        assert 0 <= self.used <= self.managed, f"{self}: {self.used} pages used of {self.managed} managed"
        parts = [Span.sized(start, pages) for start, pages in self.online.items()]
        parts += [self._boot] if self._boot.size else []
        if parts:
            start, end = min(part.start for part in parts), max(part.stop for part in parts)
            edges = self._boot_edges if self._boot.size else Span(start, end)
            assert min(start, edges.start) <= self.start_pfn <= start, f"{self}: spans what is not online"
            assert end <= self.end_pfn <= max(end, edges.stop), f"{self}: spans what is not online"
        else:
            assert (self.start_pfn, self.spanned) == (0, 0), f"{self}: an empty zone spans pages"

    def __repr__(self) -> str:
        return f"<zone {self.type} of node {self.nid}: spanned {self.spanned}, present {self.present}>"


class Node:
    """A NUMA node: its zones, lowest first, and the boot memory that firmware says is its own."""

    __slots__ = ("memory", "nid", "ram", "zones")

    def __init__(self, nid: int, memory: Iterable[Span] = ()) -> None:
        self.nid = nid
        self.memory = tuple(memory)
        """Where firmware says its boot memory is, in bytes (SRAT); empty for a node without any."""
        self.ram: tuple[Span, ...] = ()
        """What of it is really there, ascending."""
        self.zones = {type_: Zone(nid, type_) for type_ in ZoneType}

    def __iter__(self) -> Iterator[Zone]:
        return iter(self.zones.values())

    def kernel_zone_for(self, start_pfn: int, pages: int) -> Zone:
        """The lowest kernel zone that reaches into the range, else Normal (default_kernel_zone_for_pfn())."""
        for type_ in (ZoneType.DMA, ZoneType.DMA32):
            if self.zones[type_].intersects(start_pfn, pages):
                return self.zones[type_]
        return self.zones[ZoneType.NORMAL]

    def check(self) -> None:
        """Assert the invariants of every zone."""
        for zone in self:
            zone.check()


def populate_boot_zones(node: Node, architecture: Architecture) -> None:
    """Set up a node's zones from its boot memory.

    Only whole pages count. A zone spans its limits clamped to the node's own span, holes included
    (calculate_node_totalpages() in mm/page_alloc.c). `managed` starts as all that is present: how much the kernel keeps
    for itself depends on its build.
    """
    page_size = architecture.page_size
    pages = [span for part in node.ram if (span := Span(-(-part.start // page_size), part.stop // page_size)).size]
    if not pages:
        return
    whole = Span(pages[0].start, pages[-1].stop)
    for type_, limits in architecture.zones:
        limit = Span(limits.start // page_size, limits.stop // page_size)
        present = sum(span.clipped(limit).size for span in pages)
        if present:
            node.zones[type_].add_boot_memory(
                whole.clipped(limit), present, present, architecture.pages(SUBSECTION_SIZE)
            )
