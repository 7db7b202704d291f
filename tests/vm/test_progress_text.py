"""Lines about a resize that takes a while."""

import pytest

from virtiomem.units import GiB
from virtiomem.vm.inside import Seen
from virtiomem.vm.progress import Track
from virtiomem.vm.progress_text import LINE_SECONDS, MAX_LINES, ProgressLines
from virtiomem.vm.results import ResizeProgress


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shrinking(seconds: int) -> Track:
    """A device that has given up 1G in each of 10 s, of 32G."""
    track = Track("vm0", 32 * GiB, 0, 0.0)
    for tens in range(1, seconds // 10 + 1):
        track.feed(tens * 10.0, (32 - tens) * GiB)
    return track


def test_line_comes_every_ten_seconds_with_rate_and_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    lines = ProgressLines(clock)
    for second in range(31):
        clock.now = float(second)
        lines(ResizeProgress("web", (shrinking(second),), clock.now, clock.now))
    assert capsys.readouterr().err.splitlines() == [
        "web/vm0: 1G of 32G given back after 10 s: 102.4M/s, 5 min left",
        "web/vm0: 2G of 32G given back after 20 s: 102.4M/s, 5 min left",
        "web/vm0: 3G of 32G given back after 30 s: 102.4M/s, 5 min left",
    ]


def test_many_devices_are_summed_up_and_offline_memory_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    lines = ProgressLines(clock)
    for number in range(100):
        lines(
            ResizeProgress(f"vm{number:02}", (shrinking(10),), 10.0, 10.0, Seen.OFFLINE if number == 7 else Seen.ONLINE)
        )
    clock.now = LINE_SECONDS
    lines(ResizeProgress("vm99", (shrinking(320),), 320.0, 320.0))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == MAX_LINES + 2
    assert said[-2:] == [
        "vm07: plugged, not online in the guest yet",
        "1 of 100 devices at their size, 96 more on their way",
    ]


def test_what_is_over_sooner_has_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines()
    lines(ResizeProgress("web", (shrinking(10),), 10.0, 10.0))
    assert capsys.readouterr().err == ""
