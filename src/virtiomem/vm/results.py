"""Options and results of a resize, as values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from virtiomem.driver import retry
from virtiomem.reasons import Reason
from virtiomem.vm.inside import Seen
from virtiomem.vm.plan import Spread
from virtiomem.vm.progress import Track

STALL_SECONDS = retry.FIRST + 10
"""Long enough for the driver's first retry to have had its chance."""
POLL_SECONDS = 1.0
"""Seconds between two looks, in case an event was missed; a hypervisor sends at most one per second and device."""


class ResizeOutcome(StrEnum):
    """Ways a resize can end."""

    DONE = "done"
    PLUGGED = "plugged"
    """The devices have it; whether the guest has it online was not seen."""
    STARTED = "started"
    """Set, not waited for."""
    PARTLY = "partly done"
    TIMED_OUT = "timed out"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    """Another client set another requested-size meanwhile."""
    LOST = "lost"
    """The machine or the connection went away."""
    INTERRUPTED = "interrupted"

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    ResizeOutcome.DONE: 0,
    ResizeOutcome.STARTED: 0,
    # Not 0: memory that the device has plugged and the guest may have left offline is not what was asked for.
    ResizeOutcome.PLUGGED: 64,
    ResizeOutcome.PARTLY: 64,
    # As timeout(1) of coreutils.
    ResizeOutcome.TIMED_OUT: 124,
    ResizeOutcome.REFUSED: 1,
    ResizeOutcome.SUPERSEDED: 1,
    ResizeOutcome.LOST: 1,
    # 128 + SIGINT, as a shell says it.
    ResizeOutcome.INTERRUPTED: 130,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPolicy:
    """Patience of a resize: how long to wait and what to do then; seconds."""

    wait: bool = True
    online: bool = True
    """New memory is waited for until the guest has it online; else until the device has plugged it."""
    timeout: float | None = None
    stall: float = STALL_SECONDS
    poll: float = POLL_SECONDS
    rollback: bool = False
    spread: Spread = field(default_factory=Spread)
    redispatch: bool = False
    """What a stuck device lacks goes to the others."""
    steps: bool = False
    """Growth comes in steps whose struct pages fit, each once the one before is online."""


class DeviceResult(Struct, frozen=True):
    """One device before and after, in bytes; a size that the hypervisor does not tell is None."""

    id: str
    node: int
    size_before: int | None
    size: int | None
    requested_before: int
    requested: int


@dataclass(frozen=True, slots=True)
class ResizeResult:
    """Result of the resize of one machine, and its state then."""

    vm: str
    outcome: ResizeOutcome
    seconds: float
    devices: tuple[DeviceResult, ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Reason, ...] = ()
    inside: Seen = Seen.NOT_LOOKED


@dataclass(frozen=True, slots=True)
class ResizeProgress:
    """Progress of a resize, for a display."""

    vm: str
    tracks: tuple[Track, ...]
    now: float
    """The backend's time."""
    waited: float
    """Seconds since the sizes were set."""
    inside: Seen = Seen.NOT_LOOKED


Reporter = Callable[[ResizeProgress], None]
