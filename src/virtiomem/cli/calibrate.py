"""`virtiomem calibrate [WORKLOAD…]`: fit the workload model to real guests, and show how far off it is."""

import argparse
from typing import TYPE_CHECKING

from virtiomem import stdio
from virtiomem.cli import guests
from virtiomem.cli.arguments import check_outputs, exit_status, file, refuse_unused
from virtiomem.columns import Column, table
from virtiomem.errors import Exit, UsageError
from virtiomem.notation import json_bytes, printable_json
from virtiomem.status_line import StatusLine
from virtiomem.stdio import terminal_width
from virtiomem.text import nearest, quoted
from virtiomem.units import MiB, format_size

if TYPE_CHECKING:
    from virtiomem.sweep.calibrate import Calibration, Compared, Prediction, ShrinkFigures
    from virtiomem.sweep.observe import WorkloadSeen

_FIGURES = {
    "held": "pageblocks held under load",
    "left": "pageblocks held after it",
    "blocks": "memory blocks held under load",
    "came_back": "came back",
}
"""What is compared, in words."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "the parameters are fitted",
            Exit.FAILED: "a guest was lost, or something it needs is missing",
            Exit.USAGE: "a file or option is wrong",
            Exit.TIMED_OUT: "a real guest did not answer in time",
        }
    )
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help="run these (default: all of docs/workload.md)")
    parser.add_argument("--record", type=file, metavar="FILE", help="keep what was observed in FILE")
    parser.add_argument(
        "--from",
        dest="kept",
        action="append",
        type=file,
        metavar="FILE",
        help="boot nothing: take what FILE keeps; again for more",
    )
    parser.add_argument("-J", "--json", action="store_true", help="print the result as JSON")
    guests.add_linux_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fit the model to observations, new or kept, and show how far off it is."""
    from virtiomem.sweep.calibrate import calibrate

    found = _kept(args) if args.kept else _observed(args)
    with StatusLine() as progress:
        progress.say("fitting")
        calibration = calibrate(found)
    if args.json:
        print(printable_json(json_bytes(calibration, indent=1)))
    else:
        _show(calibration)
    return Exit.DONE


def _kept(args: argparse.Namespace) -> list["WorkloadSeen"]:
    """Observations from files."""
    from virtiomem.sweep import observe

    refuse_unused(
        {"WORKLOAD": args.workload or None, "--record": args.record}, "is for real guests, and --from boots none"
    )
    # Nothing boots, so the options of a real guest are refused as they are when another guest plays.
    guests.check_linux_arguments(argparse.Namespace(**vars(args), guest="embedded"), "calibrate without --from")
    return [one for path in args.kept for one in observe.load(path)]


def _observed(args: argparse.Namespace) -> list["WorkloadSeen"]:
    """Observe real guests, one after the other. When one is lost, --record has those before it."""
    from virtiomem.sweep import observe

    for name in args.workload:
        if name not in observe.WORKLOADS:
            raise UsageError(
                f"no workload {quoted(name)}{nearest(name, observe.WORKLOADS)} (one of {', '.join(observe.WORKLOADS)})"
            )
    check_outputs(args, "record", "console")
    found: list[WorkloadSeen] = []
    setup = guests.linux_setup(args)
    with StatusLine() as progress:
        for name in args.workload or observe.WORKLOADS:
            # Written after each: a workload takes minutes, and a guest may be lost.
            found.append(observe.observe(name, setup, progress.say))
            if args.record is not None:
                observe.dump(found, args.record)
    return found


def _show(calibration: "Calibration") -> None:
    """Show the parameters, and the table of what was observed and what the model has."""
    for words, values, error in (
        ("fitted", calibration.fitted, calibration.fitted_error),
        ("default", calibration.default, calibration.default_error),
    ):
        print(
            f"{words + ':':<9}scatter {values.scatter:g}, left-behind {values.left_behind:g} (sum of squares {error:.4g})"
        )
    print()
    rows = [(one, name) for one in calibration.compared for name in _FIGURES]
    columns: list[Column[tuple[Compared, str]]] = [
        Column("workload", lambda row: row[0].workload),
        Column("Linux", lambda row: ".".join(row[0].kernel.split("-")[0].split(".")[:2])),
        Column("unmovable", lambda row: f"{row[0].unmovable / MiB:.0f}M", right=True),
        Column("what", lambda row: _FIGURES[row[1]]),
        Column("observed", lambda row: _text(row[1], getattr(row[0].observed, row[1])), right=True),
        Column("fitted", lambda row: _predicted(row[1], row[0].fitted), right=True),
        Column("residual", lambda row: _residual(row[1], row[0].observed, row[0].fitted), right=True),
        Column("default", lambda row: _predicted(row[1], row[0].default), right=True),
        Column("residual", lambda row: _residual(row[1], row[0].observed, row[0].default), right=True),
    ]
    stdio.show(table(rows, columns, width=terminal_width(), elsewhere="--json"))


def _text(name: str, value: int) -> str:
    """A figure: sizes as such."""
    return format_size(value) if name == "came_back" else str(value)


def _predicted(name: str, of: "Prediction") -> str:
    """A median, and the least and the most where they differ."""
    median, low, high = (_text(name, getattr(each, name)) for each in (of.median, of.low, of.high))
    return median if low == high else f"{median} ({low} to {high})"


def _residual(name: str, observed: "ShrinkFigures", predicted: "Prediction") -> str:
    """Return what was observed, less the median."""
    value = getattr(observed, name) - getattr(predicted.median, name)
    return f"{'-' if value < 0 else '+'}{_text(name, abs(value))}" if value else "0"
