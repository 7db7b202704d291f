from virtiomem.clock import Clock


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
