"""`virtiomem compare A B`: two recordings, the same or the first difference."""

import argparse
import json
from dataclasses import asdict

from virtiomem import recording
from virtiomem.recording.compare import Difference, compare

EXIT_DIFFERENT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = "Exit status: 0 the same, 1 different, 2 a file is no recording."
    parser.add_argument("a", metavar="A", help="a recording (virtiomem run --record)")
    parser.add_argument("b", metavar="B", help="another one")
    parser.add_argument("-J", "--json", action="store_true", help="print the verdict as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare, and say the verdict."""
    a, b = recording.load(args.a), recording.load(args.b)
    difference = compare(a, b)
    if args.json:
        print(json.dumps({"same": difference is None, "difference": asdict(difference) if difference else None}))
    elif difference is None:
        print(f"same: {len(a.steps)} steps")
    else:
        _tell(difference, args.a, args.b)
    return EXIT_DIFFERENT if difference else 0


def _tell(difference: Difference, a: str, b: str) -> None:
    """Say where the two part, with both values under one another."""
    width = max(len(a), len(b))
    print(f"different at {difference.place}: {difference.what}")
    print(f"  {a:<{width}}  {difference.a}")
    print(f"  {b:<{width}}  {difference.b}")
