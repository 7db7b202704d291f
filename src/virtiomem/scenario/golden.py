"""Scenarios with golden recordings next to them, played again: does the guest still do the same?

A test is two files: a scenario ``NAME.toml``, and ``NAME.json``, a recording of the guest that did right. The embedded guest
starts where a real Linux started, when the golden recording is one's, and as the release that it names.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from virtiomem import badge, junit, recording
from virtiomem.errors import UsageError, VirtiomemError
from virtiomem.files import is_directory, is_there
from virtiomem.guest.base import Guest
from virtiomem.recording import Recording
from virtiomem.recording.compare import RecordingDifference, Rules, compare
from virtiomem.recording.describe import how_it_went
from virtiomem.scenario.play import embedded_guest, like, play
from virtiomem.scenario.toml_file import load
from virtiomem.scenario.values import Scenario
from virtiomem.text import shown

SUFFIX = ".toml"
GOLDEN = ".json"

_DEFAULT = Rules()

OpenGuest = Callable[[Scenario], Guest]
"""Starts the guest that plays; None in its place is the embedded one."""


class GoldenOutcome(StrEnum):
    """Outcome of a test."""

    SAME = "same"
    DIFFERENT = "different"
    NO_GOLDEN = "no golden"
    NOT_PLAYED = "not played"
    """The guest refused the scenario, or was lost."""
    UPDATED = "updated"
    """The golden recording was written, for it was missing or different."""

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return self in (GoldenOutcome.SAME, GoldenOutcome.UPDATED)


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """A scenario that has been read, and where its golden recording is or would be; `golden` is None where it is missing."""

    played: Scenario
    path: Path
    golden: Recording | None

    @property
    def name(self) -> str:
        """The scenario's file."""
        return self.played.source


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """Result of one test; `what` says it in words, `difference` has the first one."""

    name: str
    golden: Path
    outcome: GoldenOutcome
    what: str
    seconds: float
    difference: RecordingDifference | None = None


def find(places: Iterable[str], *, kernel: str | None = None) -> list[GoldenCase]:
    """The tests of files and directories, read, each once; of a directory every scenario below it, by name.

    `kernel`: the release of Linux to play them on instead of the one that they name.

    Raises UsageError for a file that cannot be read or is wrong, and for a directory without a scenario.
    """
    paths: dict[Path, Path] = {}
    for place in places:
        found = [Path(place)]
        if is_directory(place):
            found = sorted(Path(place).rglob(f"*{SUFFIX}"))
            if not found:
                raise UsageError(f"{shown(place)}: no scenario (NAME{SUFFIX}) in this directory or below")
        elif found[0].suffix != SUFFIX:
            raise UsageError(f"{shown(place)}: a scenario's name must end with {SUFFIX}, its recording is NAME{GOLDEN}")
        for path in found:
            paths.setdefault(path.resolve(), path)
    return [_read(path, kernel) for path in paths.values()]


def _read(path: Path, kernel: str | None) -> GoldenCase:
    golden = path.with_suffix(GOLDEN)
    return GoldenCase(load(path, kernel=kernel), golden, recording.load(golden) if is_there(golden) else None)


def repeat(
    one: GoldenCase, open_guest: OpenGuest | None = None, rules: Rules = _DEFAULT, *, update: bool = False
) -> GoldenResult:
    """Play a scenario and compare with its golden recording; `update` writes that where it is missing or different.

    Raises UsageError when the golden recording cannot be written.
    """
    began = time.monotonic()
    try:
        done = _play(one, open_guest)
    except VirtiomemError as error:
        return GoldenResult(one.name, one.path, GoldenOutcome.NOT_PLAYED, str(error), time.monotonic() - began)
    difference = None if one.golden is None else compare(one.golden, done, rules)
    outcome, what = GoldenOutcome.SAME, how_it_went(done.steps)
    if difference is not None:
        outcome, what = GoldenOutcome.DIFFERENT, f"{difference.place}: {difference.what}"
    elif one.golden is None:
        outcome, what = (
            GoldenOutcome.NO_GOLDEN,
            f"{how_it_went(done.steps)}; no {shown(one.path.name)} next to it (--update writes it)",
        )
    if update and outcome is not GoldenOutcome.SAME:
        recording.dump(done, one.path)
        what = f"{how_it_went(done.steps)}; was {outcome}{f' at {what}' if difference else ''}"
        outcome = GoldenOutcome.UPDATED
    return GoldenResult(one.name, one.path, outcome, what, time.monotonic() - began, difference)


def _play(one: GoldenCase, open_guest: OpenGuest | None) -> Recording:
    """Play a scenario: where the golden recording is a real guest's, the embedded one starts where that started."""
    if open_guest is not None:
        guest = open_guest(one.played)
    else:
        golden = one.golden
        # A scenario that names a kernel is played on that one, whatever the golden recording was made with.
        played = one.played if golden is None or one.played.guest.kernel else like(one.played, golden.guest)
        boot = golden.boot if golden is not None and golden.guest.get("kind") == "linux" else None
        guest = embedded_guest(played, boot)
    with closing(guest):
        return play(one.played, guest)


def repeat_all(
    tests: Sequence[GoldenCase],
    open_guest: OpenGuest | None = None,
    rules: Rules = _DEFAULT,
    *,
    update: bool = False,
    jobs: int = 1,
) -> Iterator[GoldenResult]:
    """Play tests one by one here, or `jobs` at a time, each in a process of its own; results come as they are ready."""
    if jobs == 1:
        yield from (repeat(one, open_guest, rules, update=update) for one in tests)
        return
    work = partial(repeat, open_guest=open_guest, rules=rules, update=update)
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
        theirs.close()
    return ours, process


def _work(work: Work, one: GoldenCase, connection: Connection) -> None:
    """Play a test in this process, which is all that it is for."""
    with suppress(KeyboardInterrupt):
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
            return GoldenResult(one.name, one.path, GoldenOutcome.NOT_PLAYED, why, 0.0)
    if isinstance(received, VirtiomemError):
        raise received
    assert isinstance(received, GoldenResult)
    return received


def counts(results: Sequence[GoldenResult]) -> dict[str, int]:
    """Count the tests of each outcome, without outcomes that no test had."""
    each = {outcome: sum(result.outcome is outcome for result in results) for outcome in GoldenOutcome}
    return {outcome.value: count for outcome, count in each.items() if count}


def to_dict(results: Sequence[GoldenResult]) -> dict[str, Any]:
    """The results as JSON has them."""
    return {
        "passed": all(result.outcome.passed for result in results),
        "counts": counts(results),
        "tests": [
            {
                "scenario": result.name,
                "golden": str(result.golden),
                "outcome": result.outcome.value,
                "what": result.what,
                "difference": asdict(result.difference) if result.difference else None,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def to_junit(results: Sequence[GoldenResult], name: str) -> bytes:
    """The results as JUnit XML: what differs or has no golden recording failed, what was not played is an error."""
    return junit.to_junit(name, [_case(result) for result in results])


def to_badge(results: Sequence[GoldenResult], name: str) -> bytes:
    """The counts as a badge (SVG)."""
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts(results).items())
    return badge.to_svg(name, counted, good=all(result.outcome.passed for result in results))


def _case(result: GoldenResult) -> junit.JunitCase:
    fault = None
    if not result.outcome.passed:
        tag = "error" if result.outcome is GoldenOutcome.NOT_PLAYED else "failure"
        beside = result.difference
        text = f"golden: {beside.a}\nplayed: {beside.b}" if beside else ""
        fault = junit.Fault(tag, result.what, result.outcome.value, text)
    path = Path(result.name)
    return junit.JunitCase(str(path.parent), path.stem, fault, "" if fault else result.what, result.seconds)
