"""Progress of a resize in words, and line by line for the log of a job."""

import time
from collections.abc import Callable, Iterable, Iterator

from virtiomem import stdio
from virtiomem.reasons import retry
from virtiomem.units import format_approx, format_duration
from virtiomem.vm.inside import Seen
from virtiomem.vm.progress import Track
from virtiomem.vm.results import ResizeProgress

LINE_SECONDS = 10.0
"""Between two lines about one resize; what ends sooner has none."""
MAX_LINES = 3
"""Devices that are named at a time."""


def sizes(track: Track) -> str:
    """Size of a device on its way: ``3G of 8G``, or ``5G of 13G given back``."""
    if track.target >= track.start:
        return f"{format_approx(track.size)} of {format_approx(track.target)}"
    given, way = track.start - track.size, track.start - track.target
    return f"{format_approx(max(given, 0))} of {format_approx(way)} given back"


def pace(report: ResizeProgress, track: Track) -> str:
    """Rate of a device and the time that is left at it; or since when it stands still, and when the driver tries again."""
    if (eta := track.eta) is not None:
        return f"{format_approx(round(track.rate))}/s, {format_duration(eta)} left"
    retry_in = track.retry_in(report.now)
    again = "" if retry_in is None else f"; {retry(retry_in, exact=False).text}"
    return f"still for {report.now - track.moved_at:.0f} s{again}"


def moving(reports: Iterable[ResizeProgress]) -> list[tuple[ResizeProgress, Track]]:
    """The devices that are not at their size."""
    return [(report, track) for report in reports for track in report.tracks if not track.done]


def summary(reports: Iterable[ResizeProgress], shown: int) -> str:
    """Count of devices at their size, and of those on their way beyond the ones `shown`."""
    reports = list(reports)
    every, left = sum(len(report.tracks) for report in reports), len(moving(reports))
    rest = f", {left - shown} more on their way" if left > shown else ""
    return f"{every - left} of {every} devices at their size{rest}"


def not_online(reports: Iterable[ResizeProgress]) -> tuple[str, str] | None:
    """Machines that have what they were to get but not online, and the words for it."""
    waiting = [report.vm for report in reports if report.inside is Seen.OFFLINE]
    who = waiting[0] if len(waiting) == 1 else f"{len(waiting)} machines"
    return (who, "plugged, not online in the guest yet") if waiting else None


class ProgressLines:
    """Reporter that prints the progress every ten seconds of real time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = clock() + LINE_SECONDS
        self._reports: dict[str, ResizeProgress] = {}

    def __call__(self, report: ResizeProgress) -> None:
        """Take the latest news of a machine."""
        self._reports[report.vm] = report
        if self._clock() >= self._due:
            self._due = self._clock() + LINE_SECONDS
            for line in self._lines():
                stdio.say(line)

    def _lines(self) -> Iterator[str]:
        reports = self._reports.values()
        pairs = moving(reports)
        for report, track in pairs[:MAX_LINES]:
            yield f"{report.vm}/{track.device}: {sizes(track)} after {report.waited:.0f} s: {pace(report, track)}"
        if (waiting := not_online(reports)) is not None:
            yield ": ".join(waiting)
        if sum(len(report.tracks) for report in reports) > 1:
            yield summary(reports, MAX_LINES)
