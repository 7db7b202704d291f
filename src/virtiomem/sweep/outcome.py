"""One run, played on the embedded guest, and the row that it makes."""

from dataclasses import dataclass, field

from virtiomem.errors import VirtiomemError
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.kdump.ranges import kernel_ranges
from virtiomem.kdump.room import size_of
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.recording.describe import numbers
from virtiomem.recording.values import Resize, Step, Use, Wait
from virtiomem.scenario.play import embedded_guest
from virtiomem.scenario.values import Scenario
from virtiomem.sweep.rows import Outcome
from virtiomem.sweep.sweep import Sweep
from virtiomem.text import one_line

_NOTES = 3
"""Program headers in addition to the ranges: a CPU's note, vmcoreinfo, the kernel's own mapping."""


def play(sweep: Sweep, run: int) -> Outcome:
    """Play a run; one that fails is an outcome, too, which says why."""
    try:
        return _play(sweep.scenario(run))
    except VirtiomemError as error:
        return Outcome(error=str(error))
    # A fault of the program costs one run and not the sweep; an interrupt, or no memory, ends the sweep.
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return Outcome(error=one_line(f"{type(error).__name__}: {error}"))


def _play(scenario: Scenario) -> Outcome:
    guest = embedded_guest(scenario)
    seen = _Seen(guest)
    for step in scenario.steps:
        seen.play(step)
    return seen.outcome()


@dataclass(slots=True)
class _Shrink:
    """Shrinking of a device since it last grew."""

    start: int
    least: int
    requested: int


@dataclass(slots=True)
class _Seen:
    """A guest that plays, and what was seen of it so far; sizes in bytes, times in virtual seconds."""

    guest: EmbeddedGuest
    requests: int = 0
    refused: int = 0
    out_of_memory: int = 0
    asked_back: int = 0
    came_back: int = 0
    peak: int = 0
    most_blocks: int = 0
    settle: float = 0.0
    unsettled: int = 0
    _shrinks: dict[str, _Shrink] = field(default_factory=dict)
    _resized: dict[str, float] = field(default_factory=dict)
    """When each device that is not yet at its requested size was resized."""

    def play(self, step: Step) -> None:
        """Do one step. While a device is short of its size, a wait is cut where its driver tries again, to see when it
        has it.
        """
        if not isinstance(step, Wait):
            self._act(step)
            return
        left = step.seconds
        while self._resized and (due := self.guest.retry_in) is not None and 0 < due < left:
            self._act(Wait(seconds=due))
            left -= due
        self._act(Wait(seconds=left))

    def _act(self, step: Step) -> None:
        if isinstance(step, Resize):
            self._before_resize(step)
        refused = self.guest.act(step) is not None
        self.requests += self.guest.requests_sent
        # A workload that finds no memory is what is asked about; any other refusal is the scenario's.
        if refused and isinstance(step, Use):
            self.out_of_memory += 1
        elif refused:
            self.refused += 1
        now, sizes = self.guest.kernel.clock.now, {device.id: device.owner.size() for device in self.guest.devices}
        for device in self.guest.devices:
            size = sizes[device.id]
            if (shrink := self._shrinks.get(device.id)) is not None:
                shrink.least = min(shrink.least, size)
            if device.id in self._resized and size == device.owner.requested_size():
                self.settle = max(self.settle, now - self._resized.pop(device.id))
        self.peak = max(self.peak, sum(sizes.values()))
        self.most_blocks = max(self.most_blocks, len(self.guest.kernel.memory.blocks))

    def _before_resize(self, step: Resize) -> None:
        """A shrink begins, goes on, or is over."""
        device = next((device for device in self.guest.devices if device.id == step.device), None)
        if device is None:
            return
        size = device.owner.size()
        shrink = self._shrinks.get(step.device)
        # A shrink in several steps is one: only growing again ends it.
        if shrink is not None and step.requested_size > shrink.requested:
            self._end(self._shrinks.pop(step.device))
            shrink = None
        if shrink is not None:
            shrink.requested = int(step.requested_size)
        elif step.requested_size < size:
            self._shrinks[step.device] = _Shrink(size, size, int(step.requested_size))
        # The size before was never reached, so it has no time that could be counted.
        if self._resized.pop(step.device, None) is not None:
            self.unsettled += 1
        self._resized[step.device] = self.guest.kernel.clock.now

    def _end(self, shrink: _Shrink) -> None:
        self.asked_back += shrink.start - shrink.requested
        # A reboot unplugs everything: what went below the requested size was not asked for.
        self.came_back += shrink.start - max(shrink.least, shrink.requested)

    def outcome(self) -> Outcome:
        """The outcome, when all steps are played."""
        for shrink in self._shrinks.values():
            self._end(shrink)
        memory, devices = self.guest.kernel.memory, self.guest.devices
        added = self.most_blocks - len(self.guest.kernel.boot_blocks)
        left = _left(self.guest.reasons())
        ranges = len(kernel_ranges(memory.iomem, memory.release, limit=None, architecture=memory.architecture).ranges)
        return Outcome(
            release=memory.release.name,
            asked_back=self.asked_back,
            came_back=self.came_back,
            peak=self.peak,
            plugged=sum(device.owner.size() for device in devices),
            wanted=sum(device.owner.requested_size() for device in devices),
            settle_seconds=self.settle,
            unsettled=self.unsettled + len(self._resized),
            requests=self.requests,
            refused=self.refused,
            out_of_memory=self.out_of_memory,
            left_unmovable=len({*left[ReasonKind.IN_USE], *left[ReasonKind.HELD_BY_MEMMAP]}),
            left_no_room=len(left[ReasonKind.IN_USE_NO_ROOM]),
            left_refused=len(left[ReasonKind.BLOCK_REFUSED]),
            left_blocks=numbers(block for blocks in left.values() for block in blocks) or None,
            memmap=added * memory.vmemmap.block_pages * memory.page_size,
            crash_ranges=ranges,
            crash_header=size_of(ranges + _NOTES),
        )


_LEFT = (ReasonKind.IN_USE, ReasonKind.HELD_BY_MEMMAP, ReasonKind.IN_USE_NO_ROOM, ReasonKind.BLOCK_REFUSED)


def _left(reasons: list[Reason]) -> dict[ReasonKind, list[int]]:
    """Memory blocks that stay, by the reason."""
    return {kind: [reason.values["block"] for reason in reasons if reason.kind is kind] for kind in _LEFT}
