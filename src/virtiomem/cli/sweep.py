"""`virtiomem sweep SWEEP.toml`: play a scenario with many parameters and seeds, and say which choices make a difference."""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from virtiomem import columns, stdio
from virtiomem import sweep as sweeps
from virtiomem.cli.arguments import check_outputs, exit_status, expecting, file, positive
from virtiomem.columns import Column, flowing
from virtiomem.errors import Exit, UsageError
from virtiomem.notation import json_bytes, printable_json
from virtiomem.recording.describe import plural
from virtiomem.status_line import StatusLine
from virtiomem.stdio import terminal_width, warn
from virtiomem.sweep import engines
from virtiomem.sweep.parameters import label
from virtiomem.sweep.play import CHUNK, part_of
from virtiomem.sweep.summary import (
    LEAST_PAIRS,
    MEASURES,
    Measure,
    PointSummary,
    Summary,
    comparison,
    interval,
    pairs_of,
)
from virtiomem.text import quoted, shown
from virtiomem.units import format_duration
from virtiomem.writing import write_whole

_MOST_POINTS = 40
"""Combinations that the table shows; the page and --json have all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "every run was played",
            Exit.FAILED: "the disk is full, or the cluster is lost: what was played is kept",
            Exit.USAGE: "a file or option is wrong",
            Exit.PARTLY: "some runs failed; their rows say why",
        }
    )
    parser.add_argument("sweep", type=file, metavar="SWEEP", help="a sweep file (docs/sweep.md)")
    parser.add_argument(
        "--rows",
        type=file,
        metavar="FILE",
        help="write a row for each run to FILE: Parquet where its name ends with .parquet, else CSV (default: SWEEP's name with .csv)",
    )
    parser.add_argument("--page", type=file, metavar="FILE", help="write the summary with pictures to FILE, as HTML")
    parser.add_argument("--resume", action="store_true", help="go on where a sweep to the same FILE was broken off")
    parser.add_argument("-J", "--json", action="store_true", help="print the summary as JSON")
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "-j", "--jobs", type=positive, metavar="N", help="play in N processes (default: processors; 1: in this one)"
    )
    who.add_argument(
        "--cluster", type=positive, metavar="N", help="play on a Dask cluster of N processes, started here"
    )
    who.add_argument(
        "--scheduler", metavar="ADDRESS", help="play on the Dask cluster at ADDRESS, such as tcp://HOST:8786"
    )
    parser.add_argument(
        "--chunk",
        type=positive,
        metavar="N",
        default=CHUNK,
        help="send N runs to a worker together (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Play, keep the rows, say what they say."""
    with expecting("a sweep", args.sweep, "a scenario"):
        sweep = sweeps.load(args.sweep)
    if args.page is not None and Path(args.page).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--page: {quoted(args.page)} does not end in .html, and HTML is what the page is")
    args.rows = args.rows or f"{Path(args.sweep).stem}.csv"
    check_outputs(args, "rows", "page", inputs=sweep.files)
    path = Path(args.rows)
    # Before the runs, which may take hours: of so few, no difference can be distinguished from chance.
    if 0 < (pairs := pairs_of(sweep)) < LEAST_PAIRS:
        warn(
            f"{pairs} {plural(pairs, 'pair')} of runs to compare, and {LEAST_PAIRS} are the fewest that say anything: more seeds"
        )
    with StatusLine(f"what was played is in {shown(part_of(path))}: --resume goes on") as progress:

        def tell(done: int, of: int, left: float | None) -> None:
            rest = "" if left is None else f", {format_duration(left)} left"
            progress.say(f"{done} of {of} runs{rest}")

        made = sweeps.run(
            sweep, path, engine=_engine(args, sweep.runs), resume=args.resume, chunk=args.chunk, on_progress=tell
        )
        progress.say("summing up")
        summary = sweeps.summarize(made)
    if args.page is not None:
        from virtiomem.sweep.page import page  # it draws, which takes as long to load as all else

        write_whole(args.page, page(summary, sweep).encode())
    if args.json:
        values = asdict(summary) | {"rows": str(made.path), "sweep": sweep.digest}
        print(printable_json(json_bytes(values, indent=1)))
    else:
        _show(summary, made.path)
    return Exit.PARTLY if summary.failed else Exit.DONE


def _engine(args: argparse.Namespace, runs: int) -> engines.Engine:
    """The engine that the options name; for a few runs other processes are not worth their start."""
    if args.scheduler is not None or args.cluster is not None:
        return engines.on_dask(args.scheduler, workers=args.cluster or 0)
    jobs = args.jobs or len(os.sched_getaffinity(0))
    return engines.in_process if jobs == 1 or runs <= args.chunk else engines.in_pool(jobs)


def _show(summary: Summary, rows: Path) -> None:
    """The summary: a table of the combinations, what the choices make of them, what failed."""
    print(f"{summary.title or 'sweep'}: {summary.runs} {plural(summary.runs, 'run')}, rows in {shown(rows)}\n")
    stdio.show(points_table(summary, terminal_width()))
    if summary.differences:
        print()
        stdio.show(comparison_text(summary, terminal_width()))
    for words, count in summary.errors.items():
        warn(f"{count} {plural(count, 'run')} failed: {words}")


def comparison_text(summary: Summary, width: int | None) -> str:
    """The differences as a table, and below it what does not differ."""
    found = comparison(summary)
    table = columns.align([[cell.upper() for cell in found.heading], *found.rows]) if found.rows else ""
    return table + "".join(f"{line}\n" for remark in found.remarks for line in flowing("", remark, width))


def points_table(summary: Summary, width: int | None) -> str:
    """A line for each combination of parameters: medians and their intervals; see `columns.table`."""

    def of(measure: Measure) -> Callable[[PointSummary], str]:
        return lambda point: interval(measure, point.medians[measure.name])

    def named(name: str) -> Callable[[PointSummary], str]:
        return lambda point: label(point.labels[name])

    labels: list[Column[PointSummary]] = [Column(name.rpartition(".")[2], named(name)) for name in summary.parameters]
    measured = [
        # The first measure always stays; of the others the last is left out first.
        Column(measure.heading, of(measure), right=True, rank=len(MEASURES) - at if at else 0)
        for at, measure in enumerate(MEASURES)
    ]
    failed: list[Column[PointSummary]] = [Column("failed", lambda point: str(point.failed), right=True)]
    table = columns.table(
        summary.points[:_MOST_POINTS],
        [*labels, *measured, *(failed if summary.failed else [])],
        width=width,
        elsewhere="--json",
    )
    more = len(summary.points) - _MOST_POINTS
    return table if more <= 0 else f"{table}and {more} more combinations (in --json and --page)\n"
