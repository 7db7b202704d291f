"""Tests against golden recordings one by one, or several at a time, each in a process of its own."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from virtiomem.errors import VirtiomemError
from virtiomem.recording.compare import Rules
from virtiomem.scenario.golden import DEFAULT_RULES, GoldenCase, GoldenOutcome, GoldenResult, OpenGuest, repeat


def repeat_all(
    tests: Sequence[GoldenCase],
    open_guest: OpenGuest | None = None,
    rules: Rules = DEFAULT_RULES,
    *,
    update: bool = False,
    fail_on_warn: bool = False,
    jobs: int = 1,
) -> Iterator[GoldenResult]:
    """Play tests one by one here, or `jobs` at a time, each in a process of its own; results come as they are ready."""
    work = partial(repeat, open_guest=open_guest, rules=rules, update=update, fail_on_warn=fail_on_warn)
    if jobs == 1:
        yield from map(work, tests)
        return
    waiting, running = deque(tests), dict[Connection, tuple[GoldenCase, SpawnProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                one = waiting.popleft()
                connection, process = _start(work, one)
                running[connection] = one, process
            for connection in set(running).intersection(wait(list(running))):
                one, process = running.pop(connection)
                yield _received(connection, one)
                process.join()
    finally:  # the rest is not wanted: each closes its guest, QEMU and all
        for _, process in running.values():
            # All are interrupted before the first is waited for: stopping a QEMU takes a moment.
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for _, process in running.values():
            process.join()


Work = Callable[[GoldenCase], GoldenResult]


def _start(work: Work, one: GoldenCase) -> tuple[Connection, SpawnProcess]:
    """Start a process that plays a test; what it found comes through the connection, which then ends.

    It is spawned, not forked: a fork would copy the progress line's thread in whatever state that is. An interrupt is held
    back, from before it starts until it is ready for one.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, one, theirs))
    resource_tracker.ensure_running()  # which lets interrupts through again once it has started its process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # Also in this process: while one copy is open, recv() does not notice that the other process was killed.
        theirs.close()
    return ours, process


def _work(work: Work, one: GoldenCase, connection: Connection) -> None:
    """Play a test in this process, which is all that it is for."""
    with suppress(KeyboardInterrupt):
        # What was held back comes now, where it is suppressed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            connection.send(work(one))
        except VirtiomemError as error:  # the golden recording cannot be written
            connection.send(error)


def _received(connection: Connection, one: GoldenCase) -> GoldenResult:
    """Return the result of a process; raises what it raised."""
    with connection:
        try:
            received = connection.recv()
        except EOFError:
            why = "the process that played it was killed (too little memory for that many --jobs?)"
            return GoldenResult(one.name, one.path, GoldenOutcome.NOT_PLAYED, why)
    if isinstance(received, VirtiomemError):
        raise received
    assert isinstance(received, GoldenResult)
    return received
