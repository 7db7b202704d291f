"""A whole run in a terminal, as it goes: the guest, each step, and what it came to."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

from rich.console import Console
from rich.text import Text

from virtiomem.columns import flowing
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.recording.values import Recording, StepRecord, VirtioMemInfo
from virtiomem.report.block_runs import block_changes
from virtiomem.report.changes import map_changes
from virtiomem.report.moments import Moment, Source, boot_moment, next_moment
from virtiomem.report.terminal import steps, strip, totals
from virtiomem.report.terminal.console import join, text, width_of
from virtiomem.units import format_size


class RunView:
    """Shows a run: `header()`, then `step()` after each step, then `totals()`."""

    def __init__(self, console: Console, recording: Recording, *, verbose: bool = False) -> None:
        """`recording` grows while this view looks on; `verbose` shows every request and the driver's log."""
        self._console = console
        self._recording = recording
        self._verbose = verbose
        # What is in no device's region and was not there at boot was added by other means: it gets a strip of its own.
        self._boot_blocks = {block.block for block in recording.boot.memory_blocks}
        self._boot = self._last = self._most = boot_moment(Source("recording", recording))
        self._block_size = self._boot.block_size
        self._shown = self._most_at = 0

    def header(self) -> None:
        """Say which guest it is and which devices it has."""
        if self._recording.title:
            self._print(text(self._recording.title, "bold"))
        about = ", ".join(_about(self._recording.guest, self._block_size))
        for words in (about, *map(_device, self._boot.snapshot.virtio_mem)):
            for line in flowing("", words, width_of(self._console)):
                self._print(text(line, "dim"))

    def foreseen(self, cost: Reason) -> None:
        """Show, before the next step, what it will cost: where that does not fit, or everything is shown."""
        if self._verbose or cost.kind is ReasonKind.NO_ROOM_FOR_MEMMAP:
            self._print(Text())
            self._print(text(f"before step {self._shown + 1}: {cost}", "dim"))

    def step(self) -> None:
        """Show what came of the next step."""
        record = self._recording.steps[self._shown]
        self._shown += 1
        now = next_moment(self._last, record)
        self._print(Text())
        # Only a real guest takes time that says something: the embedded one counts virtual seconds.
        self._print(steps.heading(self._shown, record, took=self._recording.guest.get("kind") == "linux"))
        for line in self._lines(record, now):
            self._print(line)
        self._last = now
        # Strictly more: of several steps with as much, the first one is shown.
        if now.size > self._most.size:
            self._most, self._most_at = now, self._shown

    def _lines(self, record: StepRecord, now: Moment) -> Iterator[Text]:
        """Everything below a step's heading."""
        before = self._recording.steps[self._shown - 2] if self._shown > 1 else None
        yield from steps.reasons(record, before, self._console.width)
        yield from steps.every_request(record.requests) if self._verbose else steps.request_counts(record.requests)
        yield from steps.log(record, verbose=self._verbose)
        changes = map_changes(self._last.listing, now.listing)
        yield from steps.map_changes(changes, self._block_size, width_of(self._console))
        yield from steps.block_changes(self._last.blocks, now.blocks)
        yield from steps.partly_plugged(now.partly, self._block_size)
        yield from steps.crash_header(now.standing, self._last.standing)
        yield from self._strips(now)

    def totals(self) -> None:
        """Show the guest before the first step, when it had the most, and after the last."""
        states = {"at boot": self._boot}
        if self._most_at and self._most.size > self._last.size:
            states[f"after step {self._most_at}"] = self._most
        # Last: the boot next to it, where nothing was ever plugged between them.
        states["at the end"] = self._last
        self._print(Text())
        for line in totals.table(states):
            self._print(line)
        self._print(Text())
        self._print(totals.summary(self._recording))

    def _strips(self, now: Moment) -> list[Text]:
        """The strips of areas where any memory block is or was."""
        lines: list[Text] = []
        for area in strip.areas(now.snapshot, self._boot_blocks, self._block_size):
            before, after = (strip.pieces(area, runs) for runs in (self._last.blocks, now.blocks))
            if before != after:
                scale = self._strip(area, now, lines)
                part = strip.closer(area, block_changes(self._last.blocks, now.blocks), scale)
                if part is not None:
                    self._strip(part, now, lines)
        return lines

    def _strip(self, area: strip.Area, now: Moment, lines: list[Text]) -> int:
        """Add an area's strip and its legend to the lines; return how many blocks a character is."""
        made = strip.strip(strip.pieces(area, now.blocks), self._console.width - steps.INDENT - steps.LABEL)
        lines.append(steps.labelled(area.label, strip.draw(made)))
        lines.append(steps.labelled("", strip.legend(made, self._block_size)))
        return made.scale

    def _print(self, line: Text) -> None:
        self._console.print(line)


def _about(guest: dict[str, Any], block_size: int) -> list[str]:
    """Return what is known of a guest."""
    kind = guest.get("kind", "unknown")
    words = [f"{kind} guest"]
    for key, name in (("kernel", "Linux"), ("stands-in-for", "in place of"), ("qemu", "QEMU")):
        if key in guest:
            words.append(f"{name} {guest[key]}")
    if guest.get("kernel-assumed"):
        words[1] += " (assumed: the capture does not say)"
    if guest.get("command-line"):
        words.append(str(guest["command-line"]))
    return [*words, f"memory blocks of {format_size(block_size)}"]


def _device(device: VirtioMemInfo) -> str:
    """A device in a line."""
    return (
        f"{device.id}: {format_size(device.max_size)} at {device.memaddr:#x} in blocks of "
        f"{format_size(device.block_size)}, node {device.node}, {format_size(device.requested_size)} requested"
    )


def _title(name: str, recording: Recording) -> Text:
    """A run in a line: its name, its title, and the kernel where a real one ran."""
    title = f": {recording.title}" if recording.title else ""
    kernel = f" (Linux {recording.guest.get('kernel')})" if recording.guest.get("kind") == "linux" else ""
    return join([text(name, "bold"), text(title + kernel)])


def side_by_side(console: Console, recordings: dict[str, Recording]) -> None:
    """Show the ends of several runs, by name, next to each other: what devices changed in the listing, then totals.

    How each went comes last: a run that stopped short is not what its scenario says.
    """
    ends = {
        name: reduce(next_moment, recording.steps, boot_moment(Source(name, recording)))
        for name, recording in recordings.items()
    }
    lines = [_title(name, recording) for name, recording in recordings.items()]
    lines += [Text(), *totals.beside({name: totals.listing(totals.window(state)) for name, state in ends.items()})]
    lines += [Text(), *totals.table(ends), Text()]
    lines += [join([text(f"{name}: "), totals.summary(recording)]) for name, recording in recordings.items()]
    for line in lines:
        console.print(line)
