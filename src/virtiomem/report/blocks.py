"""Memory blocks and the places for them, alike neighbours counted."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from virtiomem.recording.palette import BlockKind, block_kind
from virtiomem.recording.values import MemoryBlock, Recording, Snapshot
from virtiomem.report.requests import Plugged, virtio_mem
from virtiomem.report.rows import Row
from virtiomem.report.spans import SpanSet
from virtiomem.units import MiB, Span, align_up, parse_size

DEFAULT_BLOCK_SIZE = 128 * MiB
"""x86-64 below 64 GiB of boot memory."""


class BlockRun(NamedTuple):
    """`times` memory blocks from number `first` that look alike; `state` is empty for places without a block."""

    first: int
    times: int
    kind: BlockKind
    state: str
    valid_zones: str
    nodes: tuple[int, ...]


def block_runs(snapshot: Snapshot, block_size: int, plugged: Plugged) -> list[BlockRun]:
    """The memory blocks and, in devices' regions, the places without one, in the order of their numbers."""
    blocks = {block.block: block for block in snapshot.memory_blocks}
    places: dict[int, SpanSet | None] = {}
    for device in virtio_mem(snapshot):
        first = align_up(device.memaddr, block_size) // block_size
        last = (device.memaddr + device.max_size) // block_size
        places.update(dict.fromkeys(range(first, last), plugged.get(device.id)))
    return list(_joined(_one(n, blocks.get(n), block_size, places) for n in sorted(blocks.keys() | places.keys())))


def _one(number: int, block: MemoryBlock | None, block_size: int, places: Mapping[int, SpanSet | None]) -> BlockRun:
    """One block or place; where the requests do not tell what is plugged, a block counts as wholly plugged."""
    spans = places.get(number)
    known = number in places and spans is not None
    covered = spans.covered(Span.sized(number * block_size, block_size)) if spans is not None else block_size
    if block is None:
        return BlockRun(number, 1, block_kind(None, plugged=known and covered > 0), "", "", ())
    kind = block_kind(block, wholly_plugged=covered == block_size)
    return BlockRun(number, 1, kind, block.state, block.valid_zones, tuple(block.nodes))


def _joined(blocks: Iterator[BlockRun]) -> Iterator[BlockRun]:
    """Count neighbours that differ in nothing but their number."""
    last: BlockRun | None = None
    for block in blocks:
        if last is not None and block == last._replace(first=last.first + last.times, times=1):
            last = last._replace(times=last.times + 1)
            continue
        if last is not None:
            yield last
        last = block
    if last is not None:
        yield last


Look = tuple[BlockKind, str, str, tuple[int, ...]]
"""Everything of a `BlockRun` but which blocks it is about."""


class BlockChange(NamedTuple):
    """`times` memory blocks (or places) from number `first` that looked like `was` and look like `now`."""

    first: int
    times: int
    was: Look | None
    now: Look | None


def block_changes(old: Sequence[BlockRun], new: Sequence[BlockRun]) -> list[BlockChange]:
    """What changed of the memory blocks, in the order of their numbers."""
    found: list[BlockChange] = []
    edges = sorted({edge for run in (*old, *new) for edge in (run.first, run.first + run.times)})
    for first, stop in pairwise(edges):
        was, now = _look(old, first), _look(new, first)
        if was == now:
            continue
        last = found[-1] if found else None
        if last and (last.first + last.times, last.was, last.now) == (first, was, now):
            found[-1] = last._replace(times=last.times + stop - first)
        else:
            found.append(BlockChange(first, stop - first, was, now))
    return found


def _look(runs: Sequence[BlockRun], number: int) -> Look | None:
    """How a block looks; None where there is neither block nor place."""
    i = bisect_right(runs, number, key=lambda run: run.first) - 1
    if i < 0 or number >= runs[i].first + runs[i].times:
        return None
    return runs[i][2:]


def memory_block_size(recording: Recording, boot: Sequence[Row]) -> int:
    """Bytes of a memory block: what the scenario or the guest says, else what fits the blocks to the boot listing."""
    scenario = recording.scenario if isinstance(recording.scenario, dict) else {}
    guest = scenario.get("guest")
    said = (guest.get("memory-block-size") if isinstance(guest, dict) else None) or recording.guest.get(
        "memory-block-size"
    )
    if isinstance(said, int | str):
        try:
            return parse_size(said)
        except ValueError:
            pass  # fits is as good
    return _fitting({block.block for block in recording.boot.memory_blocks}, boot) or DEFAULT_BLOCK_SIZE


def _fitting(numbers: set[int], boot: Sequence[Row]) -> int | None:
    """The power of two that makes the RAM of a listing occupy exactly the memory blocks with these numbers."""
    ram = [row for row in boot if row.name.startswith("System RAM")]
    for shift in range(24, 36):
        size = 1 << shift
        occupied: set[int] = set()
        for row in ram:
            occupied.update(range(row.start // size, (row.stop - 1) // size + 1))
            if not occupied <= numbers:
                break
        else:
            if occupied == numbers:
                return size
    return None
