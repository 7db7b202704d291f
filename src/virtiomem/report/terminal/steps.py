"""One step as lines: what was done and came of it, the requests, the map, the blocks."""

import textwrap
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise, repeat
from typing import Any, NamedTuple

from msgspec import UNSET
from rich.text import Text

from virtiomem.kdump.standing import Standing
from virtiomem.kdump.standing_text import summary
from virtiomem.reasons import Reason, ReasonKind, retry
from virtiomem.recording.describe import describe, describe_request, plural, ranges
from virtiomem.recording.palette import REFUSED, RESPONSES, SETTLED, STOPPED_SHORT, BlockKind, ChangeKind
from virtiomem.recording.values import Request, StepRecord, VirtioMemInfo
from virtiomem.report.block_runs import BlockRun
from virtiomem.report.changes import MapChange
from virtiomem.report.rows import Row
from virtiomem.report.terminal.console import join, style, text
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.text import clipped
from virtiomem.units import format_approx, format_size

MAX_LINES = 12
"""More changes or reasons of one step than this are counted, not shown."""
_MAX_REFUSAL = 1000
"""Characters: a step may name thousands of blocks, and each may refuse."""
MAX_PARTS = 4
"""Nor more partly plugged blocks."""
INDENT = 4
LABEL = 10


def heading(number: int, record: StepRecord, *, took: bool = False) -> Text:
    """Describe a step, and its outcome in a word; with `took` also how long it took."""
    lasted = [text(f" · took {record.elapsed:.1f} s", "dim")] if took and record.elapsed is not UNSET else []
    return join([text(f"{number:>2}  {describe(record.step)}", "bold"), " · ", *outcome(record), *lasted])


def outcome(record: StepRecord) -> Iterator[Text]:
    """Refused, settled or stopped short; with sizes, and when the driver tries again."""
    if record.error is not None:
        yield text("refused", f"bold {style(REFUSED)}")
        yield text(", ")
    look = SETTLED if record.settled else STOPPED_SHORT
    yield text(look.word, f"bold {style(look)}")
    sizes = ", ".join(_size(device) for device in record.snapshot.virtio_mem)
    yield text(f": {sizes}" if sizes else "")
    if not record.settled and record.retry_in is not UNSET:
        yield text(f"; {retry(record.retry_in).text}")


def _size(device: VirtioMemInfo) -> str:
    """Return the plugged size of a device, and the requested size when that differs."""
    if device.settled:
        return f"{device.id} {format_size(device.size)}"
    return f"{device.id} {format_size(device.size)} of {format_size(device.requested_size)}"


def reasons(record: StepRecord, before: StepRecord | None, width: int) -> Iterator[Text]:
    """Yield what refused the step, and what holds a device up; the latter not again when it has not changed."""
    if record.error is not None:
        yield from _wrapped("refused", [clipped(record.error, _MAX_REFUSAL)], width)
    if record.held_up is UNSET or not record.held_up:
        return
    # A guest that waits says the same after every step: once is enough to read.
    if before is not None and before.held_up == record.held_up:
        yield labelled("held up", "as before")
        return
    held_up = list(_held_up(record))
    more = len(held_up) - MAX_LINES
    yield from _wrapped(
        "held up", held_up[:MAX_LINES] + ([f"and {more} more {plural(more, 'reason')}"] if more > 0 else []), width
    )


def _held_up(record: StepRecord) -> Iterator[str]:
    """Reasons in words; memory blocks that were refused alike, one after the other, once: ``memory48-63 (Normal): refused …``.

    Those that give an amount stand apart: it would be read as that of all.
    """
    texts = record.held_up or []
    for kind, group in groupby(zip(texts, record.reasons or repeat({}, len(texts)), strict=True), _refused_alike):
        alike = list(group)
        if kind is None or len(alike) == 1:
            yield from (words for words, _ in alike)
        else:
            values = alike[0][1]["values"]
            blocks = ranges(range(number, number + 1) for _, reason in alike for number in [reason["values"]["block"]])
            yield str(Reason(ReasonKind.BLOCK_REFUSED, values | {"block": blocks}, alike[0][1]["device"]))


def _refused_alike(one: tuple[str, dict[str, Any]]) -> tuple[str | None, dict[str, Any]] | None:
    """All of a refused memory block's reason except its number; None for any other reason."""
    _, reason = one
    if reason.get("reason") != ReasonKind.BLOCK_REFUSED.word:
        return None
    return reason["device"], {key: value for key, value in reason["values"].items() if key != "block"}


def _wrapped(label: str, texts: Sequence[str], width: int) -> Iterator[Text]:
    """Texts under one label, each in as many lines as it takes."""
    # wrap() makes no line of no words: a reason that is empty keeps its place.
    lines = [line for words in texts for line in textwrap.wrap(words, width - INDENT - LABEL) or [""]]
    for number, line in enumerate(lines):
        yield labelled("" if number else label, line)


def labelled(label: str, content: Text | str) -> Text:
    """A line below a heading: its label, then its content."""
    return join([text(f"{'':{INDENT}}{label:<{LABEL}}", "dim"), content])


def request_counts(requests: Sequence[Request]) -> Iterator[Text]:
    """A line a device: how many requests of each type, and how they were answered unless it was ACK."""
    for device in dict.fromkeys(request.device for request in requests):
        counts = Counter((request.type, request.response) for request in requests if request.device == device)
        parts = [_count(count, kind, response) for (kind, response), count in counts.items()]
        yield labelled(device, join(parts, ", "))


def _count(count: int, kind: str, response: str) -> Text:
    """One number of requests that had the same answer."""
    words = text(f"{count} {kind}")
    if response != "ACK":
        look = RESPONSES.get(response)
        words.append_text(text(f" answered {response}", style(look) if look else "bold"))
    return words


def every_request(requests: Sequence[Request]) -> Iterator[Text]:
    """One line a request; a device's name stands where it changes."""
    last = ""
    for request in requests:
        yield labelled("" if request.device == last else request.device, describe_request(request))
        last = request.device


def log(record: StepRecord, *, verbose: bool) -> Iterator[Text]:
    """Yield the driver's messages, where they are known: its warnings, or all of them."""
    said = [] if record.log is UNSET else record.log
    for number, line in enumerate(line for line in said if verbose or line.startswith("warning: ")):
        yield labelled("" if number else "log", line)


def crash_header(now: Standing | None, before: Standing | None) -> Iterator[Text]:
    """Yield the state of the crash header in memory, where it has changed."""
    if now is not None and now != before:
        yield labelled("crash", summary(now))


class _Line(NamedTuple):
    """One line about the map, in columns."""

    change: ChangeKind | None
    resource: str
    size: str
    note: str


def map_changes(changes: Sequence[MapChange], block_size: int, width: int | None = None) -> Iterator[Text]:
    """Yield the resources that appeared, went, grew, were merged, trimmed or split, a line each, in columns; a note
    below it without room for it.
    """
    lines = [line for change in changes for line in _map_lines(change, block_size)]
    shown = lines[:MAX_LINES]
    wide = max((len(line.resource) for line in shown), default=0)
    notes = INDENT + LABEL + wide + 13
    # All or none: a column of which some lines stand elsewhere is not read as one.
    below = width is not None and any(notes + len(line.note) > width for line in shown)
    for number, line in enumerate(shown):
        words = [_mark(line.change), text(f"{line.resource:<{wide}}  {line.size:>7}")]
        if line.note and not below:
            words.append(text(f"  {line.note}", "dim"))
        yield labelled("" if number else "map", join(words))
        if line.note and below:
            yield labelled("", text(f"      {line.note}", "dim"))
    if len(lines) > MAX_LINES:
        yield labelled("", f"and {len(lines) - MAX_LINES} more changes")


def _mark(change: ChangeKind | None) -> Text:
    """A change's symbol."""
    return text(f"{change.look.symbol} ", f"bold {style(change.look)}") if change else Text("  ")


def _map_lines(change: MapChange, block_size: int) -> Iterator[_Line]:
    """One change as lines."""
    match change.change:
        case ChangeKind.APPEARED:
            yield from (_line(change.change, row, _merged_note(row, block_size)) for row in change.after)
        case ChangeKind.WENT:
            yield from (_line(change.change, row, "") for row in change.before)
        case ChangeKind.SPLIT:
            yield _line(change.change, change.before[0], f"split in {_count_rows(change.after)}:")
            yield from (_line(None, row, "") for row in change.after)
        case _:
            first, *rest = change.after
            yield _line(change.change, first, _was(change))
            yield from (_line(None, row, "") for row in rest)


def _line(change: ChangeKind | None, row: Row, note: str) -> _Line:
    """One row of the map; several alike are one line."""
    each = f"{format_approx(row.size)} each"
    return _Line(change, _resource(row), format_approx(row.stop - row.start), each if row.times > 1 else note)


def _resource(row: Row) -> str:
    """A row as a line of the listing; alike neighbours as one, with their number."""
    name = row.name if row.times == 1 else f"{row.times} x {row.name}"
    return f"{'  ' * row.depth}{row.start:08x}-{row.stop - 1:08x} : {name}"


def _merged_note(row: Row, block_size: int) -> str:
    """That a new resource is many blocks' worth."""
    blocks = row.size // block_size
    is_merged = row.times == 1 and blocks > 1 and row.name.startswith(SYSTEM_RAM)
    return f"{blocks} memory blocks, one resource" if is_merged else ""


def _was(change: MapChange) -> str:
    """Describe a resource before the step, with the word for what became of it."""
    count = _count_rows(change.before)
    if count > 1:
        return f"{change.change.look.word} from {count}"
    was = change.before[0]
    return f"{change.change.look.word} from {format_approx(was.size)}, {was.start:08x}-{was.stop - 1:08x}"


def _count_rows(found: Sequence[Row]) -> int:
    """Count the resources that these rows stand for."""
    return sum(row.times for row in found)


def block_changes(old: Sequence[BlockRun], new: Sequence[BlockRun]) -> Iterator[Text]:
    """Yield the memory blocks that changed state, alike ones together."""
    moved: dict[tuple[BlockKind, BlockKind], list[range]] = {}
    for blocks, was, now in _compared(old, new):
        if was is not now:
            moved.setdefault((was, now), []).append(blocks)
    for number, ((was, now), runs) in enumerate(moved.items()):
        words = [
            text(f"{plural(sum(map(len, runs)), 'block')} {_short(runs)}: "),
            text(was.look.word, style(was.look)),
            Text(" → "),
            text(now.look.word, style(now.look)),
        ]
        yield labelled("" if number else "blocks", join(words))


def _compared(old: Sequence[BlockRun], new: Sequence[BlockRun]) -> Iterator[tuple[range, BlockKind, BlockKind]]:
    """Stretches of blocks that were of one kind and are of one kind, in order."""
    edges = sorted({edge for run in (*old, *new) for edge in (run.first, run.first + run.times)})
    for first, stop in pairwise(edges):
        yield range(first, stop), _kind_at(old, first), _kind_at(new, first)


def _kind_at(runs: Sequence[BlockRun], number: int) -> BlockKind:
    """A block's kind; a place that no run has is unplugged."""
    at = bisect_right(runs, number, key=lambda run: run.first) - 1
    return runs[at].kind if at >= 0 and number < runs[at].first + runs[at].times else BlockKind.UNUSED


def partly_plugged(partly: Mapping[int, int], block_size: int) -> Iterator[Text]:
    """Yield the plugged size of partly plugged blocks, by number."""
    parts = [
        f"block {number}: {format_size(plugged)} of {format_size(block_size)}"
        for number, plugged in sorted(partly.items())
    ]
    if parts:
        more = f", and {len(parts) - MAX_PARTS} more" if len(parts) > MAX_PARTS else ""
        yield labelled("partly", ", ".join(parts[:MAX_PARTS]) + more)


def _short(runs: Sequence[range]) -> str:
    """Block numbers in runs; only counted when there are too many runs."""
    words = ranges(runs)
    return words if len(words) <= 48 else f"{runs[0][0]}…{runs[-1][-1]} ({sum(map(len, runs))} of them)"
