"""What pages are used for, read through a guest agent: the highest blocks first, as long as there is time."""

import asyncio
import struct
from typing import Any

import pytest

from tests.vm.test_agent_hostile import FILES, Qga
from virtiomem.abi import PageFlag
from virtiomem.recording.page_use import UseOfPage
from virtiomem.units import MiB, Span
from virtiomem.vm.doors import agent_files
from virtiomem.vm.doors.guest_agent import GuestAgent
from virtiomem.vm.inside import PAGES_SECONDS, Block, GuestMemoryInfo

Serve = Any
Messages = Any

BLOCK = 2 * MiB
PAGES = BLOCK // 4096
KNOWN = GuestMemoryInfo(
    source="test",
    block_size=BLOCK,
    page_size=4096,
    blocks=tuple(Block(block=block, online=block != 3, zone="Normal") for block in range(6)),
)
HELD = Span.of_block(2, BLOCK), Span(4 * BLOCK, 6 * BLOCK)


def block_of(use: PageFlag) -> str:
    return struct.pack("<Q", use).decode("latin-1") * PAGES


@pytest.fixture(autouse=True)
def flags(monkeypatch: pytest.MonkeyPatch) -> None:
    uses = (PageFlag.RESERVED, PageFlag.RESERVED, PageFlag.SLAB, PageFlag.NOPAGE, PageFlag.BUDDY, PageFlag.PGTABLE)
    monkeypatch.setitem(FILES, "/proc/kpageflags", "".join(map(block_of, uses)))
    types = "Pages per block: 512\nNumber of blocks type Unmovable Movable\nNode 0, zone Normal 1 2\n"
    monkeypatch.setitem(FILES, "/proc/pagetypeinfo", types)
    monkeypatch.setitem(FILES, "/proc/vmstat", "nr_foll_pin_acquired 9\nnr_foll_pin_released 4\n")


def counted(
    serve: Serve,
    qga: Any,
    known: GuestMemoryInfo = KNOWN,
    spans: tuple[Span, ...] = HELD,
    seconds: float = PAGES_SECONDS,
) -> GuestMemoryInfo:
    async def run() -> GuestMemoryInfo:
        async with serve(qga) as path:
            return await GuestAgent(path).count_pages(known, spans, seconds)

    return asyncio.run(run())


def test_pages_of_the_online_blocks_that_are_meant_are_counted(serve: Serve, messages: Messages) -> None:
    qga = Qga(messages)
    inside = counted(serve, qga)
    assert [(one.block, one.pages) for one in inside.pages] == [
        (2, {UseOfPage.SLAB: PAGES}),
        (4, {UseOfPage.FREE: PAGES}),
        (5, {UseOfPage.PAGE_TABLE: PAGES}),
    ]
    (zone,) = inside.pageblocks
    assert (zone.zone, zone.pages, zone.counts) == ("Normal", 512, {"Unmovable": 1, "Movable": 2})
    assert (inside.pinned, inside.unreadable, qga.closed) == (5, (), len(qga.handles))


@pytest.mark.long
def test_time_is_bounded_and_what_was_counted_is_kept(
    serve: Serve, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_files, "CLOSING_SECONDS", 0.1)

    async def silent_at_the_second(reader: asyncio.StreamReader) -> Any:
        sought = 0
        async for message in messages(reader):
            sought += message["execute"] == "guest-file-seek"
            if sought == 2:
                await reader.read()
                return
            yield message

    inside = counted(serve, Qga(silent_at_the_second), seconds=0.5)
    assert [one.block for one in inside.pages] == [5], "the highest first"
    assert (inside.pages_left, inside.pages_seconds, inside.unreadable) == (2, 0.5, ())


@pytest.mark.parametrize("command", ["guest_file_open", "guest_file_seek", "guest_file_read"])
def test_refused_file_is_named_with_the_reason(serve: Serve, messages: Messages, command: str) -> None:
    refusal = b'{"error": {"class": "GenericError", "desc": "not permitted"}, "id": $ID}'
    inside = counted(serve, Qga(messages, **{command: refusal}))
    assert inside.pages == ()
    assert "/proc/kpageflags (not permitted)" in inside.unreadable
    assert "the pages of 3 of 3 memory blocks" in inside.unreadable


def test_file_that_ends_early_counts_no_part_of_a_block(serve: Serve, messages: Messages) -> None:
    short = FILES["/proc/kpageflags"][:-8]
    FILES["/proc/kpageflags"] = short
    assert counted(serve, Qga(messages)).pages == ()


@pytest.mark.parametrize(("block_size", "page_size"), [(1, 4096), (1 << 62, 4096), (BLOCK, None), (None, 4096)])
def test_sizes_that_cannot_be_read_by_leave_every_block_uncounted(
    serve: Serve, messages: Messages, block_size: int | None, page_size: int | None
) -> None:
    known = GuestMemoryInfo(source="test", block_size=block_size, page_size=page_size, blocks=KNOWN.blocks)
    assert counted(serve, Qga(messages), known, (Span(0, 1 << 63),)).pages == ()
