"""Count the pages of a memory block by use, from /proc/kpageflags, and say which uses can move.

As a line of a capture: ``memory40 free=30100 anonymous=2000 slab=668 held=3``. `held` counts the pieces of 2 MiB in which
something cannot move: with smaller ones no virtio-mem device works, so that all others can be unplugged.

What the flags do not say: who holds a page without mapping it (for I/O, VFIO, RDMA: seen only once no process maps it any
more), whose a page without any flag is (a buffer, a stack, a memmap; or it is free, on a list of one CPU), and whether there
is room to move to.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import Self

from msgspec import Struct

from virtiomem.abi import PageFlag
from virtiomem.units import MiB

PIECE = 2 * MiB
"""The grain of `held`."""
FLAGS_SIZE = 8
"""Bytes of a page's flags."""
_LINE = re.compile(r"memory(?P<block>[0-9]{1,9}) (?P<uses>(?:[a-z-]+=[0-9]{1,9} ?)+)")
_PAIR = re.compile(r"([a-z-]+)=([0-9]+)")
_HELD = "held"


class UseOfPage(StrEnum):
    """Use of a page: the word in a capture, the word for people, and whether it moves when its block is to go."""

    FREE = "free", "free", None
    UNPLUGGED = "unplugged", "kept by a driver", None
    POISONED = "poisoned", "poisoned", None
    CACHE = "cache", "page cache", True
    SHMEM = "shmem", "tmpfs and shared memory", True
    ANONYMOUS = "anonymous", "anonymous memory", True
    MLOCKED = "mlocked", "mlocked or unevictable memory", True
    HUGETLB = "hugetlb", "hugetlb pages", True
    PINNED = "pinned", "pinned pages", False
    SLAB = "slab", "slab", False
    PAGE_TABLE = "page-table", "page tables", False
    RESERVED = "reserved", "reserved pages", False
    KERNEL = "kernel", "unnamed pages of the kernel", False
    ABSENT = "absent", "offline", None

    words: str
    moves: bool | None
    """None for what need not."""

    def __new__(cls, word: str, words: str, moves: bool | None) -> Self:
        """Make a member of its word, which is its value, and the rest."""
        use = str.__new__(cls, word)
        use._value_, use.words, use.moves = word, words, moves
        return use


_FIRST: tuple[tuple[int, UseOfPage], ...] = (
    (PageFlag.NOPAGE, UseOfPage.ABSENT),
    (PageFlag.HWPOISON, UseOfPage.POISONED),
    (PageFlag.OFFLINE, UseOfPage.UNPLUGGED),
    (PageFlag.BUDDY, UseOfPage.FREE),
    (PageFlag.RESERVED, UseOfPage.RESERVED),
    (PageFlag.HUGE, UseOfPage.HUGETLB),
    (PageFlag.SLAB, UseOfPage.SLAB),
    (PageFlag.PGTABLE, UseOfPage.PAGE_TABLE),
    (PageFlag.MLOCKED | PageFlag.UNEVICTABLE, UseOfPage.MLOCKED),
)
"""The first flag that is set says it; the rest are a user's pages, or unknown."""
_OF_FILES = PageFlag.LRU | PageFlag.UPTODATE | PageFlag.DIRTY
"""A page that was just read is not on a list yet."""


@lru_cache(maxsize=4096)  # a guest may make up any flags
def use_of(flags: int) -> UseOfPage:
    """The use of a page with these flags."""
    for flag, use in _FIRST:
        if flags & flag:
            return use
    if flags & PageFlag.ANON:
        # Where no process maps it, and it is not in the swap cache, something else holds it: a pipe, I/O under way.
        return UseOfPage.ANONYMOUS if flags & (PageFlag.MMAP | PageFlag.SWAPCACHE) else UseOfPage.PINNED
    if flags & PageFlag.SWAPBACKED:
        return UseOfPage.SHMEM
    return UseOfPage.CACHE if flags & _OF_FILES else UseOfPage.KERNEL


class BlockPages(Struct, frozen=True, rename="kebab"):
    """The pages of one memory block by their use, and in how many pieces of `PIECE` bytes something cannot move."""

    block: int
    pages: dict[UseOfPage, int]
    held: int = 0

    @classmethod
    def counted(cls, block: int, raw: bytes, page_size: int) -> Self:
        """Count the flags of all its pages."""
        flags = array("Q", raw[: len(raw) // FLAGS_SIZE * FLAGS_SIZE])
        pages: Counter[UseOfPage] = Counter()
        held: set[int] = set()
        per_piece = max(PIECE // page_size, 1)
        at = 0
        for use, count in _runs(flags):
            pages[use] += count
            if use.moves is False:
                held.update(range(at // per_piece, (at + count - 1) // per_piece + 1))
            at += count
        return cls(block, dict(pages), len(held))

    @classmethod
    def read(cls, line: str) -> Self | None:
        """Read a line of a capture; None for another line."""
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        found = {word: int(count) for word, count in _PAIR.findall(match["uses"])}
        pages = {use: found[use] for use in UseOfPage if use in found}
        return cls(int(match["block"]), pages, found.get(_HELD, 0))

    def __str__(self) -> str:
        counts = [f"{use}={self.pages[use]}" for use in UseOfPage if self.pages.get(use)]
        return " ".join((f"memory{self.block}", *counts, *([f"{_HELD}={self.held}"] if self.held else [])))

    def of(self, *, moves: bool | None) -> dict[UseOfPage, int]:
        """The pages that move, do not, or need not, most of them first."""
        chosen = [(use, count) for use, count in self.pages.items() if use.moves is moves and count]
        return dict(sorted(chosen, key=lambda item: -item[1]))


# Plain ints: of an IntFlag, Python makes an object for every result, at ten times the cost; a guest has millions of pages.
_TAIL = int(PageFlag.TAIL)
_TAIL_OR_HUGE = int(PageFlag.TAIL | PageFlag.HUGE)


def _runs(flags: Iterable[int]) -> Iterator[tuple[UseOfPage, int]]:
    """Uses with how many pages in a row have them; a tail that says nothing itself is what the page before it is."""
    use = UseOfPage.KERNEL
    for of, run in groupby(flags):
        if of & _TAIL_OR_HUGE != _TAIL:
            use = use_of(of)
        yield use, len(list(run))


def total(blocks: Iterable[BlockPages]) -> Counter[UseOfPage]:
    """The pages of several blocks."""
    found: Counter[UseOfPage] = Counter()
    for block in blocks:
        found.update(block.pages)
    return found


def read_lines(lines: Iterable[str]) -> list[BlockPages]:
    """The memory blocks that lines of a capture report; other lines are passed over."""
    return [block for block in map(BlockPages.read, lines) if block is not None]
