"""`virtiomem compare A B`: two recordings; `virtiomem compare SCENARIO`: the embedded guest against a real Linux."""

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

from virtiomem import recording, scenario
from virtiomem.cli import guests
from virtiomem.cli.arguments import check_outputs, exit_status, file, load_recording, load_scenario, refuse_unused
from virtiomem.cli.rules import add_rules, rules_of
from virtiomem.errors import Exit, UsageError
from virtiomem.recording import Recording
from virtiomem.recording.apart import Apart, set_apart
from virtiomem.recording.compare import RecordingDifference, compare, not_compared
from virtiomem.recording.describe import describe, describe_guest, how_it_went
from virtiomem.recording.values import Use
from virtiomem.status_line import StatusLine
from virtiomem.text import one_line, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
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
    add_rules(parser)
    parser.add_argument("--record", type=file, metavar="FILE", help="keep the real guest's recording in FILE")
    guests.add_linux_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, and say the verdict."""
    # With two recordings no guest plays, and the options of a real one are refused.
    args.guest = "linux" if args.b is None else "none"
    guests.check_linux_arguments(args)
    if args.b is not None:
        refuse_unused({"--record": args.record}, "keeps what a real guest did: give a scenario alone")
    if args.b is None:
        a, b = _play_both(args)
        names = [describe_guest(a.guest), describe_guest(b.guest)]
    else:
        a, b = load_recording(args.a), load_recording(args.b)
        names = [args.a, args.b]
    verdict = _judge(a, b, args)
    if args.json:
        print(
            json.dumps(
                verdict.as_json() | _how_both_went(a, b) | ({"guests": [a.guest, b.guest]} if args.b is None else {})
            )
        )
    else:
        _tell(verdict, a, [shown(name) for name in names], played=args.b is None)
    return Exit.FAILED if verdict.difference else Exit.DONE


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The first difference, the lines set apart on each side, and in words what was not compared."""

    difference: RecordingDifference | None
    apart: tuple[list[str], list[str]]
    left_out: list[str]

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "same": self.difference is None,
            "difference": asdict(self.difference) if self.difference else None,
            **({"not-compared": "; ".join(self.left_out)} if self.left_out else {}),
            **({"set-apart": dict(zip("ab", self.apart, strict=True))} if any(self.apart) else {}),
        }


def _how_both_went(a: Recording, b: Recording) -> dict[str, list[int]]:
    """Two recordings may be the same because neither did what it was to do."""
    return {
        "steps": [len(one.steps) for one in (a, b)],
        "refused": [sum(record.error is not None for record in one.steps) for one in (a, b)],
        "stopped-short": [sum(not record.settled for record in one.steps) for one in (a, b)],
    }


def _judge(a: Recording, b: Recording, args: argparse.Namespace) -> _Verdict:
    """Compare the parts that the options select."""
    rules = rules_of(args)
    apart = Apart() if args.all else set_apart(a.boot, b.boot)
    own = tuple([line.strip() for line in side if not rules.ignores(line)] for side in (apart.a, apart.b))
    kexec = "" if args.all else not_compared(a) or not_compared(b)
    left_out = [*([kexec] if kexec else []), *(f"what matches {pattern.pattern}" for pattern in args.ignore)]
    return _Verdict(compare(a, b, rules), (own[0], own[1]), left_out)


def _tell(verdict: _Verdict, a: Recording, names: list[str], *, played: bool) -> None:
    """Say the verdict; `played`: both have just played a scenario."""
    difference = verdict.difference
    if difference is None:
        who = f", {names[0]} and {names[1]}" if played else ""
        print(one_line(f"same: {how_it_went(a.steps) if a.steps else 'the guest at boot; there is no step'}{who}"))
    else:
        print(one_line(f"different at {difference.place}: {difference.what}"))
        _beside(names, [difference.a], [difference.b])
        # Only a `use` before the difference can have brought it about.
        if played and any(isinstance(record.step, Use) for record in a.steps[: difference.step]):
            print("note: where `use` finds its memory is each kernel's own choice (docs/real-guest.md)")
    if played and "stands-in-for" in a.guest:
        print(one_line(f"note: the model is Linux {a.guest['kernel']}, in place of {a.guest['stands-in-for']}"))
    for words in verdict.left_out:
        print(one_line(f"not compared: {words}"))
    if any(verdict.apart):
        print("set apart, as the kernel's, its build's or the firmware's own (--all compares it):")
        _beside(names, *verdict.apart)


def _play_both(args: argparse.Namespace) -> tuple[Recording, Recording]:
    """Play a scenario on a real Linux, and on the embedded guest from where that one started."""
    if args.a.endswith(".json"):
        raise UsageError(f"{args.a}: one recording compares with nothing; give another one, or a scenario alone")
    played = load_scenario(args.a)
    check_outputs(args, "record", "console", inputs=guests.inputs_of(played, args))
    with StatusLine("nothing was compared", logs=True) as progress:

        def on_step(so_far: Recording) -> None:
            if (done := len(so_far.steps)) < len(played.steps):
                progress.say(f"step {done + 1} of {len(played.steps)}: {describe(played.steps[done])}")

        with closing(guests.open_linux(played, args, progress.say, pages=True)) as guest:
            real = scenario.play(played, guest, on_step)
    # Before the model plays: the real guest took minutes, and its recording helps where the model fails.
    if args.record is not None:
        recording.dump(real, args.record)
    return scenario.play_again(played, real), real


def _beside(names: list[str], *lines: Sequence[str]) -> None:
    """Say what each side has, under one another."""
    width = max(map(len, names))
    for name, mine in zip(names, lines, strict=True):
        for line in mine:
            print(f"  {name:<{width}}  {one_line(line)}")
