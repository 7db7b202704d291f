"""`virtiomem iomem diff A B`: what changed between two maps, by meaning."""

import argparse
import json

from virtiomem.cli.arguments import exit_status, file, load_input
from virtiomem.cli.iomem import add_reading, at_least_values, read
from virtiomem.errors import Exit, UsageError
from virtiomem.listing.diff import diff, sentence, values

DESCRIPTION = "What was added, removed, grew, was split, merged, renamed or moved from A to B: by meaning, not by line."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two maps."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "the same",
            Exit.FAILED: "different",
            Exit.USAGE: "usage or a damaged listing",
            Exit.PARTLY: "something of a map may be missing (--lenient)",
        }
    )
    parser.add_argument("before", type=file, metavar="A", help="a listing, a capture or a recording, - for stdin")
    parser.add_argument("after", type=file, metavar="B", help="another")
    parser.add_argument("-J", "--json", action="store_true", help="JSON, one change an element")
    parser.add_argument("-b", "--bytes", action="store_true", help="sizes in bytes")
    add_reading(parser)


def run(args: argparse.Namespace) -> int:
    """Print what changed."""
    if args.before == args.after == "-":
        raise UsageError("- -: standard input can be read once; give another file")
    readings = [read(load_input(args, "iomem", path), lenient=args.lenient) for path in (args.before, args.after)]
    trees = [reading.tree for reading in readings]
    at_least = any(reading.at_least for reading in readings)
    if args.merge:
        for tree in trees:
            tree.merge_adjacent_system_ram()
    changes = diff(*trees)
    if args.json:
        print(json.dumps({"changes": [values(change) for change in changes]} | at_least_values(at_least), indent=1))
    else:
        for change in changes:
            print(sentence(change, in_bytes=args.bytes))
    if at_least:
        return Exit.PARTLY
    return Exit.FAILED if changes else Exit.DONE
