from typing import Any

import pytest

from tests.refused import refused
from virtiomem.clock import MAX_SECONDS, Clock

NO_TIMES = [-5, float("nan"), float("inf"), 1e300, 1 << 5000, True, None, "1"]


@pytest.mark.parametrize("seconds", NO_TIMES, ids=lambda seconds: str(seconds)[:9])
def test_time_runs_neither_backwards_nor_out_of_bounds(seconds: Any) -> None:
    clock = Clock()
    clock.advance(10)
    refused(clock.advance, seconds)
    refused(clock.after, seconds, lambda: None)
    clock.check()
    assert (clock.now, clock.next_due) == (10.0, None)


def test_time_ends_where_it_is_said_to() -> None:
    clock = Clock()
    clock.advance(MAX_SECONDS - 1)
    refused(clock.advance, 2)
    clock.advance(1)
    assert clock.now == MAX_SECONDS


def test_work_that_cannot_be_called_is_refused_at_once() -> None:
    clock = Clock()
    refused(clock.queue, None)
    refused(clock.after, 1, "work")
    refused(clock.cancel, 5)
    refused(clock.at, -1, print)
    refused(clock.advance_to, -1)
    clock.advance(2)


def test_timers_fire_in_order_and_work_they_queue_runs_first() -> None:
    clock = Clock()
    log: list[tuple[float, str]] = []

    def note(name: str) -> None:
        log.append((clock.now, name))

    def first() -> None:
        note("first")
        clock.queue(lambda: note("work"))

    clock.after(50, first)
    clock.after(50, lambda: note("second"))
    late = clock.after(100, lambda: note("late"))
    cancelled = clock.after(60, lambda: note("never"))
    clock.cancel(cancelled)
    clock.advance(70)
    clock.check()
    assert log == [(50.0, "first"), (50.0, "work"), (50.0, "second")]
    assert clock.now == 70.0
    assert clock.next_due == late.due == 100.0


def test_work_that_lets_time_pass_does_not_turn_it_back() -> None:
    clock = Clock()
    clock.after(1, lambda: clock.advance(100))
    clock.advance(10)
    assert clock.now == 101.0
