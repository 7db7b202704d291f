"""Format 2 of a recording: each snapshot as what has changed since the one before, alike neighbours counted.

A guest of 16 TiB has 131 072 memory blocks. Format 1 tells all of them in every snapshot; here a step tells those that
became something else, and a run of them in one entry. A `Recording` has the whole of it, whichever format it is read from.

Before boot there is nothing: the snapshot there is folded like any other.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Annotated, Any, Generic, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from virtiomem.files import MAX_SIZE
from virtiomem.notation import NotationError
from virtiomem.recording.request_runs import request_runs
from virtiomem.recording.values import FORMAT as WHOLE
from virtiomem.recording.values import (
    CrashHeader,
    DeviceInfo,
    MemoryBlock,
    Natural,
    Recording,
    RecordingHead,
    Request,
    Snapshot,
    StepOutcome,
    StepRecord,
    ZonePages,
)
from virtiomem.text import quoted
from virtiomem.units import format_size

FORMAT = "virtiomem-recording/2"
MAX_TIMES = 1 << 20
"""Of one entry: memory blocks of 128 MiB for 128 TiB."""
_ENTRY, _KEPT = 128, 8
"""Bytes that a block, a request or a line takes in memory, and about what it takes once more in the next snapshot."""

Times = Annotated[int, Meta(ge=1, le=MAX_TIMES)]
T = TypeVar("T")
F = TypeVar("F")


class FoldedBlocks(MemoryBlock, frozen=True, kw_only=True, rename="kebab", omit_defaults=True, gc=False):
    """`times` memory blocks that differ only in their numbers, which follow one another."""

    times: Times = 1


class FoldedRequests(Request, frozen=True, kw_only=True, rename="kebab", omit_defaults=True, gc=False):
    """`times` requests that differ only in their addresses, each `stride` bytes from the one before."""

    times: Times = 1
    stride: int = 0


class Edit(Struct, Generic[F], frozen=True, kw_only=True, omit_defaults=True):
    """From entry `at` of the list before, counted from 0, `gone` ones are gone, and `new` ones are there instead."""

    at: Natural = 0
    gone: Natural = 0
    new: list[F] = []


class FoldedSnapshot(Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """Changes since the snapshot before; what is not there is as it was."""

    iomem: list[Edit[str]] = []
    """Of the lines; ``3 x LINE`` is a line and two more, each right behind the one before it and as long."""
    memory_blocks: list[Edit[FoldedBlocks]] = []
    zones: dict[str, dict[str, ZonePages]] | UnsetType = UNSET
    devices: list[DeviceInfo] | UnsetType = UNSET
    crash_header: CrashHeader | UnsetType | None = UNSET
    """None: the header is gone."""


class FoldedStep(StepOutcome, frozen=True, kw_only=True, rename="kebab"):
    """A step, folded."""

    requests: list[FoldedRequests]
    snapshot: FoldedSnapshot


class FoldedRecording(RecordingHead, frozen=True, kw_only=True, rename="kebab"):
    """A recording, folded."""

    format: str = FORMAT
    boot: FoldedSnapshot
    steps: list[FoldedStep]


_NOTHING = Snapshot(iomem="", memory_blocks=[], zones={}, devices=[])


def fold(whole: Recording) -> FoldedRecording:
    """A recording as its file has it."""
    snapshots = [_NOTHING, whole.boot, *(record.snapshot for record in whole.steps)]
    boot, *folded = (_fold(before, now) for before, now in pairwise(snapshots))
    steps = [
        FoldedStep(**_fields(record, StepOutcome), requests=list(_fold_requests(record.requests)), snapshot=snapshot)
        for record, snapshot in zip(whole.steps, folded, strict=True)
    ]
    return FoldedRecording(**_fields(whole, RecordingHead) | {"format": FORMAT}, boot=boot, steps=steps)


def unfold(folded: FoldedRecording) -> Recording:
    """The recording that a file stands for; what has not changed from one snapshot to the next is one object in both.

    Raises NotationError for an edit of what is not there, for a count that nothing can have, and for a recording that takes
    more memory than a file may have bytes: a short one may stand for anything.
    """
    unfolding = _Unfolding()
    boot = unfolding.snapshot(folded.boot, "boot")
    steps = [
        StepRecord(
            **_fields(step, StepOutcome),
            requests=unfolding.requests(step.requests, f"steps[{number}].requests"),
            snapshot=unfolding.snapshot(step.snapshot, f"steps[{number}].snapshot"),
        )
        for number, step in enumerate(folded.steps)
    ]
    # In memory there is one form only; which one a file has is up to who writes it.
    return Recording(**_fields(folded, RecordingHead) | {"format": WHOLE}, boot=boot, steps=steps)


def _fields(of: Struct, kind: type[Struct]) -> dict[str, Any]:
    """The fields of a kind that it is of, or has in common with."""
    return {name: getattr(of, name) for name in kind.__struct_fields__}


def _fold(before: Snapshot, now: Snapshot) -> FoldedSnapshot:
    """Return the changes from one snapshot to the next."""
    header = None if now.crash_header is UNSET else now.crash_header
    return FoldedSnapshot(
        iomem=[] if now.iomem == before.iomem else _fold_lines(before.iomem.split("\n"), now.iomem.split("\n")),
        memory_blocks=_fold_blocks(before.memory_blocks, now.memory_blocks),
        zones=UNSET if now.zones == before.zones else now.zones,
        devices=UNSET if now.devices == before.devices else now.devices,
        crash_header=UNSET if now.crash_header == before.crash_header else header,
    )


def _fold_lines(before: Sequence[str], now: Sequence[str]) -> list[Edit[str]]:
    return [
        Edit(at=at, gone=gone, new=[_counted_line(*run) for run in _runs(new, _line_after)])
        for at, gone, new in _edits(before, now, str)
    ]


def _fold_blocks(before: Sequence[MemoryBlock], now: Sequence[MemoryBlock]) -> list[Edit[FoldedBlocks]]:
    return [
        Edit(
            at=at,
            gone=gone,
            new=[FoldedBlocks(**_fields(first, MemoryBlock), times=times) for first, times in _runs(new, _block_after)],
        )
        for at, gone, new in _edits(before, now, lambda block: block.block)
    ]


def _fold_requests(requests: Sequence[Request]) -> Iterator[FoldedRequests]:
    at = 0
    for run in request_runs(requests):
        # An entry that stands for more would be refused when it is read.
        for first in range(at, at + run.times, MAX_TIMES):
            times = min(at + run.times - first, MAX_TIMES)
            yield FoldedRequests(**_fields(requests[first], Request), times=times, stride=run.stride)
        at += run.times


def _edits(
    before: Sequence[T], now: Sequence[T], name: Callable[[T], object]
) -> Iterator[tuple[int, int, Sequence[T]]]:
    """Yield the edits between two lists: position in the first, how many are gone, what is there instead.

    `name` is what makes an entry the same one in both lists, though it may have changed; where names occur twice or in
    another order, more is said than need be.
    """
    start, stop, now_stop = 0, len(before), len(now)
    # Most steps change one stretch of a long list: its ends are found before anything is hashed.
    while start < min(stop, now_stop) and before[start] == now[start]:
        start += 1
    while start < min(stop, now_stop) and before[stop - 1] == now[now_stop - 1]:
        stop, now_stop = stop - 1, now_stop - 1
    # An entry whose name the other list lacks has come or gone for certain; by these the two positions stay in step.
    kept = {name(entry) for entry in before[start:stop]} & {name(entry) for entry in now[start:now_stop]}
    i = j = since = now_since = start
    while i < stop or j < now_stop:
        if i < stop and j < now_stop and before[i] == now[j]:
            if (since, now_since) != (i, j):
                yield since, i - since, now[now_since:j]
            i, j = i + 1, j + 1
            since, now_since = i, j
            continue
        # Where neither is certain, the entry has changed in its place, and both positions move on.
        goes = i < stop and name(before[i]) not in kept
        comes = j < now_stop and name(now[j]) not in kept
        i, j = min(i + (goes or not comes), stop), min(j + (comes or not goes), now_stop)
    if (since, now_since) != (stop, now_stop):
        yield since, stop - since, now[now_since:now_stop]


def _runs(entries: Sequence[T], after: Callable[[T, int], T | None]) -> Iterator[tuple[T, int]]:
    """Entries that follow from the first of them, counted; `after` returns the entry at a distance from the first."""
    at = 0
    while at < len(entries):
        first, times = entries[at], 1
        while at + times < len(entries) and times < MAX_TIMES and after(first, times) == entries[at + times]:
            times += 1
        yield first, times
        at += times


def _block_after(first: MemoryBlock, number: int) -> MemoryBlock:
    """The memory block at that distance after one that it looks like."""
    return MemoryBlock(
        block=first.block + number,
        state=first.state,
        valid_zones=first.valid_zones,
        removable=first.removable,
        nodes=first.nodes,
        plugged=first.plugged,
        pages=first.pages,
    )


_COUNTED = re.compile(r"([0-9]{1,7}) x (.*)", re.DOTALL)
_LINE = re.compile(r"( {0,64})([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.{1,64})", re.DOTALL)
"""A line that others may follow from; one of another shape is written by itself."""


@lru_cache(maxsize=1)
def _parsed(line: str) -> tuple[str, int, int, str] | None:
    """A line's indentation, first and last address, and name."""
    match = _LINE.fullmatch(line)
    return (match[1], int(match[2], 16), int(match[3], 16), match[4]) if match else None


def _line_after(first: str, number: int) -> str | None:
    """The line `number` after the first, of a resource as large and called the same; None where none can follow."""
    if (parsed := _parsed(first)) is None:
        return None
    indent, start, end, name = parsed
    by = number * (end - start + 1)
    return f"{indent}{start + by:08x}-{end + by:08x} : {name}"


def _counted_line(line: str, times: int) -> str:
    """A line with how often it stands for one, where that is not once; or where it looks as if it had a number already."""
    return line if times == 1 and not _COUNTED.fullmatch(line) else f"{times} x {line}"


class _Unfolding:
    """The guest as described so far."""

    def __init__(self) -> None:
        self._now = _NOTHING
        self._lines = [""]
        """Of its map."""
        self._room = MAX_SIZE
        """Bytes of memory that are left."""

    def snapshot(self, folded: FoldedSnapshot, where: str) -> Snapshot:
        """The next snapshot. Raises NotationError."""
        before, header = self._now, folded.crash_header
        self._lines = self._edited(self._lines, folded.iomem, _unfold_line, f"{where}.iomem")
        if folded.iomem:
            # Charged once more after every edit: the joined text is a new one, however little was edited.
            self._take(sum(map(len, self._lines)), where)
        self._now = Snapshot(
            iomem="\n".join(self._lines) if folded.iomem else before.iomem,
            memory_blocks=self._edited(
                before.memory_blocks, folded.memory_blocks, _unfold_blocks, f"{where}.memory-blocks"
            ),
            zones=before.zones if folded.zones is UNSET else folded.zones,
            devices=before.devices if folded.devices is UNSET else folded.devices,
            crash_header=before.crash_header if header is UNSET else UNSET if header is None else header,
        )
        return self._now

    def requests(self, runs: Iterable[FoldedRequests], where: str) -> list[Request]:
        """All requests of a step. Raises NotationError."""
        return self._unfolded(runs, _unfold_requests, where)

    def _edited(
        self, before: list[T], edits: Sequence[Edit[F]], unfold_one: Callable[[F], tuple[int, Iterable[T]]], where: str
    ) -> list[T]:
        """A list after its edits; itself without edits."""
        if not edits:
            return before
        now, at = list[T](), 0
        for number, edit in enumerate(edits):
            if not at <= edit.at <= edit.at + edit.gone <= len(before):
                said = f"an edit must lie between entries {at} and {len(before)}, this one has {edit.at} to {edit.at + edit.gone}"
                raise NotationError(said, f"{where}[{number}]")
            now += before[at : edit.at]
            now += self._unfolded(edit.new, unfold_one, f"{where}[{number}].new")
            at = edit.at + edit.gone
        now += before[at:]
        # The entries are shared, their list is not: a thousand small edits of a long list would take a thousand lists.
        self._take(_KEPT * len(now), where)
        return now

    def _unfolded(self, runs: Iterable[F], unfold_one: Callable[[F], tuple[int, Iterable[T]]], where: str) -> list[T]:
        """Every entry of some runs."""
        found = list[T]()
        for number, run in enumerate(runs):
            try:
                times, entries = unfold_one(run)
            except ValueError as error:
                raise NotationError(str(error), f"{where}[{number}]") from None
            # Before they are made: one entry may stand for a million.
            self._take(_ENTRY * times, f"{where}[{number}]")
            found += entries
        return found

    def _take(self, size: int, where: str) -> None:
        """Take some bytes of memory. Raises NotationError where none are left."""
        self._room -= size
        if self._room < 0:
            raise NotationError(f"all that it stands for takes more than {format_size(MAX_SIZE)} of memory", where)


def _unfold_blocks(run: FoldedBlocks) -> tuple[int, Iterator[MemoryBlock]]:
    return run.times, (_block_after(run, number) for number in range(run.times))


def _unfold_requests(run: FoldedRequests) -> tuple[int, Iterator[Request]]:
    return run.times, (
        Request(
            device=run.device,
            type=run.type,
            response=run.response,
            addr=UNSET if run.addr is UNSET else run.addr + number * run.stride,
            nb_blocks=run.nb_blocks,
        )
        for number in range(run.times)
    )


def _unfold_line(entry: str) -> tuple[int, Iterator[str]]:
    """The lines that an entry stands for. Raises ValueError when none can follow from it, or not as many."""
    counted = _COUNTED.fullmatch(entry)
    line, times = (counted[2], int(counted[1])) if counted else (entry, 1)
    if not 1 <= times <= MAX_TIMES or (times > 1 and not _LINE.fullmatch(line)):
        raise ValueError(f"{times} lines cannot follow from {quoted(line)}")
    following = (_line_after(line, number) for number in range(1, times))
    return times, chain([line], filter(None, following))
