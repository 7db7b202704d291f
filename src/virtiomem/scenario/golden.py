"""Scenarios with golden recordings next to them, played again: does the guest still do the same?

A test is two files: a scenario ``NAME.toml``, and ``NAME.json``, a recording of the guest that did right. The embedded guest
starts where a real Linux started, when the golden recording is one's, and as the release that it names.

Where memory in use lies, and the kernel's own pages, is each kernel's choice. Where a real one differs from a golden recording
that the model can explain, it is therefore held against the model with the pages where this kernel had them.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from virtiomem import recording
from virtiomem.errors import KernelPanic, UsageError, VirtiomemError
from virtiomem.files import is_directory, is_there
from virtiomem.guest.base import Guest
from virtiomem.recording import Recording
from virtiomem.recording.compare import RecordingDifference, Rules, compare, differences
from virtiomem.recording.complaints import complaints
from virtiomem.recording.describe import describe, guests_apart, how_it_went
from virtiomem.recording.pages import looked_at
from virtiomem.recording.values import Use
from virtiomem.scenario.play import embedded_guest, follow, like, play, play_again
from virtiomem.scenario.toml_file import load
from virtiomem.scenario.values import Scenario
from virtiomem.text import shown
from virtiomem.writing import check_writable

SUFFIX = ".toml"
GOLDEN = ".json"

DEFAULT_RULES = Rules()

OpenGuest = Callable[[Scenario], Guest]
"""Starts the guest that plays; None in its place is the embedded one."""


class GoldenOutcome(StrEnum):
    """Outcome of a test."""

    SAME = "same"
    DIFFERENT = "different"
    NO_GOLDEN = "no golden"
    PANICKED = "panicked"
    """The guest's kernel gave up in a step."""
    WARNED = "warned"
    """All the same, but the kernel complained of itself (recording.complaints), and that was to count."""
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
    """A scenario that has been read, and where its golden recording is or would be; `golden` is None where it is missing.

    `kept`: where to keep the recording of what is played.
    """

    played: Scenario
    path: Path
    golden: Recording | None
    kept: Path | None = None

    @property
    def name(self) -> str:
        """The scenario's file."""
        return self.played.source


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """Result of one test; `what` says it in words, `difference` has the first one, `said` a lost guest's last lines.

    `notes` add what helps; `complaints` are the kernel's own, by step; `guests` describe the golden recording's and the
    one that played.
    """

    name: str
    golden: Path
    outcome: GoldenOutcome
    what: str
    seconds: float = 0.0
    difference: RecordingDifference | None = None
    notes: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    guests: tuple[dict[str, Any] | None, dict[str, Any] | None] = (None, None)
    said: tuple[str, ...] = ()


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
        elif not (found[0].suffix or is_there(place)):
            raise UsageError(f"{shown(place)}: no such file or directory")
        elif found[0].suffix != SUFFIX:
            raise UsageError(f"{shown(place)}: a scenario's name must end with {SUFFIX}, its recording is NAME{GOLDEN}")
        for path in found:
            # Resolved to read no scenario twice; messages have the name that was given.
            paths.setdefault(path.resolve(), path)
    return [_read(path, kernel) for path in paths.values()]


def _read(path: Path, kernel: str | None) -> GoldenCase:
    golden = path.with_suffix(GOLDEN)
    return GoldenCase(load(path, kernel=kernel), golden, recording.load(golden) if is_there(golden) else None)


def keep_in(directory: str, tests: Sequence[GoldenCase]) -> list[GoldenCase]:
    """The tests, to keep what is played of each as NAME.json in a directory, in subdirectories as their scenarios are.

    The directories are made. Raises UsageError for one that cannot be made, and for a place that has the golden recording.
    """
    # Resolved: a `..` in a name would lead out of the directory.
    above = os.path.commonpath([one.path.resolve().parent for one in tests])
    return [
        replace(one, kept=_place(Path(directory, one.path.resolve().relative_to(above)), one.path)) for one in tests
    ]


def _place(kept: Path, golden: Path) -> Path:
    """Make room for a recording next to no golden one."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{shown(kept.parent)}: {error.strerror}") from None
    check_writable(kept, inputs=[golden])
    return kept


def repeat(
    one: GoldenCase,
    open_guest: OpenGuest | None = None,
    rules: Rules = DEFAULT_RULES,
    *,
    update: bool = False,
    fail_on_warn: bool = False,
) -> GoldenResult:
    """Play a scenario and compare with its golden recording; `update` writes that where it is missing or different.

    `fail_on_warn`: a kernel that complains of itself has not passed. Raises UsageError when a recording cannot be written.
    """
    began, lost = time.monotonic(), GoldenOutcome.NOT_PLAYED
    try:
        with closing(_guest(one, open_guest)) as guest:
            lost = GoldenOutcome.PANICKED  # a kernel that gives up before the first step was not tried
            done = play(one.played, guest)
    except VirtiomemError as error:
        outcome = lost if isinstance(error, KernelPanic) else GoldenOutcome.NOT_PLAYED
        result = GoldenResult(one.name, one.path, outcome, str(error), said=getattr(error, "said", ()))
    else:
        if one.kept is not None:
            # Before it is judged: what was played is kept whatever the verdict.
            recording.dump(done, one.kept)
        result = _judge(one, done, rules)
        if update and result.outcome is not GoldenOutcome.SAME:
            recording.dump(done, one.path)
            was = f"{result.outcome} at {result.what}" if result.difference else result.outcome
            notes = (*result.notes, *_newly_refused(one.golden, done))
            result = replace(result, outcome=GoldenOutcome.UPDATED, what=f"{_went(done)}; was {was}", notes=notes)
        if fail_on_warn and result.complaints and result.outcome.passed:
            result = replace(result, outcome=GoldenOutcome.WARNED)
    return replace(result, seconds=time.monotonic() - began)


def _newly_refused(golden: Recording | None, done: Recording) -> list[str]:
    """Say which steps the golden recording expects to be refused from now on: a mistake, as likely as not."""
    before = [record.error for record in golden.steps] if golden is not None else []
    return [
        f"step {number} is refused, and the golden recording now expects it: {record.error}"
        for number, record in enumerate(done.steps, 1)
        # A slice: the golden recording may have fewer steps.
        if record.error is not None and before[number - 1 : number] != [record.error]
    ]


def _guest(one: GoldenCase, open_guest: OpenGuest | None) -> Guest:
    """Start who plays: where the golden recording is a real guest's, the embedded one starts where that started."""
    if open_guest is not None:
        return open_guest(one.played)
    golden = one.golden
    # A scenario that names a kernel is played on that one, whatever the golden recording was made with.
    played = one.played if golden is None or one.played.guest.kernel else like(one.played, golden.guest)
    # A real kernel's boot cannot be predicted in all its lines; an embedded one's is made again as it was.
    boot = golden.boot if golden is not None and golden.guest.get("kind") == "linux" else None
    return embedded_guest(played, boot)


def _judge(one: GoldenCase, done: Recording, rules: Rules) -> GoldenResult:
    """Compare what was played with the golden recording."""
    said = tuple(complaints(done))
    result = GoldenResult(
        one.name, one.path, GoldenOutcome.SAME, _went(done), complaints=said, guests=(None, done.guest)
    )
    if (golden := one.golden) is None:
        what = f"{result.what}; no {shown(one.path.name)} next to it (--update writes it)"
        return replace(result, outcome=GoldenOutcome.NO_GOLDEN, what=what)
    found, notes = list(differences(golden, done, rules)), []
    # Only where the model explains the golden recording, too: else a wrong model could excuse a wrong kernel.
    if found and looked_at(done):
        if (unexplained := compare(golden, play_again(one.played, golden), rules)) is None:
            notes.append(
                f"the model, with the pages where this kernel had them: from {found[0].place} on they lie elsewhere"
            )
            found = list(differences(_followed(one.played, golden, done), done, rules))
        else:
            notes.append(
                f"where pages lay counts as a difference: the model does not explain the golden recording, from "
                f"{unexplained.place} on"
            )
    result = replace(result, guests=(golden.guest, done.guest))
    if not found:
        return replace(result, notes=tuple(notes))
    first, steps = found[0], len({each.step for each in found})
    if apart := guests_apart(golden.guest, done.guest):
        notes.append(f"the guests differ: {', '.join(apart)}")
    if not looked_at(done) and any(isinstance(record.step, Use) for record in done.steps[: first.step]):
        notes.append("where `use` finds its memory is each kernel's own choice")
    more = f"; {steps} of {len(done.steps)} steps differ" if steps > 1 else ""
    what = f"{first.place}: {first.what}{more}"
    return replace(result, outcome=GoldenOutcome.DIFFERENT, what=what, difference=first, notes=tuple(notes))


def _followed(played: Scenario, golden: Recording, done: Recording) -> Recording:
    """The model of the golden recording's guest, with the memory, and the pages, of the one that has played."""
    memory = {key: value for key, value in done.guest.items() if key == "free"}
    return follow(like(played, golden.guest | memory), done)


def _went(done: Recording) -> str:
    """Describe how it went, with the first step that was refused."""
    refused = next((number for number, record in enumerate(done.steps, 1) if record.error is not None), None)
    which = f" (first: step {refused}, {describe(done.steps[refused - 1].step)})" if refused else ""
    return f"{how_it_went(done.steps)}{which}"
