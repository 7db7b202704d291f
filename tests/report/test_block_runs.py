from collections.abc import Callable, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.recording import MemoryBlock, Recording, Snapshot, VirtioMemInfo
from virtiomem.recording.palette import BlockKind
from virtiomem.report.block_runs import BlockRun, block_changes, block_runs
from virtiomem.report.moments import Source, story
from virtiomem.units import MiB

Recorded = Callable[[str], Recording]


def runs_after(told: Recording, step: int) -> Sequence[BlockRun]:
    return story(Source("x", told)).moments[step].blocks


def test_runs_hold_every_recorded_block(each_recorded: Recording) -> None:
    for number, record in enumerate(each_recorded.steps, 1):
        told = [
            (run.first + i, run.state, run.valid_zones, list(run.nodes))
            for run in runs_after(each_recorded, number)
            for i in range(run.times)
            if run.state
        ]
        assert told == [(b.block, b.state, b.valid_zones, b.nodes) for b in record.snapshot.memory_blocks]


def test_partly_plugged_blocks_stand_out(recorded: Recorded) -> None:
    kinds = [(run.first, run.times, run.kind) for run in runs_after(recorded("b-uneven-movable"), 2) if run.first >= 48]
    assert kinds == [(48, 1, BlockKind.MOVABLE), (49, 1, BlockKind.MOVABLE_PARTIAL), (50, 62, BlockKind.UNUSED)]


def test_block_that_says_how_much_is_plugged_is_believed(recorded: Recorded) -> None:
    told = recorded("a-movable")
    block = MemoryBlock(block=50, state="online", valid_zones="Movable", nodes=[0], plugged=2 * MiB)
    snapshot = msgspec.structs.replace(told.boot, memory_blocks=[block])
    assert block_runs(snapshot, 128 * MiB, {"vm0": None})[1].kind is BlockKind.MOVABLE_PARTIAL


numbers = st.sets(st.integers(0, 12))


def as_runs(movable: set[int], normal: set[int]) -> list[BlockRun]:
    return [
        BlockRun(n, 1, BlockKind.MOVABLE if n in movable else BlockKind.KERNEL, "online", "", ())
        for n in sorted(movable | normal)
    ]


@given(numbers, numbers, numbers, numbers)
def test_changes_are_those_of_each_block(a: set[int], b: set[int], c: set[int], d: set[int]) -> None:
    old, new = as_runs(a, b), as_runs(c, d)
    was, now = ({run.first: run[2:] for run in side} for side in (old, new))
    told = {
        change.first + i: (change.was, change.now) for change in block_changes(old, new) for i in range(change.times)
    }
    assert told == {n: (was.get(n), now.get(n)) for n in was.keys() | now.keys() if was.get(n) != now.get(n)}


def test_block_that_a_whole_device_lies_in_is_there_once() -> None:
    device = VirtioMemInfo(id="vm0", memaddr=2 * MiB, max_size=128 * MiB, requested_size=0, size=0, block_size=2 * MiB)
    block = MemoryBlock(block=0, state="online", valid_zones="Normal", nodes=[0])
    (run,) = block_runs(Snapshot(iomem="", memory_blocks=[block], zones={}, devices=[device]), 2048 * MiB, {})
    assert (run.first, run.times, run.state) == (0, 1, "online")
