"""`virtiomem map FILE --svg OUT`: one picture of the address space, for a bug report or a page of documentation."""

import argparse
import json

from virtiomem.cli.arguments import add_from, add_step, check_outputs, exit_status, file, refuse_unused
from virtiomem.errors import Exit, UsageError
from virtiomem.stdio import warn
from virtiomem.writing import write_all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "drawn",
            Exit.FAILED: "no program makes a PNG",
            Exit.USAGE: "usage",
            Exit.PARTLY: "some of it may be missing",
        }
    )
    parser.add_argument(
        "file", type=file, metavar="FILE", help="a /proc/iomem listing, a capture or a recording; -: stdin"
    )
    parser.add_argument("--svg", metavar="OUT", type=file, help="write the picture as SVG")
    parser.add_argument(
        "--png", metavar="OUT", type=file, help="write it as PNG (needs rsvg-convert, cairosvg or chromium)"
    )
    add_step(parser)
    parser.add_argument("--title", metavar="TEXT", help="the picture's title; else what the file is called")
    parser.add_argument("--lenient", action="store_true", help="put a damaged listing right, and say what was done")
    add_from(parser)
    parser.add_argument("-J", "--json", action="store_true", help="print the resources shown, as JSON")


def run(args: argparse.Namespace) -> int:
    """Draw the picture."""
    from virtiomem.report import png
    from virtiomem.report.maps import read

    if not (args.svg or args.png or args.json):
        raise UsageError("where should the picture go? (--svg map.svg, --png map.png)")
    if not (args.svg or args.png):
        refuse_unused({"--title": args.title}, "is for a picture: give --svg or --png")
    check_outputs(args, "svg", "png", inputs=[args.file])
    shown = read(args.file, step=args.step, lenient=args.lenient, kind=args.kind)
    for mended in shown.repairs:
        warn(mended)
    svg = shown.picture(args.title)
    outputs = {args.svg: svg.encode()} if args.svg else {}
    # Made before anything is written: where no program can make a PNG, there is no SVG either.
    if args.png:
        outputs[args.png] = png.render(svg)
    try:
        if args.json:
            print(json.dumps(shown.as_json(), indent=1))
    finally:
        # Also when the reader of the JSON is gone.
        write_all(outputs)
    return Exit.PARTLY if shown.at_least else Exit.DONE
