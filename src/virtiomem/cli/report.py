"""`virtiomem report RECORDING… -o report.html`: what happened to a guest, as one page anyone can open."""

import argparse
import sys

from virtiomem.cli.arguments import check_outputs, exit_status, file, load_recording
from virtiomem.errors import Exit, UsageError
from virtiomem.writing import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.epilog = exit_status({Exit.DONE: "done", Exit.USAGE: "a file or option is wrong"})
    parser.add_argument(
        "recordings",
        type=file,
        metavar="RECORDING",
        nargs="+",
        help="what `virtiomem run --record` wrote; two: side by side",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=file, help="the page to write (HTML)")
    parser.add_argument("-J", "--json", action="store_true", help="print what the page would show, as JSON, instead")


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from virtiomem.report.moments import Source
    from virtiomem.report.page import page, page_json

    if len(args.recordings) > 2:
        raise UsageError(f"{len(args.recordings)} recordings: a page shows one, or two side by side")
    if args.output is None and not args.json:
        raise UsageError("where should the page go? (-o report.html)")
    check_outputs(args, "output", inputs=args.recordings)
    sources = [Source(path, load_recording(path)) for path in args.recordings]
    try:
        if args.json:
            sys.stdout.write(page_json(sources) + "\n")
    finally:
        # Also when the reader of the JSON is gone.
        if args.output is not None:
            write_whole(args.output, page(sources).encode())
    return 0
