"""`virtiomem run SCENARIO…`: play scenarios and show what came of them."""

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from virtiomem import recording, scenario
from virtiomem.cli import guests
from virtiomem.cli.arguments import check_outputs, exit_status, expecting, file, load_scenario, refuse_unused
from virtiomem.cli.model import add_model
from virtiomem.errors import Exit, UsageError
from virtiomem.notation import printable_json
from virtiomem.recording import Recording
from virtiomem.recording.describe import describe
from virtiomem.scenario import Scenario
from virtiomem.status_line import StatusLine
from virtiomem.text import quoted, shown

if TYPE_CHECKING:
    from virtiomem.report.terminal import RunView


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "played to the end",
            Exit.FAILED: "the guest was lost or something it needs is missing",
            Exit.USAGE: "a file or option is wrong",
            Exit.PARTLY: "with --strict: a step was refused or did not settle",
            Exit.TIMED_OUT: "a real guest did not answer in time",
        }
    )
    parser.add_argument(
        "scenario",
        nargs="*",
        type=file,
        metavar="SCENARIO",
        help="a scenario file; several are played one after the other, and their ends shown side by side",
    )
    parser.add_argument(
        "--from-sweep",
        nargs=2,
        metavar=("FILE", "RUN"),
        help="play one run of a sweep instead: FILE is the sweep file, or the Parquet file with its rows",
    )
    parser.add_argument("--record", type=file, metavar="FILE", help="write the recording to FILE, whole or not at all")
    parser.add_argument(
        "--sysroot",
        type=file,
        metavar="DIR",
        help="write the guest's /proc/iomem and /sys/devices/system at the end to DIR, for lsmem --sysroot DIR",
    )
    parser.add_argument("-J", "--json", action="store_true", help="print the recording as JSON, and nothing else")
    parser.add_argument("--strict", action="store_true", help="exit 64 when a step was refused or did not settle")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every request and the driver's log")
    guests.add_guest_arguments(parser)
    add_model(parser, "what SCENARIO says")
    guests.add_linux_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Play, show, record."""
    guests.check_linux_arguments(args)
    if bool(args.scenario) == (args.from_sweep is not None):
        raise UsageError("either a SCENARIO or --from-sweep FILE RUN is played (see virtiomem run --help)")
    if len(args.scenario) > 1 and (args.json or args.record or args.sysroot or args.console):
        raise UsageError("--json, --record, --sysroot and --console take one scenario")
    if args.json or len(args.scenario) > 1:
        refuse_unused({"--verbose": args.verbose}, "is for one scenario without --json")
    scenarios = [load_scenario(path, kernel=args.model) for path in args.scenario] or [_of_sweep(args)]
    # Before anything is played, which may take minutes.
    _check_outputs(args, scenarios[0])
    files = [f"{shown(path)} was not written" for path in (args.record, args.sysroot) if path is not None]
    with StatusLine(", ".join(files)) as progress:
        recordings = [_play(one, args, progress) for one in scenarios]
    try:
        if args.json:
            sys.stdout.write(printable_json(recording.dumps(recordings[0], whole=True)))
        elif len(recordings) > 1:
            from virtiomem.report.terminal import make_console, side_by_side

            side_by_side(make_console(sys.stdout), dict(zip(_names(args.scenario), recordings, strict=True)))
    finally:
        # Also when the reader of the output is gone: the run is over, and may have taken minutes.
        _keep(args, recordings[0], scenarios[0])
    short = any(record.error is not None or not record.settled for each in recordings for record in each.steps)
    return Exit.PARTLY if args.strict and short else Exit.DONE


def _of_sweep(args: argparse.Namespace) -> Scenario:
    """The scenario that a run of a sweep plays."""
    from virtiomem.sweep import definition

    refuse_unused({"--model": args.model}, "is for a SCENARIO: a sweep says its kernel")
    path, run = args.from_sweep
    if not (run.isascii() and run.isdecimal() and len(run) < 20):
        raise UsageError(f"--from-sweep: {quoted(run)} is not the number of a run: 0, 1, …")
    with expecting("a sweep", path, "a scenario", "a Parquet file"):
        sweep = definition.read(path)
    return sweep.scenario(int(run))


def _check_outputs(args: argparse.Namespace, played: Scenario) -> None:
    """Refuse what could only fail after the run, or would overwrite what is read for it."""
    inputs = guests.inputs_of(played, args)
    check_outputs(args, "record", "console", inputs=inputs)
    if args.sysroot is not None:
        from virtiomem.live.export import check_target

        check_target(args.sysroot, inputs=inputs)


def _play(played: Scenario, args: argparse.Namespace, progress: StatusLine) -> Recording:
    """Play one scenario, showing it as it goes when it is alone."""
    view: RunView | None = None
    total = len(played.steps)

    def on_step(so_far: Recording) -> None:
        nonlocal view
        # The status line is on another stream: what is printed would stand behind its remains.
        progress.clear()
        done = len(so_far.steps)
        if not args.json and len(args.scenario) <= 1:
            if view is None:
                # Here, for rich is most of the time that a short run takes, and --json has no use for it.
                from virtiomem.report.terminal import RunView, make_console

                view = RunView(make_console(sys.stdout), so_far, verbose=args.verbose)
                view.header()
            else:
                view.step()
        if done < total:
            if view is not None and (cost := guest.foresee(played.steps[done])) is not None:
                view.foreseen(cost)
            progress.say(f"step {done + 1} of {total}: {describe(played.steps[done])}")

    progress.say("starting the guest")
    with closing(guests.open_guest(played, args, progress.say)) as guest:
        finished = scenario.play(played, guest, on_step)
    if view is not None:
        view.totals()
    return finished


def _names(paths: list[str]) -> list[str]:
    """Short names for scenarios: the files' own where they differ, else their paths."""
    from pathlib import Path  # not above: see files.StrPath

    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [f"{number}: {path}" for number, path in enumerate(paths, 1)]


def _keep(args: argparse.Namespace, played: Recording, by: Scenario) -> None:
    """Write the recording, and the guest as it is after the last step."""
    try:
        # Two outcomes of one run, which may have taken minutes: one that cannot be written must not cost the other.
        if args.record is not None:
            recording.dump(played, args.record)
    finally:
        if args.sysroot is not None:
            from virtiomem.live.export import export_sysroot
            from virtiomem.live.load import memory_block_size

            end = played.steps[-1].snapshot if played.steps else played.boot
            export_sysroot(
                end,
                memory_block_size(played),
                args.sysroot,
                auto_online_blocks=scenario.like(by, played.guest).guest.added_state,
            )
