"""A trace: a CSV file that says, over time, how much memory a guest is to have, and how much of each kind it uses."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from virtiomem.errors import ScenarioError
from virtiomem.files import read_bytes
from virtiomem.text import quoted, shown
from virtiomem.units import MiB, parse_size

COLUMNS = ("seconds", "wanted", "movable", "unmovable")
MAX_ROWS = 2_000
"""Each is up to four steps of a scenario."""
MAX_TRACE = 4 * MiB


@dataclass(frozen=True, slots=True)
class TracePoint:
    """From `seconds` on: the size wanted of all devices together, and the memory in use by kind, in bytes."""

    seconds: float
    wanted: int
    movable: int
    unmovable: int


def load(path: Path) -> tuple[TracePoint, ...]:
    """Read a trace. Raises UsageError for a file that cannot be read, ScenarioError, which names the line, for a wrong one."""
    try:
        # Spreadsheets put a byte order mark in front.
        text = read_bytes(path, limit=MAX_TRACE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ScenarioError("it is not text", where="", source=shown(path)) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _points(reader)
    except ScenarioError as error:
        raise error.of(shown(path), reader.line_num) from None
    except csv.Error as error:
        raise ScenarioError(f"not CSV: {error}", where="", source=shown(path), line=reader.line_num) from None


def _points(lines: Iterator[list[str]]) -> tuple[TracePoint, ...]:
    """All rows. Raises ScenarioError."""
    points: list[TracePoint] = []
    head = [name.strip().lower() for name in next(lines, [])]
    if sorted(head) != sorted(COLUMNS):
        raise ScenarioError(f"the first line must name the columns {','.join(COLUMNS)}", where="")
    for cells in filter(None, lines):
        points.append(_point(head, cells))
        if len(points) > 1 and points[-1].seconds < points[-2].seconds:
            raise ScenarioError(f"seconds: {cells[head.index('seconds')]} is before the row above", where="")
        if len(points) > MAX_ROWS:
            raise ScenarioError(f"more than {MAX_ROWS} rows: keep one of each minute or hour", where="")
    if not points:
        raise ScenarioError("no row follows the names of the columns", where="")
    return tuple(points)


def _point(head: list[str], cells: list[str]) -> TracePoint:
    """One row. Raises ScenarioError."""
    if len(cells) != len(head):
        raise ScenarioError(f"{len(cells)} cells, and there are {len(head)} columns", where="")
    named = {name: cell.strip() for name, cell in zip(head, cells, strict=True)}
    for name, cell in named.items():
        if not cell:
            raise ScenarioError(f"{name} is empty: every row says all four, 0 for none", where="")
    try:
        seconds = float(named["seconds"])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ScenarioError(f"seconds: {quoted(named['seconds'])} is not a time in seconds, 0 or more", where="")
    try:
        sizes = [parse_size(named[name]) for name in COLUMNS[1:]]
    except ValueError as error:
        raise ScenarioError(str(error), where="") from None
    return TracePoint(seconds, *sizes)
