from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import ProtocolError
from virtiomem.guest.linux.look import parse
from virtiomem.recording import MemoryBlock, ZonePages

SNAPSHOT = (Path(__file__).parents[2] / "data/linux/snapshot.txt").read_text()

TIMER = """@timer
 #3: <0000000012345678>, virtio_mem_timer_expired, S:01
 # expires at 123456789012-123456789012 nsecs [in 299500000000 to 299500000000 nsecs]
--
 #4: <0000000087654321>, virtio_mem_timer_expired, S:01
 # expires at 103456789012-103456789012 nsecs [in 49250000000 to 49250000000 nsecs]
"""


def test_a_real_snapshot_is_read() -> None:
    look = parse(SNAPSHOT)
    assert look.iomem.count("\n") == 31
    assert "\n  100000000-13fffffff : System RAM (virtio_mem)\n" in look.iomem
    assert [block.block for block in look.memory_blocks] == [0, 1, 2, 3, *range(32, 40)]
    assert look.memory_blocks[0] == MemoryBlock(block=0, state="online", valid_zones="none", nodes=[0])
    assert look.memory_blocks[-1].valid_zones == "Normal Movable"
    assert look.zones["node0"]["DMA32"] == ZonePages(spanned=126944, present=126944, managed=99655)
    assert look.memory_block_size == 0x8000000
    assert (look.bound, look.busy, look.retry_in) == (["virtio0"], False, None)


def test_a_task_in_the_driver_is_work() -> None:
    assert parse(SNAPSHOT.replace("@busy\n", "@busy\n/proc/77/stack\n")).busy is True


def test_a_kernel_that_hides_its_stacks_is_neither_busy_nor_at_rest() -> None:
    assert parse(SNAPSHOT.replace("@busy\n", "@busy\nunknown\n")).busy is None


def test_the_retry_timer_that_expires_first_is_reported_in_seconds() -> None:
    assert parse(SNAPSHOT.replace("@timer\n", TIMER)).retry_in == 49.25


def test_time_alone_is_not_a_change_of_state() -> None:
    early, late = (parse(SNAPSHOT.replace("@timer\n", TIMER.replace("49250", each))) for each in ("49250", "48000"))
    assert early.same_state(late)
    assert not early.same_state(parse(SNAPSHOT))


def test_a_block_that_is_just_going_is_left_out() -> None:
    assert 39 not in [block.block for block in parse(SNAPSHOT.replace("memory39/removable:1\n", "")).memory_blocks]


def test_a_kernel_without_nodes_has_none() -> None:
    head, _, rest = SNAPSHOT.partition("@nodes\n")
    look = parse(f"{head}@nodes\nmemory*/node*\n{rest.partition(chr(10))[2]}")
    assert {tuple(block.nodes) for block in look.memory_blocks} == {()}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("@zones", "@zoned", "sections"),
        ("@iomem\n", "", "sections"),
        ("@timer\n", "@timer\n@timer\n", "sections"),
        ("00001000-0009fbff : System RAM", "00001000-0009fbff System RAM", "iomem: '00001000-0009fbff System"),
        ("memory0/state:online", "memory0/state online", "blocks"),
        ("memory0/state:online", "memory00000000000000000000/state:online", "blocks"),
        ("memory0/node0 ", "memory0/nodeX ", "nodes"),
        ("memory0/removable:1", "memory0/removable:yes", "removable"),
        ("@block-size 8000000", "@block-size 128M", "block-size"),
        ("@block-size 8000000", "@block-size 0", "block-size"),
        ("@block-size 8000000", "@block-size -8000000", "block-size"),
        ("@block-size 8000000", "@block-size 7fffff", "block-size"),
        ("@block-size 8000000", "@block-size 80000000000000000", "block-size"),
        ("        managed  3840\n", "", "node0 DMA lacks a counter"),
        ("Node 0, zone      DMA\n", "gibberish\n", "zones: 'gibberish'"),
        ("@bound\nvirtio0", "@bound\nvirtio0; reboot", "bound"),
        ("@busy\n", "@busy\n/etc/passwd\n", "busy"),
    ],
)
def test_anything_out_of_shape_is_refused(old: str, new: str, words: str) -> None:
    assert old in SNAPSHOT
    with pytest.raises(ProtocolError, match=words):
        parse(SNAPSHOT.replace(old, new, 1))


@given(st.data())
def test_no_damage_is_worse_than_a_refusal(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SNAPSHOT)))
    stop = data.draw(st.integers(start, min(start + 60, len(SNAPSHOT))))
    damaged = SNAPSHOT[:start] + data.draw(st.text(max_size=20)) + SNAPSHOT[stop:]
    with suppress(ProtocolError):
        parse(damaged)
