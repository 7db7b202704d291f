"""`virtiomem compare A B`: two recordings; `virtiomem compare SCENARIO`: the embedded guest against a real Linux."""

import argparse
import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from virtiomem import recording, scenario
from virtiomem.cli import guests
from virtiomem.cli.arguments import check_outputs, exit_status, file
from virtiomem.errors import Exit, UsageError
from virtiomem.recording import Recording
from virtiomem.recording.apart import Apart, set_apart
from virtiomem.recording.compare import Difference, Rules, compare, not_compared
from virtiomem.recording.values import Use
from virtiomem.recording.words import describe, plural
from virtiomem.report.terminal import Progress
from virtiomem.text import one_line, quoted, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "the same",
            Exit.FAILED: "different (or the real guest was lost)",
            Exit.USAGE: "a file or option is wrong",
            Exit.TIMED_OUT: "the real guest did not answer in time",
        }
    )
    parser.add_argument("a", type=file, metavar="A", help="a recording (virtiomem run --record); alone: a scenario")
    parser.add_argument("b", type=file, metavar="B", nargs="?", help="another recording")
    parser.add_argument("-J", "--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument(
        "--all",
        action="store_true",
        help="compare everything but times, also lines that are the kernel's, its build's or the firmware's own",
    )
    parser.add_argument(
        "--ignore",
        type=_pattern,
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out lines of the map, and differences, that match this regular expression; may be repeated",
    )
    parser.add_argument("--record", type=file, metavar="FILE", help="keep the real guest's recording in FILE")
    guests.add_linux_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, and say the verdict."""
    args.guest = "linux" if args.b is None else "none"
    guests.check_linux_arguments(args)
    if args.b is not None and args.record is not None:
        raise UsageError("--record keeps what a real guest did: give a scenario alone")
    if args.b is None:
        a, b = _play_both(args)
        names = [guests.guest_in_words(a), guests.guest_in_words(b)]
    else:
        a, b = recording.load(args.a), recording.load(args.b)
        names = [args.a, args.b]
    difference = compare(a, b, Rules(everything=args.all, ignore=tuple(args.ignore)))
    apart = Apart() if args.all else set_apart(a.boot, b.boot)
    left_out = _left_out(a, b, args)
    if args.json:
        verdict = _as_json(difference, apart, left_out)
        print(json.dumps({**verdict, "guests": [a.guest, b.guest]} if args.b is None else verdict))
        return Exit.FAILED if difference else Exit.DONE
    names = [shown(name) for name in names]
    if difference is None:
        who = f", {names[0]} and {names[1]}" if args.b is None else ""
        print(one_line(f"same: {len(a.steps)} {plural(len(a.steps), 'step')}{who}"))
    else:
        print(one_line(f"different at {difference.place}: {difference.what}"))
        _beside(names, [difference.a], [difference.b])
        if args.b is None and any(isinstance(record.step, Use) for record in a.steps[: difference.step]):
            print("note: where `use` finds its memory is each kernel's own choice (docs/real-guest.md)")
    for words in left_out:
        print(one_line(f"not compared: {words}"))
    if apart != Apart():
        print("set apart, as the kernel's, its build's or the firmware's own (--all compares it):")
        _beside(names, apart.a, apart.b)
    return Exit.FAILED if difference else Exit.DONE


def _left_out(a: Recording, b: Recording, args: argparse.Namespace) -> list[str]:
    """What was not compared, in words."""
    kexec = "" if args.all else not_compared(a) or not_compared(b)
    return [words for words in (kexec, *(f"what matches {pattern.pattern}" for pattern in args.ignore)) if words]


def _as_json(difference: Difference | None, apart: Apart, left_out: list[str]) -> dict[str, object]:
    """The verdict for programs."""
    own = {side: [line.strip() for line in lines] for side, lines in asdict(apart).items()}
    return {
        "same": difference is None,
        "difference": asdict(difference) if difference else None,
        **({"not-compared": "; ".join(left_out)} if left_out else {}),
        **({"set-apart": own} if apart != Apart() else {}),
    }


def _pattern(text: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {quoted(text)} ({error})") from None


def _play_both(args: argparse.Namespace) -> tuple[Recording, Recording]:
    """Play a scenario on a real Linux, and on the embedded guest from where that one started."""
    if args.a.endswith(".json"):
        raise UsageError(f"{args.a}: one recording compares with nothing; give another one, or a scenario alone")
    played = scenario.load(args.a)
    check_outputs(args, "record", "console", inputs=guests.inputs_of(played, args))
    with Progress() as progress:

        def on_step(so_far: Recording) -> None:
            if (done := len(so_far.steps)) < len(played.steps):
                progress.say(f"step {done + 1} of {len(played.steps)}: {describe(played.steps[done])}")

        with closing(guests.open_linux(played, args, progress.say)) as guest:
            real = scenario.play(played, guest, on_step)
    if args.record is not None:
        recording.dump(real, args.record)
    with closing(scenario.embedded_guest(played, real.boot)) as guest:
        return scenario.play(played, guest), real


def _beside(names: list[str], *lines: Sequence[str]) -> None:
    """Say what each side has, under one another."""
    width = max(map(len, names))
    for name, mine in zip(names, lines, strict=True):
        for line in mine:
            print(f"  {name:<{width}}  {one_line(line.strip())}")
