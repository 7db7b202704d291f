import pytest

from virtiomem.live import lsmem
from virtiomem.live.sysfs import MemorySysfs
from virtiomem.recording.values import MemoryBlock


def memory(*blocks: tuple[int, str, str], nodes: tuple[int, ...] = (0,), size: int = 128 << 20) -> MemorySysfs:
    return MemorySysfs(
        size,
        [
            MemoryBlock(block=number, state=state, valid_zones=zones, removable=1, nodes=list(nodes))
            for number, state, zones in blocks
        ],
    )


SOME = memory(
    *((0, "online", "none"), (1, "online", "DMA32"), (2, "online", "DMA32"), (4, "offline", "Normal Movable")),
    *((5, "going-offline", "Movable"), (6, "odd", "Movable")),
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0B"), (1023, "1023B"), (1024, "1K"), (128 << 20, "128M"), (3992 << 20, "3.9G"), (5 << 30, "5G")),
        *(((1 << 30) - 1, "1024M"), (1 << 60, "1E"), (1 << 63, "8E")),
    ],
)
def test_a_size_is_rounded_as_util_linux_does(size: int, text: str) -> None:
    assert lsmem.human_size(size) == text


def test_blocks_that_look_the_same_make_a_row() -> None:
    assert lsmem.render(lsmem.rows(SOME)) == (
        "RANGE                                  SIZE   STATE REMOVABLE BLOCK\n"
        "0x0000000000000000-0x0000000017ffffff  384M  online       yes   0-2\n"
        "0x0000000020000000-0x0000000027ffffff  128M offline               4\n"
        "0x0000000028000000-0x000000002fffffff  128M on->off               5\n"
        "0x0000000030000000-0x0000000037ffffff  128M       ?               6\n"
    )


def test_shown_zones_keep_blocks_apart() -> None:
    shown = lsmem.render(lsmem.rows(SOME, ["ZONES"]), ["BLOCK", "ZONES"], headings=False)
    assert shown == "    0           None\n  1-2          DMA32\n    4 Normal/Movable\n  5-6        Movable\n"


def test_zones_that_lsmem_does_not_know_never_share_a_row() -> None:
    odd = memory((0, "online", "Strange"), (1, "online", "Strange"))
    assert [row.blocks for row in lsmem.rows(odd, ["ZONES"])] == [1, 1]
    assert [row.blocks for row in lsmem.rows(odd, ["NODE"])] == [2]


def test_nothing_splits_but_gaps_when_no_column_does() -> None:
    assert [(row.first, row.blocks) for row in lsmem.rows(SOME, [])] == [(0, 3), (4, 3)]


def test_json_has_numbers_where_numbers_are_meant() -> None:
    shown = lsmem.render(lsmem.single_rows(SOME)[3:4], list(lsmem.COLUMNS)[:7], lsmem.OutputFormat.JSON, in_bytes=True)
    assert shown == (
        '{\n   "memory": [\n      {\n         "range": "0x0000000020000000-0x0000000027ffffff",\n'
        '         "size": 134217728,\n         "state": "offline",\n         "removable": false,\n'
        '         "block": "4",\n         "node": 0,\n         "zones": "Normal/Movable"\n      }\n   ]\n}\n'
    )


def test_a_machine_without_nodes_shows_none() -> None:
    flat = memory((0, "online", ""), nodes=())
    assert lsmem.render(lsmem.rows(flat), ["NODE", "ZONES"], lsmem.OutputFormat.PAIRS) == 'NODE="" ZONES=""\n'
    assert '"node": null' in lsmem.render(lsmem.rows(flat), ["NODE"], lsmem.OutputFormat.JSON)


def test_owners_show_and_split() -> None:
    owned = memory(*((number, "online", "Movable") for number in range(4)))
    owners = {1: lsmem.Ownership("virtio0", 128 << 20), 2: lsmem.Ownership("virtio0", 2 << 20)}
    owners[3] = lsmem.Ownership("virtio1", None)
    columns = ["BLOCK", "DEVICE", "PLUGGED"]
    assert lsmem.render(lsmem.rows(owned, columns, owners), columns, headings=False) == (
        "    0         \n    1 virtio0    128M\n    2 virtio0      2M\n    3 virtio1       ?\n"
    )
    (row,) = lsmem.rows(owned, [], owners)
    assert (row.device, row.plugged) == ("virtio0,virtio1", None)


def test_summary_counts_what_is_not_online_as_offline() -> None:
    assert lsmem.render_summary(SOME) == (
        "Memory block size:       128M\nTotal online memory:     384M\nTotal offline memory:    384M\n"
    )
    assert lsmem.render_summary(SOME, in_bytes=True).splitlines()[1] == "Total online memory:          402653184"


def test_no_blocks_no_rows() -> None:
    assert lsmem.rows(memory()) == []
