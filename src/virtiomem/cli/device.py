"""`virtiomem device …`: check a virtio-mem device, or replay what a real one answered."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from virtiomem.cli.arguments import check_outputs, count, exit_status, expecting, file, positive, refuse_unused, seconds
from virtiomem.conformance.rules import STRICTER
from virtiomem.errors import BackendError, DeviceError, Exit
from virtiomem.qemu.process import BINARY
from virtiomem.stdio import show
from virtiomem.text import one_line, quoted

BOOT_SECONDS = 120
"""Default boot memory of a guest."""

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from virtiomem.conformance import log
    from virtiomem.conformance.fuzz import Figures
    from virtiomem.conformance.replay import ReplayResult
    from virtiomem.conformance.testbench import Target
    from virtiomem.status_line import StatusLine


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
    _add_qemu(target.add_argument)
    _add_others(parser, target.add_argument)
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


def _add_qemu(add_argument: Callable[..., object], **default: str) -> None:
    """`--qemu`, with or without a program."""
    add_argument(
        "--qemu",
        nargs="?",
        const=BINARY,
        type=file,
        metavar="PATH",
        help="QEMU's device; PATH is the program, from $PATH by default",
        **default,
    )


def _add_others(parser: argparse.ArgumentParser, add_argument: Callable[..., object]) -> None:
    """Devices of other programs and packages, one of them by `add_argument`, and what they need as well."""
    add_argument(
        "--command",
        dest="program",
        type=_command,
        metavar="PROG",
        help="the device of a program, with its arguments, that speaks JSON lines (docs/device-protocol.md)",
    )
    add_argument(
        "--boot",
        metavar="COMMAND",
        help="the device that a VMM gives its guests: COMMAND boots {kernel} with {initrd} and {append}, and its input and output "
        "are the guest's first serial port (docs/hands.md)",
    )
    add_argument(
        "--subject",
        type=_subject,
        metavar="MODULE:FACTORY",
        help="the devices of a Python object: what FACTORY() returns is a conformance.testbench.Target",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="what the program of --command has for each answer (default 10)",
    )
    booting = parser.add_argument_group("with --boot")
    booting.add_argument(
        "--kernel", metavar="FILE|RELEASE", help="the kernel for the guest; the newest in /boot by default"
    )
    booting.add_argument("--append", metavar="WORDS", help="more for the kernel's command line")
    booting.add_argument(
        "--console",
        metavar="unix:PATH|pty:PATH",
        help="where the guest's first serial port is, if not the command's own",
    )
    booting.add_argument(
        "--hands", metavar="FILE", type=file, help="the program for the guest (make hands), else compiled now"
    )
    booting.add_argument(
        "--boot-timeout",
        type=positive,
        default=BOOT_SECONDS,
        metavar="SECONDS",
        help=f"what a boot may take (default {BOOT_SECONDS})",
    )
    hook = booting.add_mutually_exclusive_group()
    hook.add_argument("--resize-command", metavar="COMMAND", help="sets the device's requested size to {size} bytes")
    hook.add_argument(
        "-c", "--connect", metavar="MACHINE", help="the same through a door of `vm`, such as qmp:/run/vm.sock"
    )


def _command(text: str) -> list[str]:
    """Read a program and its arguments, quoted as in a shell."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("an empty command")
    return words


def _subject(text: str) -> tuple[str, str]:
    """Read the name of a module and of what makes the target in it."""
    module, _, factory = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), factory)):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not MODULE:FACTORY")
    return module, factory


def _skip(text: str) -> tuple[str, str]:
    """Read a rule or a group, and why it is skipped."""
    name, _, reason = text.partition("=")
    if not reason.strip():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not ID=REASON, such as PLUG-4='known, bug 123'")
    return name, one_line(reason.strip())


def _other(args: argparse.Namespace) -> "Callable[[], Target] | None":
    """Return the factory of a device that another program or package provides; None when none was named."""
    from virtiomem.conformance.messages import command_target
    from virtiomem.conformance.subject import load_target

    if args.boot is not None:
        refuse_unused({"--timeout": args.timeout}, "is for --command; --boot has --boot-timeout")
        return partial(_boot_target, args)
    booting = ("kernel", "append", "console", "hands", "resize_command", "connect")
    given = {f"--{name.replace('_', '-')}": getattr(args, name) for name in booting}
    refuse_unused(given | {"--boot-timeout": args.boot_timeout != BOOT_SECONDS}, "is for --boot")
    if args.program is not None:
        return partial(command_target, args.program, seconds=args.timeout)
    refuse_unused({"--timeout": args.timeout}, "is for --command")
    return partial(load_target, *args.subject) if args.subject is not None else None


def _boot_target(args: argparse.Namespace) -> "Target":
    """The target of --boot; raises UsageError for impossible options, BackendError where no device is reached."""
    from virtiomem.conformance.booted import BootTarget, CommandHook, Hook, expected_release
    from virtiomem.conformance.consoles import read_console
    from virtiomem.conformance.vmm import Vmm, read_command
    from virtiomem.files import read_bytes
    from virtiomem.guest import hands
    from virtiomem.guest.linux.kernels import choose_image

    command = read_command(args.boot)
    kernel = choose_image(args.kernel)
    architecture = hands.architecture_of(kernel)
    vmm = Vmm(
        command,
        kernel,
        read_bytes(args.hands) if args.hands else hands.build(architecture),
        architecture,
        args.append or "",
        read_console(args.console) if args.console is not None else None,
        float(args.boot_timeout),
    )
    hook: Hook | None = None
    if args.resize_command is not None:
        hook = CommandHook(args.resize_command)
    elif args.connect is not None:
        from virtiomem.vm.hook import DoorHook

        hook = DoorHook(args.connect)
    return BootTarget(vmm, hook, expected_release(command))


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
    _add_qemu(target.add_argument, default=BINARY)
    _add_others(parser, target.add_argument)
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
    _add_others(parser, parser.add_mutually_exclusive_group().add_argument)
    _add_accept(parser)
    parser.add_argument("logs", type=file, metavar="LOG", nargs="+", help="a recorded request log")
    parser.add_argument("-J", "--json", action="store_true", help="print the outcome as JSON")
    _add_junit(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    code: int = {"check": _check, "fuzz": _fuzz, "replay": _replay, "rules": _rules}[args.action](args)
    return code


def _opened(args: argparse.Namespace, progress: "StatusLine") -> "AbstractContextManager[Target]":
    """The target that the options name; what it has to wait for is said."""
    from virtiomem.conformance.targets import open_target

    progress.say("starting the device" if args.boot is None else "booting the guest that has the device")
    return open_target(args.qemu, _other(args))


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
    from virtiomem.files import write_all
    from virtiomem.report.terminal import make_console
    from virtiomem.report.terminal.verdicts import show_report
    from virtiomem.status_line import StatusLine

    rules = selected(args.rule or [])
    skipped = {rule: reason for name, reason in args.skip for rule in called(name)}
    check_outputs(args, "junit", "badge", inputs=list(filter(None, (args.qemu, args.against))))
    with expecting("a report of `virtiomem device check`", args.against):
        before = load_report(args.against) if args.against is not None else None
    with (
        _junit_of_no_device(args, "conformance"),
        StatusLine("no report was made") as progress,
        _opened(args, progress) as target,
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
        forms = {args.junit: formats.to_junit, args.badge: formats.to_badge}
        write_all({path: form(report) for path, form in forms.items() if path is not None})
    if not report.conforms or any(change.worse for change in changes or ()):
        return Exit.FAILED
    return Exit.DONE if report.checked else Exit.PARTLY


@contextmanager
def _junit_of_no_device(args: argparse.Namespace, what: str) -> Iterator[None]:
    """Write --junit also where there is no device, or no longer: a CI may read nothing else."""
    try:
        yield
    except (BackendError, DeviceError) as error:
        if args.junit is not None:
            from virtiomem.conformance.formats import junit_of_no_device
            from virtiomem.files import write_whole

            write_whole(args.junit, junit_of_no_device(what, error))
        raise


def _fuzz(args: argparse.Namespace) -> int:
    from virtiomem.conformance import log
    from virtiomem.conformance.formats import figures_to_junit
    from virtiomem.conformance.fuzz import Figures, fuzz
    from virtiomem.conformance.policies import accepted
    from virtiomem.files import write_whole
    from virtiomem.status_line import StatusLine

    accept = accepted(args.accept)
    check_outputs(args, "log", "junit", inputs=[args.qemu])
    kept = log.Writer() if args.log is not None else None
    counted: Figures | None = None
    try:
        with (
            _junit_of_no_device(args, "fuzzing"),
            StatusLine("the figures are of what was compared") as progress,
            _opened(args, progress) as target,
        ):

            def on_line(figures: Figures, line: log.Operation) -> None:
                nonlocal counted
                counted = figures
                if kept is not None:
                    kept.write(line)
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
    from virtiomem.files import write_whole
    from virtiomem.report.terminal import make_console
    from virtiomem.report.terminal.fuzzing import show_figures

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
    from virtiomem.files import write_whole
    from virtiomem.status_line import StatusLine

    outcomes: dict[str, ReplayResult] = {}
    other, accept = _other(args), accepted(args.accept)
    check_outputs(args, "junit", inputs=args.logs)
    for number, path in enumerate(args.logs, 1):
        with (
            _junit_of_no_device(args, "replay"),
            StatusLine() as progress,
            expecting("a log of requests to a device", path),
        ):
            progress.say(f"log {number} of {len(args.logs)}: {path}")
            target = other() if other is not None else None
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
