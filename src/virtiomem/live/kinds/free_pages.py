"""/proc/zoneinfo, /proc/buddyinfo and /proc/pagetypeinfo: how large each zone is, and how its free pages lie."""

import re
from collections.abc import Iterator

from virtiomem.errors import UsageError
from virtiomem.live.capture import Section
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.recording import page_blocks, zoneinfo
from virtiomem.text import shown

_BUDDY = re.compile(r"Node +(?P<node>[0-9]{1,5}), zone +(?P<zone>\w{1,20})(?P<free>(?: +[0-9]{1,18})+) *")
_TYPED = re.compile(
    r"Node +(?P<node>[0-9]{1,5}), zone +(?P<zone>\w{1,20}), type +(?P<type>\w{1,20})(?P<free>(?: +>?[0-9]{1,18})+) *"
)


def read(text: str, source: str) -> Brought:
    """Read whichever of the three it is; they count pages, whose size they do not say."""
    lines = text.splitlines()
    if any(line.startswith("Page block order:") for line in lines):
        return Brought({"proc/pagetypeinfo": Section.of(lines)}, tuple(_types(lines)))
    if any(line.lstrip().startswith("pages free") for line in lines):
        zones = zoneinfo.parse(lines)
        sizes = (
            Fact(f"node {zone.node}, {zone.name}", what, f"{pages} pages")
            for zone in zones
            for what, pages in zone.pages.items()
        )
        return Brought({"proc/zoneinfo": Section.of(lines)}, tuple(sizes))
    facts = tuple(_free(lines))
    if not facts:
        raise UsageError(f"{shown(source)}: no zone in it")
    return Brought({"proc/buddyinfo": Section.of(lines)}, facts)


def _free(lines: list[str]) -> Iterator[Fact]:
    """Of each zone: its free pages, and the largest free block."""
    for line in lines:
        if match := _BUDDY.fullmatch(line):
            yield from _of(f"node {match['node']}, {match['zone']}", match["free"])


def _of(where: str, free: str) -> Iterator[Fact]:
    # pagetypeinfo stops counting at 100000 and says so: `>100000` is at least that many.
    counts = [int(count.lstrip(">")) for count in free.split()]
    largest = max((order for order, count in enumerate(counts) if count), default=None)
    yield Fact(where, "free", f"{sum(count << order for order, count in enumerate(counts))} pages")
    yield Fact(
        where, "largest free block", "none" if largest is None else f"order {largest} ({counts[largest]} of them)"
    )


def _types(lines: list[str]) -> Iterator[Fact]:
    """Of each zone: the free pages of each type, and how many page blocks are of it."""
    for line in lines:
        if match := _TYPED.fullmatch(line):
            yield from _of(f"node {match['node']}, {match['zone']}, {match['type']}", match["free"])
    for zone in page_blocks.parse(lines):
        for kind, count in zone.counts.items():
            yield Fact(f"node {zone.node}, {zone.zone}", f"page blocks of type {kind}", str(count))
