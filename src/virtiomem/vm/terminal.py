"""Live displays on a terminal: the progress of a resize, and a view of many machines (`progress_text` writes lines)."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from virtiomem.text import one_line, printable
from virtiomem.units import format_approx
from virtiomem.vm.progress_text import moving, not_online, pace, sizes, summary
from virtiomem.vm.results import ResizeProgress
from virtiomem.vm.tables import BAR_WIDTH, COLUMNS, LIST_COLUMNS, UNKNOWN, DeviceCell, DeviceRow, View, bar
from virtiomem.vm.watch import Sample

MAX_LINES = 20
_WATCH_COLUMNS = (*LIST_COLUMNS[:-1], "still")
_GIVING_WAY = ("block", "kind", "still", "node", "max", "state")
"""The columns that a narrow terminal can do without, the least first."""
_GAP = 2
_LEAST_BAR = 8
_STATE_STYLES = {"settled": "green", "growing": "cyan", "shrinking": "yellow"}
_BAR_STYLES = {"#": "green", "+": "cyan", "-": "yellow", ".": "bright_black", UNKNOWN: "bright_black"}


class ProgressScreen:
    """Progress display of a resize, a line per device; draws on standard error while it is entered."""

    def __init__(self) -> None:
        self._reports: dict[str, ResizeProgress] = {}
        # On standard error: standard output has the result alone, for a pipe.
        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def __call__(self, report: ResizeProgress) -> None:
        """Take the latest news of a machine."""
        self._reports[report.vm] = report

    def _draw(self) -> RenderableType:
        reports = self._reports.values()
        lines = Table.grid(padding=(0, 2))
        for report, track in moving(reports)[:MAX_LINES]:
            lines.add_row(
                Text(printable(f"{report.vm}/{track.device}")),
                ProgressBar(total=1.0, completed=track.fraction, width=30),
                Text(sizes(track), justify="right"),
                Text(pace(report, track), style="dim"),
            )
        if (waiting := not_online(reports)) is not None:
            lines.add_row(Text(waiting[0]), Text(waiting[1], style="dim"))
        many = sum(len(report.tracks) for report in reports) > 1
        return Group(lines, Text(summary(reports, MAX_LINES), style="dim")) if many else lines


class WatchScreen:
    """Many machines, drawn again when something changed."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}
        self._live = Live(console=Console(), refresh_per_second=4, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def __call__(self, sample: Sample) -> None:
        """Take the latest look at a machine."""
        self._samples[sample.vm] = sample

    def _draw(self) -> RenderableType:
        return picture(list(self._samples.values()))


def picture(samples: Sequence[Sample]) -> RenderableType:
    """The sums, the devices of all machines, and below them the machines that cannot be seen."""
    samples = sorted(samples, key=lambda sample: sample.vm)
    seen = [sample.machine for sample in samples if sample.machine is not None]
    told = [m.plugged for m in seen]
    plugged = UNKNOWN if None in told else format_approx(sum(filter(None, told)))
    head = (
        f"{len(seen)} of {len(samples)} machines, {plugged} of {format_approx(sum(m.requested for m in seen))} plugged"
    )
    lost = [Text(one_line(f"{sample.vm}: {sample.error}"), style="red") for sample in samples if sample.machine is None]
    return Group(Text(head, style="dim"), _Devices(samples), *lost, Text("not looked inside", style="dim"))


class _Devices:
    """A coloured row per device that fits the terminal: the bar is narrowed first, then columns are dropped, never a size."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._rows = [
            (DeviceRow(View(sample.vm, sample.machine), device), sample.still_for.get(device.id, 0.0))
            for sample in samples
            for device in (sample.machine.devices if sample.machine is not None else ())
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what rich draws."""
        columns = {name: [_cell(row, name, still) for row, still in self._rows] for name in _WATCH_COLUMNS}
        widths = {name: max(len(name), *map(len, cells), 0) + _GAP for name, cells in columns.items()}
        for name in _GIVING_WAY:
            if sum(widths.values()) + _LEAST_BAR > options.max_width:
                del columns[name], widths[name]
        bar_width = min(max(options.max_width - sum(widths.values()), 1), BAR_WIDTH)
        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for name in (*columns, "use"):
            right = name == "still" or COLUMNS[name].right
            drawn.add_column(name.upper(), justify="right" if right else "left", no_wrap=True)
        for place, (row, _) in enumerate(self._rows):
            drawn.add_row(*(cells[place] for cells in columns.values()), _bar(row, bar_width))
        yield drawn


def _cell(row: DeviceRow, name: str, still: float) -> Text:
    if name == "still":
        return Text(f"{still:.0f} s", style="dim")
    # Ids come from the hypervisor, and an escape in one would be obeyed by the terminal.
    text = printable(COLUMNS[name].cell(DeviceCell(row)))
    return Text(text, style=_STATE_STYLES.get(text, ""))


def _bar(row: DeviceRow, width: int) -> Text:
    return Text.assemble(*((char, _BAR_STYLES[char]) for char in bar(row.device, width)))
