"""`virtiomem iomem check [FILE]`: what a map costs those who read it."""

import argparse
import json
import sys
from dataclasses import replace

from virtiomem.architecture import FAMILIES, find
from virtiomem.cli.arguments import check_one_source, exit_status, file, load_or_collect, size
from virtiomem.cli.guessed import architecture_taken
from virtiomem.cli.iomem import add_reading, at_least_values, read
from virtiomem.cli.model import add_model, release_for
from virtiomem.errors import Exit, UsageError, VirtiomemError
from virtiomem.kdump.ranges import KEXEC_TOOLS_RANGES
from virtiomem.listing.check import KEXEC_TOOLS_RANGES_ARM, check, table, values
from virtiomem.live.capture import Capture
from virtiomem.live.crash_header import ranges_that_fit
from virtiomem.live.load import DEFAULT_MEMORY_BLOCK
from virtiomem.live.sysfs import BLOCK_SIZES, is_block_size
from virtiomem.live.views import memory_of, osrelease_of
from virtiomem.releases.linux import DEFAULT
from virtiomem.stdio import show, terminal_width, warn
from virtiomem.units import format_size

_ARCHITECTURES = {"x86": FAMILIES[0], **{name: name for name in FAMILIES}, "arm": FAMILIES[0]}
"""Names that are taken, and the row of each; 32-bit arm has no row."""

DESCRIPTION = (
    "For each consumer of the map: how many ranges it sees, how many it would see if nothing had been merged, its limit, and "
    "how much memory can still be hotplugged in blocks that are not merged. Then what is wrong."
)
HEADINGS = ("proc/iomem", "sys/devices/system/memory", "proc/sys/kernel", "sys/kernel", "sys/devices/system/cpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: what to check, for which machine."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "nothing is wrong",
            Exit.FAILED: "something is",
            Exit.USAGE: "usage or a damaged listing",
            Exit.PARTLY: "something of the map may be missing (--lenient)",
        }
    )
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=file,
        metavar="FILE",
        help="a listing, a capture or a recording, - for stdin; else this machine",
    )
    add("-s", "--sysroot", type=file, metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    add("--arch", choices=_ARCHITECTURES, help="whose kexec-tools (what the file says, else a guess by its map)")
    add("--block-size", metavar="SIZE", type=size, help="memory block; else what the file says, or 128M")
    add_model(parser, "what FILE says")
    add("-J", "--json", action="store_true", help="JSON")
    add("-b", "--bytes", action="store_true", help="sizes in bytes")
    add("-n", "--noheadings", action="store_true", help="no headings")
    add_reading(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table and what is wrong."""
    check_one_source(args)
    capture = load_or_collect(args, "iomem", HEADINGS)
    reading = read(capture, lenient=args.lenient)
    if args.merge:
        reading.tree.merge_adjacent_system_ram()
    release = release_for(args.model, osrelease_of(capture))
    room = ranges_that_fit(capture, release or DEFAULT)
    row = find(_ARCHITECTURES[args.arch]) if args.arch else None
    table_size = KEXEC_TOOLS_RANGES_ARM if args.arch == "arm" else KEXEC_TOOLS_RANGES
    row = row or architecture_taken(capture, reading.tree)
    report = check(reading.tree, _block_size(args, capture), row, table=table_size, release=release, room=room)
    if reading.repairs:
        count = reading.damaged_lines
        damaged = f"{count} damaged {'line was' if count == 1 else 'lines were'} put right"
        report = replace(report, findings=[damaged, *report.findings])
    if reading.at_least:
        missing = "something of the map may be missing: every count is at least what is shown"
        report = replace(report, findings=[missing, *report.findings])
    if args.json:
        print(json.dumps(values(report) | at_least_values(reading.at_least), indent=1))
    else:
        sys.stdout.write(table(report, in_bytes=args.bytes, headings=not args.noheadings, width=terminal_width()))
        for finding in report.findings:
            show(f"! {finding}\n")
    if reading.at_least:
        return Exit.PARTLY
    return Exit.FAILED if report.findings else Exit.DONE


def _block_size(args: argparse.Namespace, capture: Capture) -> int:
    """Return the option's value, else the capture's."""
    if args.block_size is not None:
        if not is_block_size(args.block_size):
            raise UsageError(f"--block-size: {args.block_size} bytes is not a memory block: {BLOCK_SIZES}")
        return int(args.block_size)
    try:
        return memory_of(capture).block_size
    except VirtiomemError:
        # A listing alone has no memory blocks: with the usual size, which is said, there is a headroom at least.
        assumed = f"memory blocks of {format_size(DEFAULT_MEMORY_BLOCK)} are assumed for the headroom"
        warn(f"{capture.source}: {assumed} (--block-size)")
        return DEFAULT_MEMORY_BLOCK
