"""/proc/zoneinfo, in and out: the pages of each zone."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from virtiomem.recording.values import ZonePages

COUNTERS = ("spanned", "present", "managed")
"""Pages of a zone that a snapshot has; the file has more, `free` among them."""

_DIGITS = 20
_ZONE = re.compile(r"Node\s+([0-9]{1,5}), zone\s+(\w{1,20})")
_COUNTER = re.compile(r"\s+(?:pages )?(free|min|spanned|present|managed)\s+([0-9]+)")
_RESERVE = re.compile(r"\s+protection: \([0-9]+, [0-9]+, ([0-9]+), [0-9, ]+\)")
"""What a zone keeps from those who can use others: the third figure, from the kernel."""


class ZoneText(NamedTuple):
    """A zone, and its counters as digits: how large they may be is the reader's business."""

    node: int
    name: str
    pages: dict[str, str]

    @property
    def free_beyond_kept(self) -> int:
        """Free pages beyond what the zone keeps: minimum watermark and reserve."""
        # Cut: the text is anyone's, and no counter has more digits.
        free, low, reserve = (int(self.pages.get(name, "0")[:_DIGITS]) for name in ("free", "min", "reserve"))
        return max(free - low - reserve, 0)


def parse(lines: Iterable[str], other: Callable[[str], None] = lambda _: None) -> list[ZoneText]:
    """Every zone; of a counter that stands twice, the first. `other` is given the lines that are neither."""
    zones: list[ZoneText] = []
    for line in lines:
        if zone := _ZONE.fullmatch(line):
            zones.append(ZoneText(int(zone[1]), zone[2], {}))
        elif zones and (counter := _COUNTER.fullmatch(line)):
            zones[-1].pages.setdefault(counter[1], counter[2])
        elif zones and (reserve := _RESERVE.fullmatch(line)):
            zones[-1].pages.setdefault("reserve", reserve[1])
        else:
            other(line)
    return zones


def by_node(zones: Iterable[ZoneText], number: Callable[[str], int] = int) -> dict[str, dict[str, ZonePages]]:
    """The zones as a snapshot has them, except those that lack a counter; `number` reads one."""
    found: dict[str, dict[str, ZonePages]] = {}
    for zone in zones:
        pages = {counter: number(zone.pages[counter]) for counter in COUNTERS if counter in zone.pages}
        if len(pages) == len(COUNTERS):
            found.setdefault(f"node{zone.node}", {})[zone.name] = ZonePages(**pages)
    return found


def dumps(zones: Mapping[str, Mapping[str, ZonePages]]) -> Iterator[str]:
    """A snapshot's zones as lines of the file."""
    for node, of_node in zones.items():
        for name, pages in of_node.items():
            yield f"Node {node.removeprefix('node')}, zone {name:>8}"
            yield from (f"        {counter:<8} {getattr(pages, counter)}" for counter in COUNTERS)
