"""`virtiomem explain`: why memory is not there, or does not go, by a capture or on this machine; no hypervisor is asked."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from virtiomem.cli.arguments import add_from, check_one_source, exit_status, file, load_input
from virtiomem.errors import Exit

if TYPE_CHECKING:
    from virtiomem.live.capture import Capture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    codes = {Exit.DONE: "done", Exit.FAILED: "nothing to read", Exit.USAGE: "usage"}
    parser.epilog = f"`virtiomem vm explain` asks a running machine. {exit_status(codes)}"
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=file,
        metavar="FILE",
        help="a capture, what lsmem printed, - for stdin; else this machine",
    )
    add("-s", "--sysroot", type=file, metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    add_from(parser)
    add("-J", "--json", action="store_true", help="JSON")


def run(args: argparse.Namespace) -> int:
    """Say how far memory has come, what holds it, and what would help."""
    from virtiomem.cli.capture import collected

    check_one_source(args)
    capture = load_input(args, "explain") if args.file else collected(args.sysroot, pages=True)
    return show(capture, as_json=args.json)


def show(capture: "Capture", *, as_json: bool) -> int:
    """Print what a capture says."""
    from virtiomem.stdio import write_listing
    from virtiomem.vm.captured import explain_capture
    from virtiomem.vm.tables import finding_lines

    findings = explain_capture(capture)
    if as_json:
        print(json.dumps({"source": capture.source, "findings": [finding.to_json() for finding in findings]}, indent=1))
    else:
        write_listing("".join(f"{line}\n" for line in finding_lines(findings)))
    sys.stdout.flush()
    return Exit.DONE
