"""`virtiomem blocks`: memory blocks as lsmem shows them, and what virtio-mem has to do with each."""

import argparse
import json
import sys
from dataclasses import dataclass

from virtiomem.errors import UsageError
from virtiomem.live import lsmem, show
from virtiomem.live.capture import Capture
from virtiomem.live.collect import collect
from virtiomem.live.devices import VirtioMem, devices_of, ownership
from virtiomem.live.load import load_any
from virtiomem.live.shrink import Parameters, plan_shrink
from virtiomem.live.sysfs import MemorySysfs, read_memory_sysfs
from virtiomem.live.views import memory_of
from virtiomem.units import Size

EXIT_PARTLY = 64
OURS = ("DEVICE", "PLUGGED")
"""The columns that lsmem does not have."""
HEADINGS = ("proc/iomem", "sys/bus/virtio/devices", "dev/kmsg", "sys/module/virtio_mem/parameters")
"""What tells of a running Linux's virtio-mem devices."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the command works on; `devices` and `owners` are empty when the table does not ask for them."""

    memory: MemorySysfs
    devices: list[VirtioMem]
    owners: dict[int, lsmem.Ownership]
    capture: Capture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Lsmem's options, spelled as lsmem spells them, and ours."""
    parser.epilog = "Exit status: 0 done, 1 nothing to read, 2 usage, 64 the device cannot shrink by as much."
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="a capture or a recording, - for stdin; else this machine")
    add("-s", "--sysroot", metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    add("-a", "--all", action="store_true", help="list each memory block")
    add("-b", "--bytes", action="store_true", help="sizes in bytes")
    add("-n", "--noheadings", action="store_true", help="no headings")
    add("-o", "--output", metavar="LIST", help=f"columns: {', '.join(lsmem.COLUMNS).lower()}; +LIST adds")
    add("--output-all", action="store_true", help="all columns")
    add("-S", "--split", metavar="LIST", help="columns that keep blocks apart; none: no column does")
    add("--summary", nargs="?", const="only", choices=("never", "always", "only"), help="totals")
    style = parser.add_mutually_exclusive_group()
    add = style.add_argument
    add("-J", "--json", dest="style", action="store_const", const=lsmem.Style.JSON, help="JSON")
    add("-P", "--pairs", dest="style", action="store_const", const=lsmem.Style.PAIRS, help='KEY="value"')
    add("-r", "--raw", dest="style", action="store_const", const=lsmem.Style.RAW, help="unaligned")
    parser.set_defaults(style=lsmem.Style.TABLE)
    ours = parser.add_argument_group("virtio-mem")
    add = ours.add_argument
    add("--devices", action="store_true", help="the virtio-mem devices instead of the blocks")
    add("--by", metavar="SIZE", help="what would go offline and away to shrink a device by SIZE")
    add("--device", metavar="NAME", help="the device that shrinks, if there are several (virtio0)")


def run(args: argparse.Namespace) -> int:
    """Print the blocks, the devices, or the plan."""
    if args.by:
        return _plan(args)
    if args.devices:
        return _devices(args)
    return _blocks(args)


def _blocks(args: argparse.Namespace) -> int:
    """What lsmem prints."""
    columns, split = _columns(args)
    wanted = {*columns, *split}
    machine = _machine(args, zones="ZONES" in wanted, nodes="NODE" in wanted, devices=not wanted.isdisjoint(OURS))
    summary = args.summary or ("always" if args.style is lsmem.Style.TABLE else "never")
    parts = []
    if summary != "only":
        memory, owners = machine.memory, machine.owners
        table = lsmem.single_rows(memory, owners) if args.all else lsmem.rows(memory, split, owners)
        parts.append(lsmem.render(table, columns, args.style, in_bytes=args.bytes, headings=not args.noheadings))
    if summary != "never":
        parts.append(lsmem.render_summary(machine.memory, in_bytes=args.bytes))
    sys.stdout.write("\n".join(parts))
    return 0


def _devices(args: argparse.Namespace) -> int:
    machine = _machine(args)
    if args.style is lsmem.Style.JSON:
        values = [show.device_values(device, machine.memory, machine.owners) for device in machine.devices]
        print(json.dumps({"virtio-mem": values}, indent=1))
    else:
        sys.stdout.write(
            show.devices_text(machine.devices, machine.memory, in_bytes=args.bytes, headings=not args.noheadings)
        )
    return 0


def _plan(args: argparse.Namespace) -> int:
    machine = _machine(args)
    try:
        wanted = Size.parse(args.by)
    except ValueError as error:
        raise UsageError(f"--by: {error}") from None
    device = _chosen(machine.devices, args.device)
    plan = plan_shrink(device, machine.memory, machine.owners, wanted, Parameters.of(machine.capture))
    if args.style is lsmem.Style.JSON:
        print(json.dumps(show.plan_values(plan), indent=1))
    else:
        sys.stdout.write(
            show.plan_text(plan, machine.memory.block_size, in_bytes=args.bytes, headings=not args.noheadings)
        )
    return EXIT_PARTLY if plan.short else 0


def _chosen(devices: list[VirtioMem], name: str | None) -> VirtioMem:
    """The device to shrink."""
    names = ", ".join(device.name for device in devices) or "none"
    found = [device for device in devices if name in (None, device.name)]
    if len(found) != 1:
        raise UsageError(
            f"--device: {'which one' if name is None else f'no {name!r}'}; virtio-mem devices here: {names}"
        )
    return found[0]


def _machine(args: argparse.Namespace, *, zones: bool = True, nodes: bool = True, devices: bool = True) -> _Machine:
    """Read a file, or as much of a running Linux as is asked for."""
    if args.file:
        capture = load_any(args.file)
        memory = memory_of(capture)
    else:
        memory = read_memory_sysfs(args.sysroot, zones=zones, nodes=nodes)
        capture = collect(args.sysroot, only=HEADINGS if devices else ())
    found = devices_of(capture, memory) if devices else []
    return _Machine(memory, found, ownership(capture, memory, found), capture)


def _columns(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The columns to show and those that split."""
    if args.all and args.split:
        raise UsageError("--all and --split exclude each other")
    if args.summary == "only" and args.style is not lsmem.Style.TABLE:
        raise UsageError("--summary=only and --json, --pairs or --raw exclude each other")
    columns = list(lsmem.COLUMNS if args.output_all else lsmem.DEFAULT_COLUMNS)
    if args.output:
        columns = lsmem.parse_columns(args.output, columns)
    if args.split is None:
        return columns, columns
    return columns, [] if args.split.lower() == "none" else lsmem.parse_columns(args.split)
