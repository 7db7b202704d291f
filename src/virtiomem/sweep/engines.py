"""Engines that play the runs of a sweep: this process, a pool of processes, or Dask. The rows are the same, their order is not.

An engine takes chunks (some runs together, so that a chunk is worth sending) and gives back outcomes. It has a few
chunks under way, never all of them: what a sweep takes in memory does not grow with its runs.

A worker that dies costs the chunks that it had. They are played again, one at a time, so that a run which kills its worker
is found; after two deaths the run has an outcome that says so.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import lru_cache
from importlib import import_module
from multiprocessing import active_children, get_context
from typing import Any

from virtiomem import __version__
from virtiomem.errors import BackendError, UsageError
from virtiomem.sweep import definition, outcome
from virtiomem.sweep.rows import Outcome
from virtiomem.sweep.sweep import Sweep
from virtiomem.text import one_line

Chunk = tuple[int, ...]
Played = Sequence[tuple[int, Outcome]]
Engine = Callable[[Sweep, Iterable[Chunk]], Iterator[Played]]
"""Plays the chunks of a sweep; gives back the outcomes of each, in any order."""

DEATHS = 2
"""Workers that may die of a run before it is given up."""
_UNDER_WAY = 3
"""Chunks for each worker, so that none waits for the next."""
_IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""For workers: an interrupt is their parent's, which ends them."""
_PATIENCE = 10.0
"""Seconds that a scheduler has to answer."""


def in_process(sweep: Sweep, chunks: Iterable[Chunk]) -> Iterator[Played]:
    """Play in this process, one run at a time."""
    for chunk in chunks:
        for run in chunk:
            yield [(run, outcome.play(sweep, run))]


def _play(text: bytes, digest: str, chunk: Chunk) -> Played:
    """In a worker: play some runs of the sweep that `text` is. Raises BackendError for a worker of another version."""
    sweep = _sweep(text)
    if sweep.digest != digest:
        # The digest has the version in it: only the same code makes the same rows.
        raise BackendError(f"a worker has virtiomem {__version__}, which is another than here: its rows would differ")
    return [(run, outcome.play(sweep, run)) for run in chunk]


@lru_cache(maxsize=1)
def _sweep(text: bytes) -> Sweep:
    return definition.loads(text)


def in_pool(workers: int) -> Engine:
    """Play in that many processes."""

    def play(sweep: Sweep, chunks: Iterable[Chunk]) -> Iterator[Played]:
        return _InPool(sweep, chunks, workers).play()

    return play


class _Lost:
    """Chunks whose worker died, to be played again one at a time."""

    def __init__(self) -> None:
        self._waiting: deque[Chunk] = deque()
        self._deaths: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def pop(self) -> Chunk:
        return self._waiting.popleft()

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Keep chunks that were lost with a worker: one of them may have killed it."""
        self._waiting.extend(chunks)

    def blame(self, chunk: Chunk) -> Played:
        """A chunk that was alone when its worker died: it is played again, run by run; a run that did it is given up."""
        if len(chunk) > 1:
            self._waiting.extendleft((run,) for run in reversed(chunk))
            return []
        self._deaths[chunk[0]] += 1
        if self._deaths[chunk[0]] < DEATHS:
            self._waiting.appendleft(chunk)
            return []
        return [(chunk[0], Outcome(error=f"the process that played it died, {DEATHS} times"))]


class _InPool:
    """A sweep in a pool, which is made again when it breaks: with one process that dies, a pool is gone."""

    def __init__(self, sweep: Sweep, chunks: Iterable[Chunk], workers: int) -> None:
        self._text = definition.dumps(sweep)
        self._digest = sweep.digest
        self._chunks = iter(chunks)
        self._workers = workers
        self._lost = _Lost()
        self._more = True

    def play(self) -> Iterator[Played]:
        while self._more or self._lost:
            alone = bool(self._lost)
            # A program that uses the library may have children of its own: those are not to be ended.
            others = set(active_children())
            # spawn, for the caller's program may have threads, whose locks a fork would copy as they are.
            pool = ProcessPoolExecutor(
                self._workers, mp_context=get_context("spawn"), initializer=exec, initargs=(_IGNORE_INTERRUPTS,)
            )
            under_way: dict[Future[Played], Chunk] = {}
            try:
                yield from self._in(pool, under_way, alone=alone)
            except BrokenProcessPool:
                gone = list(under_way.values())
                # Only a chunk that was alone is surely what killed its worker.
                if len(gone) == 1:
                    yield self._lost.blame(gone[0])
                else:
                    self._lost.add(gone)
            finally:
                for worker in set(active_children()) - others:
                    worker.terminate()  # what it plays is not waited for
                pool.shutdown(cancel_futures=True)

    def _in(
        self, pool: ProcessPoolExecutor, under_way: dict[Future[Played], Chunk], *, alone: bool
    ) -> Iterator[Played]:
        """Play in one pool until there is nothing more to play in it; `alone`, one chunk at a time, what was lost."""
        while True:
            # Alone: with two under way, a death would again leave two suspects.
            while len(under_way) < (1 if alone else _UNDER_WAY * self._workers):
                chunk = (self._lost.pop() if self._lost else None) if alone else next(self._chunks, None)
                if chunk is None:
                    # Alone, only what was lost is used up: the sweep's own chunks go on in the next pool.
                    self._more = self._more and alone
                    break
                under_way[pool.submit(_play, self._text, self._digest, chunk)] = chunk
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                # Before it is taken off: if its worker died, this raises, and `play` finds the chunk among the lost.
                played = future.result()
                del under_way[future]
                yield played


def on_dask(scheduler: str | None = None, *, workers: int = 0) -> Engine:
    """Play on a Dask cluster: the one at an address, or one of that many processes that is started here and ends with
    the sweep.

    Raises UsageError where Dask is not installed.
    """
    try:
        dask: Any = import_module("distributed")
    except ImportError:
        raise UsageError("--scheduler and --cluster need Dask: pip install 'virtiomem[dask]'") from None

    def play(sweep: Sweep, chunks: Iterable[Chunk]) -> Iterator[Played]:
        return _OnDask(dask, sweep, chunks, scheduler, workers).play()

    return play


class _OnDask:
    """A sweep on a cluster. Dask itself plays again, on another worker, what a lost one had."""

    def __init__(self, dask: Any, sweep: Sweep, chunks: Iterable[Chunk], scheduler: str | None, workers: int) -> None:
        self._dask = dask
        self._text = definition.dumps(sweep)
        self._digest = sweep.digest
        self._name = f"virtiomem-{sweep.digest}-{os.getpid()}"
        self._chunks = iter(chunks)
        self._scheduler = scheduler
        self._where = scheduler or "the cluster of this machine"
        self._workers = workers
        self._lost = _Lost()
        self._sent = 0

    def play(self) -> Iterator[Played]:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # else it logs each worker that comes and goes
        with ExitStack() as stack:
            try:
                # Entered after the cluster, so closed before it.
                client = stack.enter_context(self._dask.Client(self._cluster(stack), timeout=_PATIENCE))
            except (OSError, ValueError, TypeError, ImportError) as error:
                raise BackendError(one_line(f"{self._where}: no Dask scheduler answers: {error}")) from None
            yield from self._with(client)

    def _cluster(self, stack: ExitStack) -> Any:
        """The cluster to play on, or its address."""
        if self._scheduler is not None:
            return self._scheduler
        quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL, "preload": [_IGNORE_INTERRUPTS]}
        return stack.enter_context(self._dask.LocalCluster(n_workers=self._workers, threads_per_worker=1, **quiet))

    def _with(self, client: Any) -> Iterator[Played]:
        """Play with a client, as long as its scheduler is there."""
        under_way: dict[Any, Chunk] = {}
        results = self._dask.as_completed()
        # A scheduler keeps every task that it is given: a million at once would take its memory, and none would start.
        room = _UNDER_WAY * max(sum(client.nthreads().values()), 1)
        while True:
            while len(under_way) < room and (chunk := self._lost.pop() if self._lost else next(self._chunks, None)):
                self._sent += 1
                # pure=False: the same chunk, sent again after its worker was lost, is to be played and not looked up.
                future = client.submit(
                    _play, self._text, self._digest, chunk, pure=False, key=f"{self._name}-{self._sent}"
                )
                under_way[future] = chunk
                results.add(future)
            if not under_way:
                return
            future = next(results)
            yield self._result(future, under_way.pop(future))

    def _result(self, future: Any, chunk: Chunk) -> Played:
        """The outcomes of a chunk. Raises BackendError when the cluster is lost, or cannot play at all."""
        if future.status == "finished":
            played: Played = future.result()
            return played
        error = future.exception() if future.status == "error" else None
        if type(error).__name__ == "KilledWorker":  # Dask gave it up: too many workers died of it
            return self._lost.blame(chunk)
        told = str(error) if isinstance(error, BackendError) else f"{type(error).__name__}: {error}"
        reason = f"the scheduler is lost ({future.status})" if error is None else told
        raise BackendError(one_line(f"{self._where}: {reason}"))
