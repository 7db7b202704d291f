import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.device.block_map import BlockMap
from virtiomem.wire.mem import State

COUNT = 12
ranges = st.tuples(st.integers(0, COUNT - 1), st.integers(1, COUNT)).map(lambda r: (r[0], min(r[0] + r[1], COUNT)))


@given(st.lists(st.tuples(st.booleans(), ranges), max_size=12), ranges)
def test_blocks_are_a_set_of_numbers(changes: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]) -> None:
    blocks, model = BlockMap(COUNT), set[int]()
    for plug, (first, stop) in changes:
        wanted = set(range(first, stop))
        possible = not wanted & model if plug else wanted <= model
        assert (blocks.plug if plug else blocks.unplug)(first, stop) == possible
        if possible:
            model ^= wanted
        blocks.check()
    inside, wanted = model & set(range(*asked)), set(range(*asked))
    assert blocks.state(*asked) == (
        State.UNPLUGGED if not inside else State.PLUGGED if inside == wanted else State.MIXED
    )
    assert blocks.plugged() == len(model)
    assert {block for run in blocks.runs() for block in range(*run)} == model


def test_runs_are_maximal() -> None:
    blocks = BlockMap(6)
    for first, stop in ((0, 1), (1, 3), (4, 6)):
        blocks.plug(first, stop)
    assert list(blocks.runs()) == [(0, 3), (4, 6)]


def test_clear_unplugs_all_and_keeps_the_length() -> None:
    blocks = BlockMap(4)
    blocks.plug(1, 3)
    blocks.clear()
    assert (len(blocks), blocks.plugged()) == (4, 0)


def test_check_finds_a_block_in_no_state() -> None:
    blocks = BlockMap(4)
    blocks._blocks[2] = 7
    with pytest.raises(AssertionError, match="neither plugged nor unplugged"):
        blocks.check()
