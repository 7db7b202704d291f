"""Memory blocks and the places for them, alike neighbours counted."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec import UNSET

from virtiomem.recording.palette import BlockKind, block_kind
from virtiomem.recording.values import MemoryBlock, Snapshot
from virtiomem.report.plugged import Plugged
from virtiomem.report.spans import SpanSet
from virtiomem.units import Span, align_up


class BlockRun(NamedTuple):
    """`times` memory blocks from number `first` that look alike; `state` is empty for places without a block."""

    first: int
    times: int
    kind: BlockKind
    state: str
    valid_zones: str
    nodes: tuple[int, ...]


def block_runs(snapshot: Snapshot, block_size: int, plugged: Plugged) -> list[BlockRun]:
    """The memory blocks and, in devices' regions, the places without one, in the order of their numbers.

    Where the requests do not tell what is plugged, a block counts as wholly plugged and a place as unplugged.
    """
    present = _present(snapshot.memory_blocks, block_size)
    found: list[BlockRun] = []
    at = 0
    for device in sorted(snapshot.virtio_mem, key=lambda device: device.memaddr):
        first = align_up(device.memaddr, block_size) // block_size
        stop = max((device.memaddr + device.max_size) // block_size, first)  # a region may lie inside one block
        found += _clipped(present, at, first)
        for run in _with_places(_clipped(present, first, stop), first, stop):
            found += _by_plugged(run, block_size, plugged.get(device.id))
        # Regions may overlap in a damaged recording: no block is there twice.
        at = max(at, stop)
    return list(_joined([*found, *_clipped(present, at, None)]))


def _present(blocks: Iterable[MemoryBlock], block_size: int) -> list[BlockRun]:
    """The blocks that there are, taken as wholly plugged unless they say otherwise."""
    found: list[BlockRun] = []
    first = times = 0
    last: tuple[object, ...] | None = None
    for block in sorted(blocks, key=lambda block: block.block):
        # Compared as they are, not by kind, which is costly to find: 100 000 blocks are looked at, a few runs are made.
        look = (block.state, block.valid_zones, block.nodes, block.plugged)
        if block.block == first + times and look == last:
            times += 1
            continue
        if times:
            found[-1] = found[-1]._replace(times=times)
        kind = block_kind(block, wholly_plugged=block.plugged in {UNSET, block_size})
        found.append(BlockRun(block.block, 1, kind, block.state, block.valid_zones, tuple(block.nodes)))
        first, times, last = block.block, 1, look
    if times:
        found[-1] = found[-1]._replace(times=times)
    return found


def _clipped(runs: Sequence[BlockRun], first: int, stop: int | None) -> Iterator[BlockRun]:
    """Yield the parts of the runs from block `first` up to before `stop`."""
    for run in runs[max(bisect_right(runs, first, key=_first) - 1, 0) :]:
        if stop is not None and run.first >= stop:
            return
        low = max(run.first, first)
        high = run.first + run.times if stop is None else min(run.first + run.times, stop)
        if low < high:
            yield run._replace(first=low, times=high - low)


def _first(run: BlockRun) -> int:
    return run.first


def _with_places(runs: Iterable[BlockRun], first: int, stop: int) -> Iterator[BlockRun]:
    """The runs, and runs of places wherever between `first` and `stop` there is no block."""
    for run in runs:
        if first < run.first:
            yield BlockRun(first, run.first - first, BlockKind.UNUSED, "", "", ())
        yield run
        first = run.first + run.times
    if first < stop:
        yield BlockRun(first, stop - first, BlockKind.UNUSED, "", "", ())


def _by_plugged(run: BlockRun, block_size: int, spans: SpanSet | None) -> Iterator[BlockRun]:
    """Cut a run into pieces that are wholly plugged, partly, or not at all; halving finds them without looking at every
    block.
    """
    if spans is None:
        yield run
        return
    covered = spans.covered(Span.sized(run.first * block_size, run.times * block_size))
    if run.times > 1 and 0 < covered < run.times * block_size:
        half = run.times // 2
        yield from _by_plugged(run._replace(times=half), block_size, spans)
        yield from _by_plugged(run._replace(first=run.first + half, times=run.times - half), block_size, spans)
    elif not run.state:
        yield run._replace(kind=block_kind(None, plugged=covered > 0))
    else:
        block = MemoryBlock(block=run.first, state=run.state, valid_zones=run.valid_zones, nodes=list(run.nodes))
        yield run._replace(kind=block_kind(block, wholly_plugged=covered == run.times * block_size))


def _joined(runs: Iterable[BlockRun]) -> Iterator[BlockRun]:
    """Adjacent runs that look alike as one."""
    last: BlockRun | None = None
    for run in runs:
        if last is not None and last.first + last.times == run.first and last[2:] == run[2:]:
            last = last._replace(times=last.times + run.times)
            continue
        if last is not None:
            yield last
        last = run
    if last is not None:
        yield last


BlockLook = tuple[BlockKind, str, str, tuple[int, ...]]
"""Everything of a `BlockRun` but which blocks it is about."""


class BlockChange(NamedTuple):
    """`times` memory blocks (or places) from number `first` that looked like `was` and look like `now`."""

    first: int
    times: int
    was: BlockLook | None
    now: BlockLook | None


def block_changes(old: Sequence[BlockRun], new: Sequence[BlockRun]) -> list[BlockChange]:
    """Return the changes of the memory blocks, in the order of their numbers."""
    found: list[BlockChange] = []
    # Between two edges nothing changes on either side: one look stands for all blocks there.
    edges = sorted({edge for run in (*old, *new) for edge in (run.first, run.first + run.times)})
    looks = zip(_looks(old, edges), _looks(new, edges), strict=True)
    for (first, stop), (was, now) in zip(pairwise(edges), looks, strict=False):
        if was == now:
            continue
        last = found[-1] if found else None
        # An edge of either side cuts; where the change goes on across it, it is one.
        if last and (last.first + last.times, last.was, last.now) == (first, was, now):
            found[-1] = last._replace(times=last.times + stop - first)
        else:
            found.append(BlockChange(first, stop - first, was, now))
    return found


def _looks(runs: Sequence[BlockRun], numbers: Iterable[int]) -> Iterator[BlockLook | None]:
    """Yield the appearance of each of these blocks, ascending; None where there is neither block nor place."""
    following = iter(runs)
    run = next(following, None)
    for number in numbers:
        while run is not None and run.first + run.times <= number:
            run = next(following, None)
        yield run[2:] if run is not None and run.first <= number else None
