"""`virtiomem vm`: running machines: list, status, resize, watch, explain."""

import argparse
import asyncio
import re

from virtiomem.cli.arguments import file, number, refuse_unused, seconds, size
from virtiomem.cli.model import add_model
from virtiomem.units import MiB, Size
from virtiomem.vm import attach_verbs, commands, resize_verb
from virtiomem.vm.doors.registry import USAGES
from virtiomem.vm.doors.sent import COMMANDS, VIRTIO_STATUS
from virtiomem.vm.inside import PAGES_SECONDS

_EXITS = "exit codes: 0 done, 1 failed, 2 usage, 64 for some machines only"
_EXITS_RESIZE = (
    "exit codes: 0 done: new memory was seen online in the guest; 64 plugged, but not looked inside; or partly done; or "
    "done for some machines only; 124 timed out or nothing moved; 1 refused, superseded or lost; 2 usage; 130 interrupted"
)
_EXITS_DETACH = "exit codes: 0 gone, 1 failed, 2 usage, 124 the guest has not given it back in time"
_EXITS_WATCH = (
    "exit codes: 0 every machine was seen, 64 some were, 1 none was, interrupted or not; 2 usage. The sizes are the devices': "
    "watch does not look inside."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command each; sizes as in every table (`-b`), connections as in `virtiomem.vm.connect`."""
    parser.epilog = f"{_EXITS}, 124 timed out; VERB --help says it of each"
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str, exits: str = _EXITS) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=summary, description=summary, epilog=exits, allow_abbrev=False)

    _add_list(verb("list", "every memory device, a line each"))
    _add_status(verb("status", "each machine at length: drivers, nodes, inside"))
    _add_resize(verb("resize", "set a size and wait until the guest has followed", _EXITS_RESIZE))
    _add_attach(verb("attach", "add a memory device to a running machine"))
    _add_detach(verb("detach", "take a memory device away, once the guest gives it back", _EXITS_DETACH))
    _add_watch(verb("watch", "a live view, JSON lines or metrics", _EXITS_WATCH))
    _add_explain(verb("explain", "why a device is not at its requested size"))


def run(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    _check_options(args)
    try:
        code: int = asyncio.run(args.command_of(args))
    except KeyboardInterrupt as interrupt:  # verbs that change something say what they leave
        raise KeyboardInterrupt(*interrupt.args or (commands.UNTOUCHED,)) from None
    return code


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that nothing would come of."""
    if args.json and "output" in args:
        refuse_unused({"--output": args.output}, "chooses columns of the table: --json has none")
    if args.verb != "resize":
        return
    if args.scope == "device":
        refuse_unused({"--spread": args.spread}, "is for --total or --plugged")
    if args.no_wait:
        waiting = {"--step": args.step, "--stall": args.stall, "--on-timeout": args.on_timeout != "keep"}
        refuse_unused(waiting, "is for a resize that waits, without --no-wait")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--connect",
        action="append",
        default=[],
        metavar="MACHINE",
        help=f"{', '.join(USAGES)}, NAME=…, a name from config.toml, or @FILE; repeats",
    )
    parser.add_argument(
        "--agent",
        type=file,
        metavar="SOCKET",
        help="the guest agent's socket of the only machine; or libvirt, for one that libvirt holds",
    )
    add_model(parser, "of sim:SCENARIO what it says")
    parser.add_argument("-J", "--json", action="store_true", help="JSON")


def _add_machines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help="a machine, as with --connect")


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-b", "--bytes", action="store_true", help="sizes in bytes")
    parser.add_argument("-n", "--noheadings", action="store_true", help="no headings")
    parser.add_argument("-o", "--output", metavar="LIST", help=commands.COLUMNS.help)


def _add_unstable(parser: argparse.ArgumentParser) -> None:
    releases = " and ".join(COMMANDS[VIRTIO_STATUS].survived)
    parser.add_argument(
        "--unstable-monitor-commands",
        dest="unstable",
        action="store_true",
        help="RISKY: ask QEMU whether a driver is there by a command that it calls unstable; it ends QEMU 11.1 with its "
        f"guest, and is sent only to {releases}, which were seen to survive it. Without it: --agent",
    )


def _add_list(parser: argparse.ArgumentParser) -> None:
    _add_machines(parser)
    _add_common(parser)
    _add_table(parser)
    parser.set_defaults(command_of=commands.list_devices)


def _add_status(parser: argparse.ArgumentParser) -> None:
    _add_machines(parser)
    _add_common(parser)
    _add_table(parser)
    _add_unstable(parser)
    parser.set_defaults(command_of=commands.status)


def _add_resize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a machine, MACHINE/DEVICE, DEVICE, all, or a pattern")
    parser.add_argument(
        "size",
        metavar="SIZE",
        help="2G, or relative to what is requested: +512M, -1G; a bare number is bytes (virsh counts KiB)",
    )
    _add_common(parser)
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--total", dest="scope", action="store_const", const="total", help="SIZE is the whole machine's")
    scope.add_argument(
        "--plugged", dest="scope", action="store_const", const="plugged", help="… of all virtio-mem memory"
    )
    parser.add_argument("--round", action="store_true", help="round up to the block size")
    parser.add_argument("--spread", metavar="HOW", help="even (default), weighted, pack or node=N")
    parser.add_argument("--no-redispatch", action="store_true", help="give no device what another cannot take")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the plan, what it costs and what speaks against it"
    )
    parser.add_argument(
        "--step", choices=("auto",), help="grow in steps whose struct pages fit into what the guest has free"
    )
    parser.add_argument("-k", "--keep-going", action="store_true", help="leave out machines that cannot be resized")
    parser.add_argument(
        "--until",
        choices=("online", "plugged"),
        default="online",
        help="what new memory is waited for (default online)",
    )
    parser.add_argument("--persist", action="store_true", help="change the machine's stored configuration, too")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the guest")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="TIME",
        help="give up after this, planning included (90, 90s, 5m); default never",
    )
    parser.add_argument("--stall", type=seconds, metavar="TIME", help="… or when nothing moved for this (default 60s)")
    parser.add_argument(
        "--on-timeout", choices=("keep", "rollback"), default="keep", help="what becomes of the request"
    )
    _add_unstable(parser)
    parser.set_defaults(command_of=resize_verb.resize, scope="device")
    # "-512M" is a size here, not an option: argparse's own rule for negative numbers, with suffixes.
    parser._negative_number_matcher = re.compile(r"-[0-9][0-9a-zA-Z.]*$")


def _add_attach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="MACHINE", help="a machine")
    parser.add_argument("size", metavar="SIZE", type=size, help="2G: what a virtio-mem device can have at most")
    _add_common(parser)
    parser.add_argument("--dimm", action="store_true", help="a DIMM, which is there in full at once")
    parser.add_argument("--id", type=file, metavar="NAME", help="what it is called (default vm0, vm1 …, or dimm0 …)")
    parser.add_argument("--node", type=number, default=0, metavar="N", help="its NUMA node (default 0)")
    parser.add_argument("--block-size", type=size, default=Size(2 * MiB), metavar="SIZE", help="default 2M")
    parser.add_argument(
        "--requested-size",
        type=size,
        default=Size(0),
        metavar="SIZE",
        help="default 0; the command does not wait for it",
    )
    parser.add_argument("--persist", action="store_true", help="change the machine's stored configuration, too")
    parser.set_defaults(command_of=attach_verbs.attach)


def _add_detach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="MACHINE/DEVICE, or DEVICE")
    _add_common(parser)
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="TIME", help="wait no longer (default 30s)")
    parser.add_argument("--persist", action="store_true", help="change the machine's stored configuration, too")
    parser.set_defaults(command_of=attach_verbs.detach)


def _add_watch(parser: argparse.ArgumentParser) -> None:
    _add_machines(parser)
    _add_common(parser)
    parser.add_argument("--interval", type=seconds, default=2.0, metavar="TIME", help="look this often (default 2s)")
    parser.add_argument(
        "--yield",
        dest="yields",
        action="store_true",
        help="disconnect between two looks, so that others get at a monitor that serves one client",
    )
    parser.add_argument("--for", dest="duration", type=seconds, metavar="TIME", help="stop after this")
    parser.add_argument("--metrics", metavar="[HOST:]PORT", help="serve Prometheus metrics")
    parser.set_defaults(command_of=commands.watch)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", default="all", help="a machine, MACHINE/DEVICE or DEVICE"
    )
    _add_common(parser)
    parser.add_argument(
        "--capture",
        type=file,
        metavar="PATH",
        help="what `virtiomem capture` wrote in the only machine's guest, or its files",
    )
    parser.add_argument(
        "--pages-for",
        type=seconds,
        default=PAGES_SECONDS,
        metavar="TIME",
        help=f"how long to look, through --agent, at what holds the memory that should go (default {PAGES_SECONDS:g}s)",
    )
    _add_unstable(parser)
    parser.set_defaults(command_of=commands.explain)
