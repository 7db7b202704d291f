"""/proc/pagetypeinfo: how many pageblocks of each zone the kernel keeps for what, by their migrate types.

What cannot move lies in those that are not for movable pages, or in any where those were short: the sum over a zone says how
much of it may be held, without a look at its pages.
"""

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

MOVABLE = frozenset({"Movable", "CMA", "Isolate"})
"""Types of pageblocks that only movable pages are put into on purpose."""
_PER_BLOCK = re.compile(r"Pages per block: +([0-9]{1,9})")
_TYPES = re.compile(r"Number of blocks type +(.*)")
_COUNTS = re.compile(r"Node +(?P<node>[0-9]{1,5}), zone +(?P<zone>\w{1,20})(?P<counts>(?: +[0-9]{1,18})+) *")


class ZonePageblocks(Struct, frozen=True, kw_only=True):
    """The pageblocks of a zone by their type; `pages` is how many pages one has."""

    node: int
    zone: str
    pages: int
    counts: dict[str, int]


def parse(lines: Iterable[str]) -> Iterator[ZonePageblocks]:
    """Every zone that the last table of the file has."""
    pages, types = 0, list[str]()
    for line in lines:
        if match := _PER_BLOCK.fullmatch(line):
            pages = int(match[1])
        elif match := _TYPES.fullmatch(line):
            types = match[1].split()
        elif types and (match := _COUNTS.fullmatch(line)):
            counts = dict(zip(types, map(int, match["counts"].split()), strict=False))
            yield ZonePageblocks(node=int(match["node"]), zone=match["zone"], pages=pages, counts=counts)
