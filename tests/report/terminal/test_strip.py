from collections import Counter

import pytest

from virtiomem.recording import DeviceInfo, DimmInfo, MemoryBlock, Snapshot, VirtioMemInfo
from virtiomem.recording.palette import BlockKind
from virtiomem.report.blocks import BlockRun
from virtiomem.report.terminal.strip import Area, areas, draw, kinds, legend, strip
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


def test_kinds_are_those_of_the_area_alone() -> None:
    runs = [run(0, 50, K), run(50, 3, M), run(53, 100, U)]
    assert kinds(Area("vm0", 48, 8), runs) == [K, K, M, M, M, U, U, U]


def test_each_block_has_its_character_while_there_is_room() -> None:
    made = strip(Area("vm0", 48, 6), [M, M, K, U, U, U], 6)
    assert draw(made).plain == "MMK..."
    assert legend(made, 128 * MiB).plain == "M 2 movable   K 1 kernel   . 3 unplugged"


@pytest.mark.parametrize(("columns", "scale", "text"), [(8, 1, "MMMKOK.."), (4, 2, "M**."), (3, 4, "**")])
def test_characters_stand_for_several_blocks_when_there_is_none(columns: int, scale: int, text: str) -> None:
    there = [M, M, M, K, BlockKind.OFFLINE, K, U, U]
    made = strip(Area("vm0", 0, 8), there, columns)
    assert made.scale == scale
    assert made.kinds == Counter(there)
    assert draw(made).plain == text


def test_legend_tells_the_scale() -> None:
    made = strip(Area("vm0", 0, 8192), [M] * 8192, 86)
    assert legend(made, 128 * MiB).plain == "M 8192 movable   (a character is 128 blocks, 16G)"
    assert len(draw(made)) == 64


def test_mixed_character_has_the_colour_of_the_commonest_that_is_there() -> None:
    made = strip(Area("vm0", 0, 4), [U, U, U, K], 1)
    assert made.cells == [("*", K)]
