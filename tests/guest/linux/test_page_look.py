"""The pages of memory blocks, read from the flags that a kernel shows of each."""

import base64
import gzip
import struct
from collections.abc import Sequence

import pytest

from virtiomem.errors import ProtocolError
from virtiomem.guest.linux.page_look import parse
from virtiomem.units import MiB

FREE, WITHHELD, POISONED = 1 << 10, 1 << 23, 1 << 19
SLAB, USER, PAGE_TABLE, SILENT = 1 << 7, 1 << 5 | 1 << 12, 1 << 26, 0


def answer(*pageblocks: Sequence[int], block: int = 32, pages: int = 512) -> str:
    """What the agent prints of a block of these pageblocks, each filled up with free pages."""
    flags = [flag for some in pageblocks for flag in [*some, *[FREE] * (pages - len(some))]]
    packed = gzip.compress(struct.pack(f"<{len(flags)}Q", *flags))
    return f"{block} {base64.b64encode(packed).decode()}\n"


@pytest.mark.parametrize(
    ("flags", "letter"),
    [
        ([], "."),
        ([USER], "m"),
        ([SLAB, USER], "k"),
        ([PAGE_TABLE], "k"),
        ([SILENT], "k"),
        ([SILENT, USER], "m"),
        ([WITHHELD] * 512, "o"),
        ([POISONED], "."),
    ],
    ids=["free", "user", "slab", "page table", "silent alone", "silent next to a user", "withheld", "poisoned"],
)
def test_letter_of_a_pageblock(flags: list[int], letter: str) -> None:
    assert parse(answer(flags, [USER]), 4 * MiB) == {32: f"{letter}m"}


def test_every_block_has_its_letters() -> None:
    text = answer([SLAB], block=40) + answer([], block=41)
    assert parse(text, 2 * MiB) == {40: "k", 41: "."}


@pytest.mark.parametrize(
    "wrong",
    ["memory32 AAAA", "32 ", "32 ////", "32 A", answer([], pages=500), answer([], [])],
    ids=["no number", "nothing", "not packed", "not base64", "too short", "too long"],
)
def test_anything_else_is_refused_with_its_line(wrong: str) -> None:
    with pytest.raises(ProtocolError, match="the guest's pages: '"):
        parse(wrong, 2 * MiB)


def test_kernel_that_shows_no_flags_has_no_pages() -> None:
    assert parse("", 4 * MiB) == {}
