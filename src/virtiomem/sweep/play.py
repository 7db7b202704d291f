"""A whole sweep: every run played by an engine, its rows kept as they come, and written in order when all are there."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from virtiomem import border
from virtiomem.files import is_there
from virtiomem.sweep import rows
from virtiomem.sweep.engines import Chunk, Engine, in_process
from virtiomem.sweep.journal import Journal
from virtiomem.sweep.rows import Rows
from virtiomem.sweep.sweep import Sweep
from virtiomem.writing import check_writable, written_whole

OnProgress = Callable[[int, int, float | None], None]
"""Told how many runs are done, of how many, and the seconds that the others may take; None while that is not known."""

CHUNK = 20
"""Runs that are sent to a worker together: half a second of work, where the answer takes milliseconds."""


def part_of(path: Path) -> Path:
    """Return the name of the file that keeps the rows of a sweep until all are there."""
    return path.with_name(f"{path.name}.part")


def run(
    sweep: Sweep,
    path: str | Path,
    *,
    engine: Engine = in_process,
    resume: bool = False,
    chunk: int = CHUNK,
    on_progress: OnProgress | None = None,
) -> Rows:
    """Play every run and write the rows to a file: Parquet where its name ends with .parquet, else CSV.

    The same sweep makes the same bytes on every engine. Until all runs are played the rows are in ``path.part``; with
    `resume` a sweep that was broken off goes on there, and one that is complete is not played again. Raises UsageError
    for a file that cannot be written, holds something else than rows, or is of another sweep; BackendError when the
    disk is full or a cluster is lost: what is done is kept.
    """
    border.instance("sweep", sweep, Sweep)
    border.instance("path", path, str, Path)
    border.integer("chunk", chunk, 1)
    path = Path(path)
    if rows.is_parquet(path):
        rows.need_pyarrow()
    check_writable(path, inputs=sweep.files)
    # Before the first run, though the file is written after the last.
    rows.refuse_other(path)
    # With both there, it was broken off between writing the one and removing the other: the rows are written again.
    if resume and is_there(path) and not is_there(part_of(path)):
        for _ in rows.read(path, sweep):  # raises for another sweep's
            pass
        return Rows(path, sweep)
    with Journal(part_of(path), sweep, resume=resume) as journal:
        progress = _Progress(sweep.runs, journal.done, on_progress)
        for played in engine(sweep, _chunks(journal.missing(), chunk)):
            journal.add(played)
            progress.tell(journal.done)
        with written_whole(path) as file:
            rows.write(file, journal.rows(), sweep, parquet=rows.is_parquet(path))
        # Only when the rows stand under their own name: an interrupt before that loses none.
        journal.remove()
    return Rows(path, sweep)


def _chunks(runs: Iterator[int], size: int) -> Iterator[Chunk]:
    return iter(lambda: tuple(islice(runs, size)), ())


class _Progress:
    """Progress of a sweep, and an estimate of the rest from its pace so far."""

    def __init__(self, runs: int, done: int, tell: OnProgress | None) -> None:
        self._runs, self._before, self._tell = runs, done, tell
        self._began = time.monotonic()
        self.tell(done)

    def tell(self, done: int) -> None:
        """Say it."""
        if self._tell is not None:
            # Runs of an earlier try took none of this time.
            played, passed = done - self._before, time.monotonic() - self._began
            left = passed / played * (self._runs - done) if played else None
            self._tell(done, self._runs, left)
