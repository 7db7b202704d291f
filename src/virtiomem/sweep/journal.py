"""The rows of a sweep as they come, in any order: a line of JSON each, so that a sweep that is stopped keeps what is done.

The first line names the sweep. A line that was cut short, by a full disk or a killed process, is not a row: `resume` drops it.
"""

import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from msgspec import DecodeError, json, structs

from virtiomem.errors import UsageError
from virtiomem.files import is_there
from virtiomem.sweep.rows import Outcome, SweepRow, outcome_of
from virtiomem.sweep.sweep import Sweep
from virtiomem.text import shown
from virtiomem.writing import cannot_write

_NOWHERE = (1 << 64) - 1
_LONGEST = 1 << 16
"""Bytes of a line: what is longer is no row."""


class Journal:
    """Rows on disk, by the number of their run; eight bytes of memory for each."""

    def __init__(self, path: Path, sweep: Sweep, *, resume: bool) -> None:
        """Begin a journal, or go on with one. Raises UsageError for one that is there already, or is of another sweep."""
        self.path = path
        self._sweep = sweep
        self._places = array("Q", [_NOWHERE]) * sweep.runs
        self.done = 0
        """How many rows there are."""
        there = is_there(path)
        if there and not resume:
            raise UsageError(
                f"{shown(path)}: a sweep that was not finished; --resume goes on with it, remove the file to begin again"
            )
        try:
            # x: one call that also makes sure that no other process has begun one meanwhile.
            self._file: IO[bytes] = path.open("r+b" if there else "x+b")
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            if there:
                self._read()
            else:
                self._append(json.encode(self._head))
        # An interrupt, too: the caller gets no journal that it could close.
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError):
                raise cannot_write(path, error) from None
            raise

    @property
    def _head(self) -> dict[str, Any]:
        return {"sweep": self._sweep.digest, "runs": self._sweep.runs}

    def _read(self) -> None:
        """Find the whole rows, and cut off the rest."""
        first = self._file.readline(_LONGEST)
        if first != json.encode(self._head) + b"\n":
            raise UsageError(
                f"{shown(self.path)}: of another sweep than {self._sweep.source}, or begun by another version of virtiomem; "
                "remove the file to begin again"
            )
        at = len(first)
        for line in iter(lambda: self._file.readline(_LONGEST), b""):
            run = _run_of(line)
            # A line that was cut by a crash, or a full disk: what follows cannot be trusted either, and is played again.
            if run is None or not 0 <= run < self._sweep.runs:
                break
            self._note(run, at)
            at += len(line)
        self._file.seek(at)
        self._file.truncate()

    def _note(self, run: int, place: int) -> None:
        self.done += self._places[run] == _NOWHERE
        self._places[run] = place

    def add(self, outcomes: Iterable[tuple[int, Outcome]]) -> None:
        """Keep some rows. Raises BackendError, on a full disk, and then none of them is there."""
        # At the end, wherever a failed write has left the position.
        at = self._file.seek(0, os.SEEK_END)
        found: list[tuple[int, int]] = []
        lines = bytearray()
        for run, outcome in outcomes:
            found.append((run, at + len(lines)))
            lines += json.encode((run, structs.astuple(outcome))) + b"\n"
        try:
            self._file.write(lines)
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from None
        # Only now: rows that were not written are played again.
        for run, place in found:
            self._note(run, place)

    def _append(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()

    def missing(self) -> Iterator[int]:
        """The runs that have no row yet, ascending."""
        return (run for run, place in enumerate(self._places) if place == _NOWHERE)

    def rows(self) -> Iterator[SweepRow]:
        """Every row, in the order of the runs; all have to be there."""
        for run, place in enumerate(self._places):
            # Rows come in any order and are written in the order of the runs: each is read where it lies.
            self._file.seek(place)
            _, cells = json.decode(self._file.readline())
            yield SweepRow(run, self._sweep.seed(run), tuple(self._sweep.labels(run).values()), outcome_of(cells))

    def remove(self) -> None:
        """Remove the file: the rows are elsewhere."""
        self._file.close()
        self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as failed:
            raise cannot_write(self.path, failed) from None


def _run_of(line: bytes) -> int | None:
    """The run of a whole line; None for what is cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        run, cells = json.decode(line, type=tuple[int, list[str | int | float | None]])
    except DecodeError:
        return None
    return run if len(cells) == len(Outcome.__struct_fields__) else None
