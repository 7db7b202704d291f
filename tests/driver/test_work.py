"""When the work function runs: on a clock, with passes that end as the test says."""

from collections.abc import Iterable

import pytest

from virtiomem.clock import Clock
from virtiomem.driver.work import RETRY_NOW_LIMIT, Work
from virtiomem.errors import Errno


class Passes:
    """A work function whose passes end with `ends`, then with OK; notes when each was made."""

    def __init__(self, *ends: Errno, progress: Iterable[int] = ()) -> None:
        self.clock = Clock()
        self.made: list[float] = []
        self.logged: list[str] = []
        self._ends = iter(ends)
        self._progress = iter(progress)
        self.work = Work(
            self.clock, self._pass, lambda: next(self._progress, 0), lambda _, text: self.logged.append(text)
        )

    def _pass(self) -> Errno:
        self.made.append(self.clock.now)
        return next(self._ends, Errno.OK)

    def run(self, seconds: float = 0) -> None:
        self.work.queue()
        self.clock.advance(seconds)


def test_it_is_queued_once_however_often_it_is_asked_to_run() -> None:
    passes = Passes()
    passes.work.queue()
    passes.run()
    assert passes.made == [0]
    passes.run()
    assert passes.made == [0, 0]


@pytest.mark.parametrize("rc", [Errno.EBUSY, Errno.ETXTBSY, Errno.ENOMEM])
def test_it_tries_again_after_50_seconds_then_twice_as_long_each_time_up_to_300(rc: Errno) -> None:
    passes = Passes(*[rc] * 6)
    passes.run(2000)
    assert passes.made == [0, 50, 150, 350, 650, 950, 1250]
    assert passes.work.retry_due is None


def test_a_pass_that_is_done_makes_the_next_wait_short_again() -> None:
    passes = Passes(Errno.EBUSY, Errno.EBUSY, Errno.OK, Errno.EBUSY)
    passes.run(200)
    passes.run()
    assert passes.work.retry_due == 250


def test_no_room_keeps_the_wait_as_long_as_it_has_become() -> None:
    passes = Passes(Errno.EBUSY, Errno.ENOSPC, Errno.EBUSY)
    passes.run(60)
    passes.run()
    assert passes.work.retry_due == 160


def test_asked_while_it_waits_it_runs_at_once_and_the_timer_starts_over() -> None:
    passes = Passes(Errno.EBUSY, Errno.EBUSY)
    passes.run(20)
    passes.run(49)
    assert (passes.made, passes.work.retry_due) == ([0, 20], 70)


def test_stopped_it_never_runs_again() -> None:
    passes = Passes(Errno.EBUSY)
    passes.run()
    passes.work.stop()
    assert (passes.work.retry_due, passes.clock.next_due) == (None, None)
    passes.run(1000)
    assert passes.made == [0]


def test_stopped_between_queue_and_run_it_does_not_run() -> None:
    passes = Passes()
    passes.work.queue()
    passes.work.stop()
    passes.clock.run_until_idle()
    assert passes.made == []


def test_an_error_it_does_not_know_is_the_end() -> None:
    passes = Passes(Errno.EINVAL)
    passes.run()
    passes.run(1000)
    assert (passes.made, passes.work.broken) == ([0], True)
    assert passes.logged == ["unknown error, marking device broken: -22"]


def test_a_device_that_gets_nowhere_is_asked_a_thousand_times_and_no_more() -> None:
    passes = Passes(*[Errno.EAGAIN] * (RETRY_NOW_LIMIT + 1))
    passes.run()
    assert len(passes.made) == RETRY_NOW_LIMIT
    assert passes.logged == ["the device refuses what its configuration allows"]


def test_a_device_that_gets_somewhere_is_asked_as_often_as_it_takes() -> None:
    passes = Passes(*[Errno.EAGAIN] * (2 * RETRY_NOW_LIMIT), progress=range(10 * RETRY_NOW_LIMIT))
    passes.run()
    assert len(passes.made) == 2 * RETRY_NOW_LIMIT + 1
    assert passes.logged == []
