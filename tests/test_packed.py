"""Gzip, undone within bounds."""

import gzip
import tracemalloc

import pytest

from virtiomem.errors import UsageError
from virtiomem.packed import lines, unpack

BOMB = gzip.compress(bytes(64 << 20), mtime=0)


def test_bomb_is_refused_before_it_fills_the_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=r"^x: unpacks to more than 32M$"):
            unpack(BOMB, source="x", limit=32 << 20)
        with pytest.raises(UsageError, match=r"^x:2: a line of more than 1M$"):
            list(lines(gzip.compress(b"a\n") + BOMB, source="x", longest=1 << 20, most=9))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_more_lines_than_there_can_be_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^x: more than 1000 lines$"):
        list(lines(gzip.compress(b"\n" * 1001), source="x", longest=1, most=1000))


def test_members_one_after_the_other_are_one_text() -> None:
    data = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    assert unpack(data, source="x", limit=8) == b"one\ntwo\n"
    assert list(lines(data, source="x", longest=4, most=3)) == [b"one", b"two"]


def test_what_is_not_packed_stays_as_it_is() -> None:
    assert unpack(b"one\ntwo", source="x", limit=0) == b"one\ntwo"
    assert list(lines(b"one\n\ntwo", source="x", longest=4, most=3)) == [b"one", b"", b"two"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(b"x" * 100, mtime=0)[:20], "the file is truncated"),
        (gzip.compress(b"x", mtime=0) + b"rest", "Not a gzipped file"),
        (b"\x1f\x8b\x08nonsense, and no end", ""),
    ],
)
def test_damage_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^x: damaged gzip: {reason}"):
        unpack(data, source="x", limit=1000)
    with pytest.raises(UsageError, match=f"^x: damaged gzip: {reason}"):
        list(lines(data, source="x", longest=1000, most=9))
