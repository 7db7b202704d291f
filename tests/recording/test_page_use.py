import struct

import pytest

from virtiomem.abi import PageFlag
from virtiomem.recording import page_use
from virtiomem.recording.page_use import BlockPages, UseOfPage, read_lines, total, use_of

USER = PageFlag.LRU | PageFlag.UPTODATE | PageFlag.MMAP


@pytest.mark.parametrize(
    ("flags", "use"),
    [
        (0, UseOfPage.KERNEL),
        (PageFlag.BUDDY, UseOfPage.FREE),
        (PageFlag.NOPAGE | PageFlag.OFFLINE, UseOfPage.ABSENT),
        (PageFlag.OFFLINE, UseOfPage.UNPLUGGED),
        (PageFlag.RESERVED, UseOfPage.RESERVED),
        (PageFlag.HUGE | PageFlag.TAIL, UseOfPage.HUGETLB),
        (PageFlag.SLAB | PageFlag.TAIL, UseOfPage.SLAB),
        (PageFlag.PGTABLE, UseOfPage.PAGE_TABLE),
        (USER, UseOfPage.CACHE),
        (PageFlag.UPTODATE, UseOfPage.CACHE),
        (USER | PageFlag.SWAPBACKED, UseOfPage.SHMEM),
        (USER | PageFlag.SWAPBACKED | PageFlag.ANON, UseOfPage.ANONYMOUS),
        (USER | PageFlag.SWAPBACKED | PageFlag.ANON | PageFlag.MLOCKED, UseOfPage.MLOCKED),
        (PageFlag.LRU | PageFlag.SWAPBACKED | PageFlag.ANON, UseOfPage.PINNED),
        (PageFlag.LRU | PageFlag.SWAPBACKED | PageFlag.ANON | PageFlag.SWAPCACHE, UseOfPage.ANONYMOUS),
    ],
)
def test_flags_say_what_a_page_is_used_for(flags: int, use: UseOfPage) -> None:
    assert use_of(flags) is use


def counted(*runs: tuple[int, int]) -> BlockPages:
    flags = [of for of, count in runs for _ in range(count)]
    return BlockPages.counted(40, struct.pack(f"<{len(flags)}Q", *flags), 4096)


def test_tail_that_says_nothing_is_what_its_head_is() -> None:
    head = USER | PageFlag.ANON | PageFlag.MLOCKED
    found = counted((head, 1), (PageFlag.ANON | PageFlag.TAIL, 511), (PageFlag.BUDDY, 512))
    assert found.pages == {UseOfPage.MLOCKED: 512, UseOfPage.FREE: 512}
    assert found.held == 0


def test_pieces_with_a_page_that_cannot_move_are_counted_once() -> None:
    found = counted((PageFlag.BUDDY, 500), (PageFlag.SLAB, 20), (PageFlag.BUDDY, 1016), (PageFlag.PGTABLE, 512))
    assert found.held == 3
    assert found.of(moves=False) == {UseOfPage.PAGE_TABLE: 512, UseOfPage.SLAB: 20}


def test_line_reads_back_and_other_lines_are_passed_over() -> None:
    found = counted((PageFlag.BUDDY, 500), (PageFlag.SLAB, 12))
    assert str(found) == "memory40 free=500 slab=12 held=1"
    assert read_lines(["40000000-4fffffff plugged", str(found), "memory41 free=x", "memory41 new-use=7"]) == [
        found,
        BlockPages(41, {}),
    ]
    assert total([found, found])[UseOfPage.SLAB] == 24


def test_run_of_equal_pages_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 1 TiB has 2^28 pages: what each of them costs is a comparison with the one before it."""
    looked: list[int] = []

    def counting(flags: int) -> UseOfPage:
        looked.append(flags)
        return use_of(flags)

    monkeypatch.setattr(page_use, "use_of", counting)
    raw = struct.pack("<Q", PageFlag.BUDDY) * 30000 + struct.pack("<Q", PageFlag.SLAB) * 2768
    assert BlockPages.counted(0, raw, 4096).pages == {UseOfPage.FREE: 30000, UseOfPage.SLAB: 2768}
    assert looked == [PageFlag.BUDDY, PageFlag.SLAB]
