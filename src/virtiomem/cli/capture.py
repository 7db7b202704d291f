"""`virtiomem capture`: what a running Linux says about its memory, in one small file."""

import argparse
import json
import sys
from pathlib import Path

from virtiomem import __version__
from virtiomem.cli.arguments import check_outputs, exit_status, file, refuse_unused, seconds
from virtiomem.columns import align
from virtiomem.errors import BackendError, Exit, UsageError
from virtiomem.live import script
from virtiomem.live.capture import Capture, dump, dumps, to_json
from virtiomem.live.collect import COUNTING_SECONDS, collect
from virtiomem.live.sources import SOURCES
from virtiomem.resource import iomem
from virtiomem.stdio import say, terminal_width, warn, write_listing

IOMEM = "proc/iomem"
_BY = f"virtiomem {__version__}"
ON_REQUEST = {one.heading for one in SOURCES if one.on_request}
"""What is read with --pages only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source, destination and options of a capture."""
    codes = {
        Exit.DONE: "all that is there was read",
        Exit.FAILED: "nothing is there to read",
        Exit.USAGE: "usage",
        Exit.PARTLY: "some of it could not be read, or its addresses are hidden (read it as root)",
    }
    about = "Read `virtiomem capture --list` before you send a capture: it names everything that is in one."
    parser.epilog = f"{about} {exit_status(codes, '; ')}"
    add = parser.add_argument
    add(
        "-o",
        "--output",
        type=file,
        metavar="FILE",
        help="write here, whole or not at all; compressed if it ends in .gz",
    )
    add("-s", "--sysroot", type=file, metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    add(
        "--pages",
        action="store_true",
        help="also ask what each memory block's pages are used for, and which of virtio-mem's are plugged (root; 8 bytes a page)",
    )
    add("--seconds", type=seconds, metavar="TIME", help="… for so long at most, the highest blocks first (default 20s)")
    add("-J", "--json", action="store_true", help="print the capture as JSON")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="say what would be read and why, and read nothing")
    what.add_argument("--script", action="store_true", help="print a shell program that captures where no Python is")


def run(args: argparse.Namespace) -> int:
    """Capture, or say how."""
    _check_options(args)
    if args.list:
        print(json.dumps(_sources(), indent=1) if args.json else _source_table(), end="\n" if args.json else "")
        return 0
    if args.script:
        sys.stdout.write(script.text(__version__))
        return 0
    # Before a look at the pages, which may take forty seconds.
    check_outputs(args, "output", inputs=[Path(args.sysroot, one.heading) for one in SOURCES])
    capture = collected(args.sysroot, pages=args.pages, seconds=args.seconds or COUNTING_SECONDS)
    if not any(section.text for section in capture.sections.values()):
        raise BackendError(f"{args.sysroot}: nothing to capture: none of the files of `capture --list` can be read")
    if args.output:
        dump(capture, args.output)
    elif args.json:
        print(json.dumps(to_json(capture), indent=1))
    else:
        write_listing(dumps(capture))
    return _tell(capture, args)


def collected(sysroot: str, *, pages: bool, seconds: float = COUNTING_SECONDS) -> Capture:
    """Collect; where pages are counted, which takes as long as it is given, that is said while it goes on."""
    if not pages:
        return collect(sysroot, by=_BY)
    from virtiomem.status_line import StatusLine

    with StatusLine("nothing was captured") as progress:
        progress.say(f"reading {sysroot} and asking what its pages are used for, for {seconds:g} s at most")
        return collect(sysroot, pages=True, seconds=seconds, by=_BY)


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options of a capture where none is made."""
    if args.list or args.script:
        unread = {"--output": args.output, "--pages": args.pages, "--sysroot": args.sysroot != "/"}
        refuse_unused(unread | {"--json": args.script and args.json}, "is for a capture, and none is made")
    if not args.pages:
        refuse_unused({"--seconds": args.seconds}, "is for --pages")
    if args.output:
        refuse_unused({"--json": args.json}, "prints the capture; -o writes it as text")


def _sources() -> list[dict[str, object]]:
    return [{"path": one.heading, "why": one.why, "takes": list(one.what)} for one in SOURCES]


def _source_table() -> str:
    return align([("READS", "WHY"), *((f"/{one.heading}", one.why) for one in SOURCES)], width=terminal_width())


def _tell(capture: Capture, args: argparse.Namespace) -> int:
    """Print on stderr what was written and which of the requested sources could not be read. Return the exit code."""
    asked = {at: section for at, section in capture.sections.items() if args.pages or at not in ON_REQUEST}
    unread = {at: section.remark for at, section in asked.items() if section.unread or section.refused}
    # The capture first, also where both streams go into one file.
    sys.stdout.flush()
    if args.output or unread:
        where, size = (args.output, f", {Path(args.output).stat().st_size} bytes") if args.output else ("capture", "")
        say(f"{where}: {len(asked) - len(unread)} of {len(asked)} sources{size}")
    for at, remark in unread.items():
        say(f"  /{at}: {remark}")
    # Kernels differ: an absent file leaves the capture whole. A denied one, or a requested one not read, does not.
    missing = any(section.refused for section in asked.values()) or any(at in unread for at in ON_REQUEST)
    try:
        # Now, where it can still be taken again as root: masked addresses look like a whole file.
        iomem.loads(capture.iomem, source=f"/{IOMEM}")
    except UsageError as error:
        warn(str(error))
        missing = True
    return Exit.PARTLY if missing else Exit.DONE
