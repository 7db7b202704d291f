"""`virtiomem device …`: check a virtio-mem device, or replay what a real one answered."""

import argparse
import json
from dataclasses import asdict

EXIT_DIFFERENT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and what they take."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_replay(actions.add_parser("replay", help="feed recorded requests to the embedded device", allow_abbrev=False))


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Feed a recorded request log (JSON lines, gzip or plain) to the embedded device and compare every answer, "
        "configuration field, status, interrupt bit and generation."
    )
    parser.epilog = "Exit status: 0 no difference, 1 different, 2 a file is no log."
    parser.add_argument("logs", metavar="LOG", nargs="+", help="a recorded request log")
    parser.add_argument("-J", "--json", action="store_true", help="print the outcome as JSON")


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    return _replay(args)


def _replay(args: argparse.Namespace) -> int:
    from virtiomem.conformance.replay import replay

    outcomes = {path: replay(path) for path in args.logs}
    if args.json:
        print(json.dumps([{"log": path, **asdict(outcome)} for path, outcome in outcomes.items()], indent=2))
    else:
        for path, outcome in outcomes.items():
            counted = f"{outcome.requests} requests in {outcome.operations} operations"
            if outcome.first is None:
                print(f"{path}: {counted}, no difference")
            else:
                print(f"{path}: {counted}, {outcome.differing} of them different; the first:")
                print(f"  {outcome.first}")
    return EXIT_DIFFERENT if any(outcome.differing for outcome in outcomes.values()) else 0
