"""`virtiomem test FILE|DIR…`: scenarios next to their golden recordings, played and compared."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from virtiomem.cli import guests
from virtiomem.cli.arguments import check_outputs, exit_status, file, positive
from virtiomem.cli.model import add_model, release_for
from virtiomem.cli.rules import add_rules, rules_of
from virtiomem.columns import flowing
from virtiomem.errors import Exit, UsageError
from virtiomem.guest.base import Guest
from virtiomem.recording.describe import plural
from virtiomem.scenario import Scenario, golden, golden_formats, golden_jobs
from virtiomem.scenario.golden import GoldenCase, GoldenOutcome, GoldenResult
from virtiomem.status_line import StatusLine
from virtiomem.stdio import terminal_width
from virtiomem.text import one_line, shown
from virtiomem.writing import write_all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Play scenarios (NAME.toml) and compare what happens with the golden recording next to each (NAME.json), as "
        "`virtiomem compare` does: on the embedded guest, or on a kernel of yours (--guest linux --kernel bzImage)."
    )
    parser.epilog = exit_status(
        {
            Exit.DONE: "all the same (or updated)",
            Exit.FAILED: "one is different, has no golden recording, or its kernel panicked",
            Exit.USAGE: "a file or option is wrong; nothing was played",
            Exit.UNTRIED: "one could not be played, and nothing else is wrong (git bisect run passes over that)",
        }
    )
    parser.add_argument(
        "places", nargs="+", type=file, metavar="FILE|DIR", help="a scenario, or a directory with scenarios below it"
    )
    parser.add_argument(
        "--update", action="store_true", help="write the golden recordings that are missing or different"
    )
    parser.add_argument(
        "-j", "--jobs", type=positive, metavar="N", help="play N at a time (default: 1; with --guest linux, processors)"
    )
    parser.add_argument("-J", "--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--junit", type=file, metavar="FILE", help="write them to FILE as JUnit XML, too")
    parser.add_argument("--badge", type=file, metavar="FILE", help="write the counts to FILE as a badge (SVG)")
    parser.add_argument(
        "--guest",
        choices=("embedded", "linux"),
        default="embedded",
        help="who plays: the guest in this process (default), or a Linux in QEMU",
    )
    parser.add_argument(
        "--record", type=file, metavar="DIR", help="keep what was played in DIR, and of a real Linux its console"
    )
    parser.add_argument(
        "--fail-on-warn", action="store_true", help="a kernel that complains of itself (WARNING, BUG, KASAN, …) fails"
    )
    add_model(parser, "what the scenario says, else its recording")
    add_rules(parser)
    guests.add_linux_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Play, compare, say what came of each."""
    guests.check_linux_arguments(args)
    tests = golden.find(args.places, kernel=args.model)
    linux = args.guest == "linux"
    if args.kernel is not None:
        guests.check_kernels(args, [one.played for one in tests])
    if not linux:
        _say_stand_ins(tests)
    if args.console and len(tests) > 1:
        raise UsageError("--console takes one scenario; --record DIR keeps the console of each")
    inputs = [name for one in tests for name in (*guests.inputs_of(one.played, args), one.path)]
    check_outputs(args, "junit", "badge", "console", inputs=inputs)
    tests = golden.keep_in(args.record, tests) if args.record else tests
    jobs = args.jobs or (len(os.sched_getaffinity(0)) if linux else 1)
    results: list[GoldenResult] = []
    of = f"{len(tests)} {plural(len(tests), 'scenario')}"
    width = max(len(shown(one.name)) for one in tests)
    try:
        with StatusLine("golden recordings that were written are whole" if args.update else "", logs=True) as progress:
            progress.say(f"0 of {of} played")
            for result in golden_jobs.repeat_all(
                tests,
                partial(_open, args, _consoles(tests)) if linux else None,
                rules_of(args),
                update=args.update,
                fail_on_warn=args.fail_on_warn,
                jobs=jobs,
            ):
                results.append(result)
                progress.clear()
                if not args.json:
                    _tell(result, width)
                progress.say(f"{len(results)} of {of} played")
    finally:  # also what was played before an interrupt was played
        # They came as they were ready: a report must not depend on which was faster.
        results.sort(key=lambda result: result.name)
        who = golden_formats.players(results)
        if args.json:
            print(json.dumps(golden_formats.to_dict(results), indent=1))
        elif results:
            counted = ", ".join(f"{count} {outcome}" for outcome, count in golden_formats.counts(results).items())
            print(f"{len(results)} {plural(len(results), 'scenario')}: {counted}{f' ({who})' if who else ''}")
        name = f"virtiomem test: {who or f'the {args.guest} guest'}"
        forms = {args.junit: golden_formats.to_junit, args.badge: golden_formats.to_badge}
        write_all({path: form(results, name) for path, form in forms.items() if path is not None})
    wrong = {result.outcome for result in results if not result.outcome.passed}
    return Exit.DONE if not wrong else Exit.UNTRIED if wrong == {GoldenOutcome.NOT_PLAYED} else Exit.FAILED


def _say_stand_ins(tests: Sequence[GoldenCase]) -> None:
    """Say which releases are modelled in place of those that scenarios, or --model, name."""
    for version in sorted({kernel for one in tests if (kernel := one.played.guest.kernel) is not None}):
        release_for(version, None)


def _consoles(tests: Sequence[GoldenCase]) -> dict[str, str]:
    """Return the file for the console of each scenario's guest, where recordings are kept."""
    return {one.name: str(one.kept.with_suffix(".console")) for one in tests if one.kept is not None}


def _open(args: argparse.Namespace, consoles: Mapping[str, str], played: Scenario) -> Guest:
    """Start the real Linux that `args` name."""
    options = argparse.Namespace(**{**vars(args), "console": args.console or consoles.get(played.source)})
    # Silent: several guests may boot at a time, each in a process of its own.
    return guests.open_linux(played, options, lambda _: None, pages=True)


def _tell(result: GoldenResult, width: int) -> None:
    """One line a test, and below it where the two part."""
    head = f"{result.outcome:<10}  {shown(result.name):<{width}}  "
    print(*flowing(head, one_line(result.what), terminal_width()), sep="\n")
    if (difference := result.difference) is not None:
        print(one_line(f"  golden  {difference.a}"))
        print(one_line(f"  played  {difference.b}"))
    for note in (*result.notes, *result.complaints):
        print(one_line(f"  note    {note}"))
    # Into a file or a pipe Python writes by the block: the log of a CI would show nothing until the end.
    sys.stdout.flush()
