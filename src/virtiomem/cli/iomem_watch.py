"""`virtiomem iomem watch`: what changes in a map, as it changes."""

import argparse
import json
from datetime import UTC, datetime

from virtiomem.cli.arguments import check_one_source, file, positive, seconds
from virtiomem.cli.iomem import add_reading, remarks
from virtiomem.errors import UsageError
from virtiomem.listing import repair
from virtiomem.listing.diff import ResourceChange, sentence, values
from virtiomem.listing.watch import MemoryEvents, watch
from virtiomem.live.collect import collect  # not when first needed: by then the kernel may have spoken
from virtiomem.live.reading import load_any
from virtiomem.resource.node import Resource
from virtiomem.stdio import warn

DESCRIPTION = (
    "Say what changes in this machine's map as it changes: when the kernel announces memory, and now and then."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: what to watch, how often, how to print it."""
    parser.epilog = "One line a change, until it is interrupted (exit status 130) or --count changes were seen (0)."
    add = parser.add_argument
    add("file", nargs="?", type=file, metavar="FILE", help="a listing that someone rewrites; else this machine's")
    add("-s", "--sysroot", type=file, metavar="DIR", default="/", help="watch the Linux whose files are below DIR")
    add("-i", "--interval", metavar="TIME", type=seconds, default=1.0, help="read again at least as often (default 1s)")
    add("--count", metavar="N", type=positive, help="stop after N changes")
    add("-J", "--json", action="store_true", help="one JSON object a line")
    add("-b", "--bytes", action="store_true", help="sizes in bytes")
    add_reading(parser)


def run(args: argparse.Namespace) -> int:
    """Watch and tell."""
    check_one_source(args)
    # The kernel's events are about this machine: they say nothing about a file or a copy.
    events = MemoryEvents(args.interval, uevents=not args.file and args.sysroot == "/")
    told = 0
    try:
        for changes in watch(_MapReader(args).read, events.wait, _say_lost):
            for change in changes:
                # Into a pipe Python writes by the block: its reader would hear of a change much later.
                print(_line(change, args), flush=True)
                told += 1
                if told == args.count:
                    return 0
    finally:
        events.close()
    return 0


class _MapReader:
    """Reads the map again and again; what there is to remark is said when it is something else than the last time."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.said: list[str] = []

    def read(self) -> Resource:
        """The map as it is now."""
        args = self.args
        capture = (
            load_any(args.file, verb="iomem", kind=args.kind)
            if args.file
            else collect(args.sysroot, only=("proc/iomem",))
        )
        source = capture.iomem_source
        reading = repair.read(capture.iomem, source=source, lenient=args.lenient)
        said, self.said = self.said, list(remarks(reading, source))
        for remark in self.said if self.said != said else ():
            warn(remark)
        if args.merge:
            reading.tree.merge_adjacent_system_ram()
        return reading.tree


def _say_lost(error: UsageError) -> None:
    warn(f"lost, and read again until it can be read: {error}")


def _line(change: ResourceChange, args: argparse.Namespace) -> str:
    now = datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if args.json:
        return json.dumps({"time": now, **values(change)})
    return f"{now} {sentence(change, in_bytes=args.bytes)}"
