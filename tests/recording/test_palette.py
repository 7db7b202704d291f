import re
from itertools import combinations

import pytest

from virtiomem.recording import MemoryBlock
from virtiomem.recording.palette import (
    NOT_AS_ASKED,
    RESPONSES,
    SETTLED,
    STOPPED_SHORT,
    BlockKind,
    ChangeKind,
    ResourceKind,
    block_kind,
)


def block(state: str, zones: str) -> MemoryBlock:
    return MemoryBlock(block=48, state=state, valid_zones=zones, nodes=[0])


@pytest.mark.parametrize(
    ("state", "zones", "whole", "kind"),
    [
        ("online", "Movable", True, BlockKind.MOVABLE),
        ("online", "Movable", False, BlockKind.MOVABLE_PARTIAL),
        ("online", "Normal", True, BlockKind.KERNEL),
        ("online", "none", True, BlockKind.KERNEL),
        ("online", "DMA32", False, BlockKind.KERNEL_PARTIAL),
        ("offline", "Normal Movable", True, BlockKind.OFFLINE),
        ("offline", "Movable Normal", False, BlockKind.OFFLINE_PARTIAL),
        ("going-offline", "Movable", True, BlockKind.GOING_OFFLINE),
    ],
)
def test_kind_follows_state_zone_and_plugged(state: str, zones: str, whole: bool, kind: BlockKind) -> None:
    assert block_kind(block(state, zones), wholly_plugged=whole) is kind


def test_place_without_a_block_is_unplugged_or_left_over() -> None:
    assert block_kind(None, plugged=False) is BlockKind.UNUSED
    assert block_kind(None, plugged=True) is BlockKind.PLUGGED


def test_looks_can_be_distinguished_without_colour() -> None:
    symbols = [kind.look.symbol for kind in BlockKind]
    assert len(set(symbols)) == len(symbols)
    words = [entry.look.word for entry in (*BlockKind, *ChangeKind)]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch("#[0-9a-f]{6}", kind.look.color) for kind in BlockKind)


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[at : at + 2], 16) for at in (1, 3, 5))


def test_a_colour_has_one_meaning() -> None:
    meanings = {
        kind.look.word.removesuffix(", partly plugged"): kind.look.color for kind in (*BlockKind, *ResourceKind)
    }
    meanings["not as asked"] = NOT_AS_ASKED
    for (a, one), (b, other) in combinations(meanings.items(), 2):
        apart = sum(abs(x - y) for x, y in zip(rgb(one), rgb(other), strict=True))
        assert apart >= 40, f"{a} {one} and {b} {other} look alike"
    told = [*RESPONSES.values(), SETTLED, STOPPED_SHORT, *(kind.look for kind in ChangeKind)]
    assert {look.color for look in told} == {"", NOT_AS_ASKED}
