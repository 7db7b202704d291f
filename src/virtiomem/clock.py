"""Virtual time: a timer heap and a work queue. Nothing in the cores reads the real clock.

Work runs first, in the order it was queued; a timer fires only when no work is left and time is let pass.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from virtiomem import border

MAX_SECONDS = 1e9
"""How far virtual time goes, 31 years: beyond, a float would lose the fractions."""

Callback = Callable[[], None]


class Timer:
    """A pending expiry, which `Clock.cancel` disarms.

    `due`: virtual seconds since the clock started.
    """

    __slots__ = ("armed", "due", "work")

    def __init__(self, due: float, work: Callback) -> None:
        self.due = due
        self.work = work
        self.armed = True


class Clock:
    """Virtual time in seconds, starting at 0. It never runs backwards, and not beyond `MAX_SECONDS`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._ticket = count()

    def __repr__(self) -> str:
        armed = sum(timer.armed for _, _, timer in self._timers)
        return f"<Clock: {self.now:g} s, {len(self._queue)} queued, {armed} timers>"

    def queue(self, work: Callback) -> None:
        """Run `work` once everything queued before it has run (queue_work on a system workqueue)."""
        border.function("work", work)
        self._queue.append(work)

    def after(self, seconds: float, work: Callback) -> Timer:
        """Run `work` when `seconds` have passed; timers due at the same time fire in the order they were set.

        Raises ArgumentError when that is before now or beyond `MAX_SECONDS`.
        """
        border.real("seconds", seconds, 0, MAX_SECONDS)
        return self.at(self.now + seconds, work)

    def at(self, due: float, work: Callback) -> Timer:
        """Run `work` at a time that is not before now: see `after`."""
        # Twice the limit: `after` may be called at the very end of time. Such a timer never fires.
        border.real("due", due, self.now, 2 * MAX_SECONDS)
        border.function("work", work)
        timer = Timer(due, work)
        # The ticket decides between timers of one time, and keeps the heap from comparing the timers themselves.
        heapq.heappush(self._timers, (timer.due, next(self._ticket), timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Disarm a timer; harmless when it has fired."""
        border.instance("timer", timer, Timer)
        # It stays in the heap until it is the first one (`next_due`): to find it now would take a search.
        timer.armed = False

    @property
    def next_due(self) -> float | None:
        """When the next armed timer expires, in virtual seconds; None when no timer is armed."""
        while self._timers and not self._timers[0][2].armed:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def run_until_idle(self) -> None:
        """Run queued work until none is left; time stands still."""
        while self._queue:
            self._queue.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, firing timers on the way and running the work they queue.

        Raises ArgumentError when time would run backwards or beyond `MAX_SECONDS`.
        """
        border.real("seconds", seconds, 0, MAX_SECONDS - self.now)
        # now + (MAX_SECONDS - now) may be rounded up to more than MAX_SECONDS, which `advance_to` refuses.
        self.advance_to(min(self.now + seconds, MAX_SECONDS))

    def advance_to(self, end: float) -> None:
        """Let time pass until `end`: see `advance`."""
        border.real("end", end, self.now, MAX_SECONDS)
        self.run_until_idle()
        # What was queued before belongs to the old time, so it ran first: it may have set a timer that is due on the
        # way.
        while (due := self.next_due) is not None and due <= end:
            self.now = due
            timer = heapq.heappop(self._timers)[2]
            timer.armed = False
            timer.work()
            self.run_until_idle()
        self.now = max(end, self.now)  # work may have let time pass by itself

    def check(self) -> None:
        """Assert that no armed timer lies in the past."""
        assert all(due >= self.now for due, _, timer in self._timers if timer.armed), "an armed timer is overdue"
