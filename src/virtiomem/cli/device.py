"""`virtiomem device …`: check a virtio-mem device, or replay what a real one answered."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from virtiomem.cli.arguments import check_outputs, count, exit_status, expecting, file
from virtiomem.cli.device_subject import add_others, add_qemu, maker, opened
from virtiomem.conformance.rules import STRICTER
from virtiomem.errors import BackendError, DeviceError, Exit
from virtiomem.qemu.process import BINARY
from virtiomem.stdio import show
from virtiomem.text import one_line, quoted

if TYPE_CHECKING:
    from virtiomem.conformance import log
    from virtiomem.conformance.fuzz import Figures
    from virtiomem.conformance.replay import ReplayResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and what they take."""
    parser.epilog = (
        "Exit status: 0 as it should be, 1 not so, 2 usage, 64 nothing was checked; ACTION --help says it of each."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_check(actions.add_parser("check", help="the conformance suite: every rule, one by one", allow_abbrev=False))
    _add_fuzz(
        actions.add_parser(
            "fuzz", help="compare a device, QEMU's or another, with ours, request by request", allow_abbrev=False
        )
    )
    _add_rules(actions.add_parser("rules", help="where each rule stands, and how it is seen", allow_abbrev=False))
    _add_replay(actions.add_parser("replay", help="feed recorded requests to the embedded device", allow_abbrev=False))


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check a virtio-mem device against the virtio specification (5.15), the uapi header and what a sound device "
        "does with hostile drivers: rule by rule, how it was seen, and what to do to see a failure again."
    )
    parser.epilog = exit_status(
        {
            Exit.DONE: "every MUST that a driver can see is kept",
            Exit.FAILED: "one is broken, or became worse (--against), or the device was lost",
            Exit.USAGE: "usage",
            Exit.PARTLY: "of the rules asked for none can be seen",
            Exit.TIMED_OUT: "the device does not start in time",
        }
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--embedded", action="store_true", help="the embedded device (default)")
    add_qemu(target.add_argument)
    add_others(parser, target.add_argument)
    parser.add_argument(
        "--rule",
        action="append",
        metavar="ID",
        help="only this rule (PLUG-4) or group (PLUG), of those that `device rules` lists; may be repeated",
    )
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        type=_skip,
        metavar="ID=REASON",
        help="do not try this rule or group, and say why; may be repeated",
    )
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=[*STRICTER, "all"],
        metavar="LEVEL",
        help=f"fail for rules of this level, too, and not for a MUST only: {', '.join(STRICTER)} or all; may be repeated",
    )
    parser.add_argument(
        "--against",
        type=file,
        metavar="REPORT",
        help="say what changed since REPORT (--json), and fail for what became worse",
    )
    parser.add_argument("-J", "--json", action="store_true", help="print the report as JSON")
    _add_junit(parser)
    parser.add_argument("--badge", type=file, metavar="FILE", help="write the counts to FILE as a badge (SVG)")


def _add_junit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--junit", type=file, metavar="FILE", help="write it to FILE as JUnit XML, too")


def _skip(text: str) -> tuple[str, str]:
    """Read a rule or a group, and why it is skipped."""
    name, _, reason = text.partition("=")
    if not reason.strip():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not ID=REASON, such as PLUG-4='known, bug 123'")
    return name, one_line(reason.strip())


def _add_fuzz(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make random moves (requests, proper and malformed, resizes, resets, migrations) on a device, QEMU's or another, and on the "
        "embedded one, and compare everything observable after each. A difference is shrunk to the fewest moves."
    )
    parser.epilog = exit_status(
        {
            Exit.DONE: "no difference",
            Exit.FAILED: "different or the device was lost",
            Exit.USAGE: "usage",
            Exit.TIMED_OUT: "the device does not answer in time",
        }
    )
    target = parser.add_mutually_exclusive_group()
    add_qemu(target.add_argument, default=BINARY)
    add_others(parser, target.add_argument)
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed makes the same moves (default 1)"
    )
    parser.add_argument(
        "--requests",
        type=count,
        default=10_000,
        metavar="N",
        help="how many to compare, such as 1M (default 10k: seconds, a few shapes of device; for a release, hours)",
    )
    parser.add_argument(
        "--log", type=file, metavar="FILE", help="keep all that the device answered as a request log (gzip)"
    )
    _add_accept(parser)
    parser.add_argument("-J", "--json", action="store_true", help="print figures and findings as JSON")
    _add_junit(parser)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say of rules where they stand and how `device check` sees them, or why it cannot."
    parser.epilog = exit_status({Exit.DONE: "done", Exit.USAGE: "no such rule"})
    parser.add_argument("rules", metavar="ID", nargs="*", help="a rule (PLUG-4) or a group (PLUG); all by default")


def _add_accept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="POLICY",
        help="where QEMU's device has a policy of its own, have ours do as the other device: usable-region, unknown-type, "
        "refusal-order … or all (docs/conformance.md); may be repeated",
    )


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Feed a recorded request log (JSON lines, gzip or plain) to the embedded device, or another, and compare every answer, "
        "configuration field, status, interrupt bit and generation."
    )
    parser.epilog = exit_status(
        {
            Exit.DONE: "no difference",
            Exit.FAILED: "different",
            Exit.USAGE: "a file is not a log",
            Exit.PARTLY: "nothing was done with the device in one of them",
            Exit.TIMED_OUT: "the device does not answer in time",
        }
    )
    add_others(parser, parser.add_mutually_exclusive_group().add_argument)
    _add_accept(parser)
    parser.add_argument("logs", type=file, metavar="LOG", nargs="+", help="a recorded request log")
    parser.add_argument("-J", "--json", action="store_true", help="print the outcome as JSON")
    _add_junit(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    code: int = {"check": _check, "fuzz": _fuzz, "replay": _replay, "rules": _rules}[args.action](args)
    return code


def _rules(args: argparse.Namespace) -> int:
    from virtiomem.conformance.rules import selected
    from virtiomem.report.terminal import make_console
    from virtiomem.report.terminal.verdicts import show_rules

    show_rules(make_console(sys.stdout), selected(args.rules))
    return Exit.DONE


def _check(args: argparse.Namespace) -> int:
    from virtiomem.conformance import formats, suite
    from virtiomem.conformance.against import load_report
    from virtiomem.conformance.rules import binding, called, selected
    from virtiomem.report.terminal import make_console
    from virtiomem.report.terminal.verdicts import show_report
    from virtiomem.status_line import StatusLine
    from virtiomem.writing import write_all

    rules = selected(args.rule or [])
    skipped = {rule: reason for name, reason in args.skip for rule in called(name)}
    check_outputs(args, "junit", "badge", inputs=list(filter(None, (args.qemu, args.against))))
    with expecting("a report of `virtiomem device check`", args.against):
        before = load_report(args.against) if args.against is not None else None
    with (
        _junit_of_no_device(args, "conformance"),
        StatusLine("no report was made") as progress,
        opened(args, progress) as target,
    ):
        report = suite.run(
            target, rules, lambda rule: progress.say(f"{rule.id}: {rule.text}"), skipped, binding(args.fail_on)
        )
    changes = before.changes(report) if before is not None else None
    try:
        if args.json:
            print(json.dumps(formats.to_dict(report, changes), indent=1))
        else:
            show_report(make_console(sys.stdout), report, changes)
    finally:
        # The files are written even when the reader of the table is gone: a CI reads them.
        forms = {args.junit: formats.to_junit, args.badge: formats.to_badge}
        write_all({path: form(report) for path, form in forms.items() if path is not None})
    if not report.conforms or any(change.worse for change in changes or ()):
        return Exit.FAILED
    return Exit.DONE if report.checked else Exit.PARTLY


@contextmanager
def _junit_of_no_device(args: argparse.Namespace, what: str) -> Iterator[None]:
    """Write --junit when the device does not start or is lost, too: a CI may read nothing else."""
    try:
        yield
    except (BackendError, DeviceError) as error:
        if args.junit is not None:
            from virtiomem.conformance.formats import junit_of_no_device
            from virtiomem.writing import write_whole

            write_whole(args.junit, junit_of_no_device(what, error))
        raise


def _fuzz(args: argparse.Namespace) -> int:
    from virtiomem.conformance import log
    from virtiomem.conformance.formats import figures_to_junit
    from virtiomem.conformance.fuzz import Figures, fuzz
    from virtiomem.conformance.policies import accepted
    from virtiomem.status_line import StatusLine
    from virtiomem.writing import write_whole

    accept = accepted(args.accept)
    check_outputs(args, "log", "junit", inputs=[args.qemu])
    kept = log.Writer() if args.log is not None else None
    counted: Figures | None = None
    try:
        with (
            _junit_of_no_device(args, "fuzzing"),
            StatusLine("the figures are of what was compared") as progress,
            opened(args, progress) as target,
        ):

            def on_line(figures: Figures, line: log.Operation) -> None:
                nonlocal counted
                counted = figures
                if kept is not None:
                    kept.write(line)
                # Not at every move: each time it is said, its timer starts a thread.
                if sum(figures.moves.values()) % 200 == 1:
                    progress.say(f"case {figures.cases}, {figures.requests} of {args.requests} requests compared")

            fuzz(target, seed=args.seed, requests=args.requests, on_line=on_line, accept=accept)
    finally:  # also when it was interrupted, or QEMU killed: what was compared until then was compared
        if counted is not None:
            _show_fuzzed(args, counted, kept)
    if args.junit is not None and counted is not None:
        write_whole(args.junit, figures_to_junit(counted))
    return Exit.FAILED if counted is None or counted.findings else Exit.DONE


def _show_fuzzed(args: argparse.Namespace, figures: "Figures", kept: "log.Writer | None") -> None:
    from virtiomem.conformance import formats
    from virtiomem.report.terminal import make_console
    from virtiomem.report.terminal.fuzzing import show_figures
    from virtiomem.writing import write_whole

    try:
        if args.json:
            print(json.dumps(formats.figures_to_dict(figures), indent=1))
        else:
            show_figures(make_console(sys.stdout), figures)
    finally:
        if kept is not None:
            write_whole(args.log, kept.finish())


def _replay(args: argparse.Namespace) -> int:
    from virtiomem.conformance.formats import replays_to_junit
    from virtiomem.conformance.policies import accepted
    from virtiomem.conformance.replay import ReplayResult, replay
    from virtiomem.conformance.retrace import retrace
    from virtiomem.status_line import StatusLine
    from virtiomem.writing import write_whole

    outcomes: dict[str, ReplayResult] = {}
    make, accept = maker(args), accepted(args.accept)
    check_outputs(args, "junit", inputs=args.logs)
    for number, path in enumerate(args.logs, 1):
        with (
            _junit_of_no_device(args, "replay"),
            StatusLine() as progress,
            expecting("a log of requests to a device", path),
        ):
            progress.say(f"log {number} of {len(args.logs)}: {path}")
            target = make() if make is not None else None
            outcomes[path] = outcome = (
                retrace(path, target, accept) if target is not None and accept else replay(path, target, accept)
            )
        if not args.json:
            _show_replayed(path, outcome)
    if args.json:
        print(json.dumps([{"log": path, **asdict(outcome)} for path, outcome in outcomes.items()], indent=2))
    if args.junit is not None:
        write_whole(args.junit, replays_to_junit(outcomes))
    if any(outcome.differing for outcome in outcomes.values()):
        return Exit.FAILED
    return Exit.PARTLY if any(outcome.only_begun for outcome in outcomes.values()) else Exit.DONE


def _show_replayed(path: str, outcome: "ReplayResult") -> None:
    counted = f"{outcome.requests} requests in {outcome.operations} operations"
    if outcome.first is None:
        nothing = "; nothing was done with the device" if outcome.only_begun else ""
        show(f"{path}: {counted}, no difference{nothing}\n")
    else:
        show(f"{path}: {counted}, {outcome.differing} of them different; the first:\n  {outcome.first}\n")
