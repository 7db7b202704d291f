"""Measure how far a device is, how fast, and since when nothing moved: arithmetic over (time, size) samples."""

from collections import deque
from dataclasses import InitVar, dataclass, field

from virtiomem.vm.timer import RetryTimer

# Ten of the sizes that are reported, one per second: the rate follows a change and does not jump with each event.
_WINDOW = 10.0
"""Seconds over which the rate is taken."""


@dataclass(slots=True)
class Track:
    """One device on its way from `start` to `target`, in bytes; times are the backend's seconds.

    `began`: when it set out. `settled`: nothing was left to do then, so that the driver's retry interval is known.
    """

    device: str
    start: int
    target: int
    began: InitVar[float]
    settled: InitVar[bool] = True
    retry: RetryTimer = field(init=False)
    size: int = field(init=False)
    moved_at: float = field(init=False)
    """When it last came nearer to the target (or when the guest was reset)."""
    acted: bool = field(init=False, default=False)
    """Whether it came nearer since the guest was last reset: a driver is there."""
    _best: int = field(init=False)
    _samples: deque[tuple[float, int]] = field(init=False)

    def __post_init__(self, began: float, settled: bool) -> None:
        # Bounded by number as well: a hypervisor may push events without end within the window.
        self._samples = deque(maxlen=64)
        self.retry = RetryTimer(began, certain=settled)
        self._restart(began, self.start)

    def feed(self, now: float, size: int) -> bool:
        """Take a look into account; True when the device came nearer to its target than ever."""
        # Nearer than ever, not than last time: a size that goes to and fro must not put off the stall forever.
        nearer = abs(self.target - size) < abs(self.target - self._best)
        if nearer:
            self._best = size
            self.acted = True
            self.moved_at = now
            self.retry.passed(now)
        self.size = size
        self._samples.append((now, size))
        # Two stay in any case: a rate needs both ends, even of a device that moves once a minute.
        while len(self._samples) > 2 and self._samples[0][0] < now - _WINDOW:
            self._samples.popleft()
        return nearer

    def aim(self, now: float, target: int, size: int) -> None:
        """Take a new target into account: the driver acts on it at once, with its old interval unless it had reached
        its size.
        """
        # The pass that reached the size has set the interval back; any other size leaves it as long as it has become.
        if self.done:
            self.retry = RetryTimer(now, certain=True)
        self.retry.passed(now)
        self.target = target
        self._restart(now, size)

    def reset(self, now: float, size: int) -> None:
        """Start over after a guest reset, from what is plugged now and with a new driver."""
        self.retry = RetryTimer(now, certain=True)
        self.acted = False
        self._restart(now, size)

    def _restart(self, now: float, size: int) -> None:
        self.size = self._best = size
        self.moved_at = now
        self._samples.clear()
        self._samples.append((now, size))

    def retry_in(self, now: float) -> float | None:
        """Seconds until the driver tries again to give memory up, at the latest; None when it gives up no memory."""
        return self.retry.due(now) - now if self.size > self.target else None

    @property
    def done(self) -> bool:
        """True at the target."""
        return self.size == self.target

    @property
    def moved(self) -> bool:
        """True when anything was done of what was asked."""
        return abs(self.target - self.size) < abs(self.target - self.start)

    @property
    def remaining(self) -> int:
        """Bytes still to plug or unplug."""
        return abs(self.target - self.size)

    @property
    def fraction(self) -> float:
        """The part of the way from `start` to `target` that is done, from 0 to 1; 0 while it is further away than at
        the start.
        """
        way = abs(self.target - self.start)
        return 1.0 if self.done else max(0.0, 1 - self.remaining / way) if way else 0.0

    @property
    def rate(self) -> float:
        """Bytes a second towards the target, over the last seconds; 0 when it stands still."""
        (then, was), (now, size) = self._samples[0], self._samples[-1]
        gained = abs(self.target - was) - abs(self.target - size)
        return gained / (now - then) if now > then and gained > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds left at this rate; None when it stands still."""
        return self.remaining / self.rate if self.rate else None
