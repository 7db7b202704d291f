"""`virtiomem plan`: a set-up from wishes, ready to paste, and played."""

import argparse
import json
import shlex
import sys

from virtiomem.cli import guests
from virtiomem.cli.arguments import exit_status, file, positive, refuse_unused, size
from virtiomem.device.board import BOARDS
from virtiomem.errors import Exit
from virtiomem.planning import output
from virtiomem.planning.proof import prove
from virtiomem.planning.setup import plan
from virtiomem.planning.wishes import Wishes
from virtiomem.releases.linux import stand_in
from virtiomem.status_line import StatusLine
from virtiomem.stdio import say, warn

_FORMS = ("table", "qemu", "libvirt", "cmdline", "scenario")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The wishes, and what to make of them."""
    codes = {
        Exit.DONE: "planned, and with --prove played as planned",
        Exit.FAILED: "the guest did otherwise",
        Exit.USAGE: "the wishes are impossible, with the number that makes them so; or usage",
        Exit.TIMED_OUT: "a real guest did not answer in time",
    }
    parser.epilog = exit_status(codes)
    add = parser.add_argument
    add("--memory", type=size, required=True, metavar="SIZE", help="what the guest boots with")
    add("--max", type=size, required=True, metavar="SIZE", help="what it can have at most, boot memory included")
    add("--step", type=size, metavar="SIZE", help="how much it grows at a time (default: all at once)")
    add("--shrink", type=size, default=0, metavar="SIZE", help="how much it must be able to give back")
    add(
        "--release",
        metavar="RELEASE",
        help="of its Linux, such as 6.12 (default: that of --kernel, or the newest proven)",
    )
    add("--machine", choices=tuple(BOARDS), default="q35", help="QEMU's machine (default q35)")
    add("--page-size", choices=("4K", "16K", "64K"), help="of the guest's kernel (default: the machine's usual one)")
    add("--nodes", type=positive, default=1, metavar="N", help="NUMA nodes, each with a device (default 1)")
    add("--hugepage", type=size, metavar="SIZE", help="of the host, where such pages back the guest")
    add("--crashkernel", type=size, metavar="SIZE", help="what is reserved for a crash kernel")
    add(
        "--address-bits",
        type=positive,
        default=40,
        metavar="N",
        help="of the guest's CPU (default 40: QEMU's own models)",
    )
    add("--vendor", choices=("amd", "intel"), default="amd", help="of the guest's CPU (default amd: QEMU's own models)")
    add("--format", choices=_FORMS, help="what to print (default table)")
    add(
        "--sockets",
        type=file,
        metavar="DIR",
        help="with --format qemu: also DIR/monitor.sock and DIR/agent.sock, for virtiomem vm -c qmp:… --agent …",
    )
    add("-J", "--json", action="store_true", help="all of it as JSON")
    add(
        "--prove",
        nargs="?",
        const="embedded",
        choices=("embedded", "linux"),
        help="play it: on the guest in this process (default), or on a stock Linux in QEMU",
    )
    # Taken only to be refused with words: it is what people look for first.
    add("--block-size", type=_follows, help=argparse.SUPPRESS)
    guests.add_linux_arguments(parser)


def _follows(text: str) -> str:
    """Refuse --block-size, which the set-up follows from other options."""
    raise argparse.ArgumentTypeError(
        f"{text}: it follows from --hugepage, or from the transparent hugepages of --page-size"
    )


def run(args: argparse.Namespace) -> int:
    """Plan, print, prove."""
    # The options of a real guest are checked as those of `run`, which has both.
    args.guest, args.device = args.prove or "embedded", "embedded"
    guests.check_linux_arguments(args, "--prove linux")
    if args.json:
        refuse_unused({"--format": args.format}, "is for text; --json prints all of it")
    if args.format != "qemu":
        refuse_unused({"--sockets": args.sockets}, "is for --format qemu")
    # --kernel may also be an image, and which release that is shows only when it boots.
    kernel = args.release or (args.kernel if isinstance(args.kernel, str) else None)
    if words := stand_in(kernel):
        warn(words)
    setup = plan(
        Wishes(
            memory=args.memory,
            maximum=args.max,
            step=args.step,
            shrink=args.shrink,
            kernel=kernel,
            machine=args.machine,
            page_size=args.page_size,
            nodes=args.nodes,
            hugepage=args.hugepage,
            crashkernel=args.crashkernel,
            address_bits=args.address_bits,
            vendor=args.vendor,
        )
    )
    if args.json:
        print(json.dumps(output.values(setup), indent=1))
    else:
        sys.stdout.write(
            {
                "table": output.table,
                "qemu": lambda one: f"{shlex.join(output.qemu(one, args.sockets))}\n",
                "libvirt": output.libvirt,
                "cmdline": output.command_line,
                "scenario": output.scenario,
            }[args.format or "table"](setup)
        )
    # What was planned is there before a proof that may take minutes, or fail.
    sys.stdout.flush()
    if args.prove:
        with StatusLine("nothing was proved") as progress:
            proved = prove(setup, lambda played: guests.open_guest(played, args, progress.say), progress.say)
        for line in proved:
            say(f"proved: {line}")
    return Exit.DONE
