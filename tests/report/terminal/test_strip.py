from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.recording import DeviceInfo, DimmInfo, MemoryBlock, Snapshot, VirtioMemInfo
from virtiomem.recording.palette import BlockKind
from virtiomem.report.block_runs import BlockChange, BlockRun
from virtiomem.report.terminal.strip import Area, areas, closer, draw, legend, pieces, strip
from virtiomem.units import GiB, MiB

M, K, U = BlockKind.MOVABLE, BlockKind.KERNEL, BlockKind.UNUSED


def run(first: int, times: int, kind: BlockKind) -> BlockRun:
    return BlockRun(first, times, kind, "online", "Movable", (0,))


def block(number: int) -> MemoryBlock:
    return MemoryBlock(block=number, state="online", valid_zones="Movable", nodes=[0])


def snapshot(*numbers: int) -> Snapshot:
    devices: list[DeviceInfo] = [
        VirtioMemInfo(id="vm0", memaddr=6 * GiB, max_size=GiB, requested_size=0, size=0, block_size=2 * MiB),
        DimmInfo(id="dimm0", addr=8 * GiB, size=512 * MiB),
    ]
    return Snapshot(iomem="", memory_blocks=[block(number) for number in numbers], zones={}, devices=devices)


def test_areas_are_devices_dimms_and_what_else_was_added() -> None:
    there = snapshot(0, 1, 48, 64, 100, 101, 200)
    assert areas(there, {0, 1}, 128 * MiB) == [
        Area("vm0", 48, 8),
        Area("dimm0", 64, 4),
        Area("memory", 100, 2),
        Area("memory", 200, 1),
    ]


def test_region_without_a_whole_block_has_no_strip() -> None:
    odd = VirtioMemInfo(id="vm0", memaddr=6 * GiB + 2 * MiB, max_size=GiB, requested_size=0, size=0, block_size=2 * MiB)
    there = Snapshot(iomem="", memory_blocks=[], zones={}, devices=[odd])
    assert areas(there, set(), 128 * MiB) == [Area("vm0", 49, 7)]
    assert areas(there, set(), 2 * GiB) == []


def test_pieces_are_those_of_the_area_alone() -> None:
    runs = [run(0, 50, K), run(50, 2, M), run(52, 1, M), run(53, 100, U)]
    assert pieces(Area("vm0", 48, 8), runs) == [(K, 2), (M, 3), (U, 3)]


def test_each_block_has_its_character_while_there_is_room() -> None:
    made = strip([(M, 2), (K, 1), (U, 3)], 6)
    assert draw(made).plain == "MMK..."
    assert legend(made, 128 * MiB).plain == "M 2 movable   K 1 kernel   . 3 unplugged"


@pytest.mark.parametrize(("columns", "scale", "text"), [(8, 1, "MMMKOK.."), (4, 2, "M**."), (3, 4, "**"), (1, 8, "*")])
def test_characters_stand_for_several_blocks_without_a_terminal(columns: int, scale: int, text: str) -> None:
    made = strip([(M, 3), (K, 1), (BlockKind.OFFLINE, 1), (K, 1), (U, 2)], columns)
    assert made.scale == scale
    assert made.kinds == Counter({M: 3, K: 2, U: 2, BlockKind.OFFLINE: 1})
    assert draw(made).plain == text


@given(st.lists(st.tuples(st.sampled_from(BlockKind), st.integers(1, 300)), min_size=1), st.integers(1, 90))
def test_strip_fits_and_shows_every_block(found: list[tuple[BlockKind, int]], columns: int) -> None:
    made = strip(found, columns)
    one_by_one = [kind for kind, count in found for _ in range(count)]
    assert made.kinds == Counter(one_by_one)
    assert len(made.cells) == -(-len(one_by_one) // made.scale) <= columns
    for number, (symbol, kind) in enumerate(made.cells):
        there = one_by_one[number * made.scale : (number + 1) * made.scale]
        assert kind in there
        assert (symbol == kind.look.symbol) == (set(there) == {kind})


def test_legend_tells_the_scale() -> None:
    made = strip([(M, 8192)], 86)
    assert legend(made, 128 * MiB).plain == "M 8192 movable   (a character is 128 blocks, 16G)"
    assert len(draw(made)) == 64


def test_a_strip_of_very_many_blocks_costs_no_more() -> None:
    made = strip([(M, 1 << 50), (U, 1 << 50)], 86)
    assert draw(made).plain == "M" * 32 + "." * 32


def test_mixed_character_has_the_colour_of_the_commonest_that_is_there() -> None:
    assert strip([(U, 3), (K, 1)], 1).cells == [("*", K)]


def test_a_star_has_its_word_in_the_legend() -> None:
    assert "* mixed" in legend(strip([(M, 3), (U, 5)], 4), 128 * MiB).plain
    assert "*" not in legend(strip([(M, 4), (U, 4)], 4), 128 * MiB).plain


VM0 = Area("vm0", 48, 524288)


@pytest.mark.parametrize(
    ("first", "times", "scale", "shown"),
    [
        (500048, 512, 8192, Area("closer", 500048 - 256, 1024)),
        (48, 512, 8192, Area("closer", 48, 768)),
        (48, 40000, 8192, None),
        (48, 16, 1, None),
        (10, 20, 8192, None),
    ],
)
def test_a_change_that_drowns_in_a_strip_is_drawn_closer(
    first: int, times: int, scale: int, shown: Area | None
) -> None:
    assert closer(VM0, [BlockChange(first, times, None, None)], scale) == shown
