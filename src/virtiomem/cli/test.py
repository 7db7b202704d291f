"""`virtiomem test FILE|DIR…`: scenarios next to their golden recordings, played and compared."""

import argparse
import json
import os
import sys
from functools import partial

from virtiomem.cli import guests
from virtiomem.cli.arguments import check_outputs, exit_status, file, positive
from virtiomem.cli.model import add_model
from virtiomem.cli.rules import add_rules, rules_of
from virtiomem.columns import flowing
from virtiomem.errors import Exit
from virtiomem.files import write_all
from virtiomem.guest.base import Guest
from virtiomem.recording.describe import plural
from virtiomem.scenario import Scenario, golden
from virtiomem.scenario.golden import GoldenResult
from virtiomem.status_line import StatusLine
from virtiomem.stdio import terminal_width
from virtiomem.text import one_line, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Play scenarios (NAME.toml) and compare what happens with the golden recording next to each (NAME.json), as "
        "`virtiomem compare` does: on the embedded guest, or on a kernel of yours (--guest linux --kernel bzImage)."
    )
    parser.epilog = exit_status(
        {
            Exit.DONE: "all the same (or updated)",
            Exit.FAILED: "one is different, has no golden recording or could not be played",
            Exit.USAGE: "a file or option is wrong; nothing was played",
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
    add_model(parser, "what the scenario says, else its recording")
    add_rules(parser)
    guests.add_linux_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Play, compare, say what came of each."""
    guests.check_linux_arguments(args)
    tests = golden.find(args.places, kernel=args.model)
    inputs = [name for one in tests for name in (*guests.inputs_of(one.played, args), one.path)]
    check_outputs(args, "junit", "badge", "console", inputs=inputs)
    linux = args.guest == "linux"
    jobs = args.jobs or (len(os.sched_getaffinity(0)) if linux else 1)
    results: list[GoldenResult] = []
    of = f"{len(tests)} {plural(len(tests), 'scenario')}"
    width = max(len(shown(one.name)) for one in tests)
    try:
        with StatusLine("golden recordings that were written are whole" if args.update else "") as progress:
            progress.say(f"0 of {of} played")
            for result in golden.repeat_all(
                tests, partial(_open, args) if linux else None, rules_of(args), update=args.update, jobs=jobs
            ):
                results.append(result)
                progress.clear()
                if not args.json:
                    _tell(result, width)
                progress.say(f"{len(results)} of {of} played")
    finally:  # also what was played before an interrupt was played
        results.sort(key=lambda result: result.name)
        if args.json:
            print(json.dumps(golden.to_dict(results), indent=1))
        elif results:
            counted = ", ".join(f"{count} {outcome}" for outcome, count in golden.counts(results).items())
            print(f"{len(results)} {plural(len(results), 'scenario')}: {counted}")
        name = f"virtiomem test: the {args.guest} guest"
        forms = {args.junit: golden.to_junit, args.badge: golden.to_badge}
        write_all({path: form(results, name) for path, form in forms.items() if path is not None})
    return Exit.DONE if all(result.outcome.passed for result in results) else Exit.FAILED


def _open(args: argparse.Namespace, played: Scenario) -> Guest:
    """Start the real Linux that `args` name."""
    return guests.open_linux(played, args, lambda _: None)


def _tell(result: GoldenResult, width: int) -> None:
    """One line a test, and below it where the two part."""
    head = f"{result.outcome:<10}  {shown(result.name):<{width}}  "
    print(*flowing(head, one_line(result.what), terminal_width()), sep="\n")
    if (difference := result.difference) is not None:
        print(one_line(f"  golden  {difference.a}"))
        print(one_line(f"  played  {difference.b}"))
    sys.stdout.flush()
