"""Where the kernel had pages of its own while a step was played, from a look before it and one after it."""

import msgspec
import pytest

from virtiomem.recording import MemoryBlock, Snapshot
from virtiomem.recording.pages import held


def snapshot(pages: str, state: str = "online") -> Snapshot:
    block = MemoryBlock(block=32, state=state, valid_zones="Normal", nodes=[0], pages=pages)
    return Snapshot(iomem="", memory_blocks=[block], zones={}, devices=[])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("....", "k.m.", [0]),
        ("kk..", "o...", [1]),
        ("", ".k", [1]),
        ("k...", "", [0]),
    ],
    ids=["has some after it", "gave it up too late for the driver", "came in this step", "not looked at again"],
)
def test_held(before: str, after: str, expected: list[int]) -> None:
    assert list(held(snapshot(before), snapshot(after))) == [(32, index) for index in expected]


def test_nothing_is_held_in_a_block_that_went_offline() -> None:
    assert list(held(snapshot("kk"), snapshot("", "offline"))) == []


def test_other_letters_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"block": 1, "state": "online", "valid-zones": "", "nodes": [], "pages": "k?"}, MemoryBlock)
