from virtiomem.driver.retry import interval
from virtiomem.vm.timer import RetryTimer


def test_interval_doubles_to_five_minutes() -> None:
    assert [interval(n) for n in range(6)] == [50, 100, 200, 300, 300, 300]


def test_retries_without_progress_come_at_50_150_350_650() -> None:
    timer = RetryTimer(0.0, certain=True)
    assert [timer.due(now) for now in (0, 49, 51, 149, 151, 351, 651)] == [50, 50, 150, 150, 350, 650, 950]


def test_progress_restarts_the_current_interval() -> None:
    timer = RetryTimer(0.0, certain=True)
    timer.passed(3.0)
    assert timer.due(10.0) == 53.0
    timer.passed(54.0)  # what the first retry achieved; the interval stays doubled
    assert timer.due(60.0) == 154.0


def test_unsettled_start_promises_only_the_longest_interval() -> None:
    assert RetryTimer(0.0, certain=False).due(1.0) == 300.0
