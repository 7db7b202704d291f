"""`virtiomem blocks`: memory blocks as lsmem shows them, and what virtio-mem has to do with each."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from virtiomem.cli.arguments import add_from, check_one_source, exit_status, file, load_input, refuse_unused, size
from virtiomem.errors import Exit, UsageError
from virtiomem.live import lsmem
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.stdio import terminal_width, warn
from virtiomem.writing import write_whole

if TYPE_CHECKING:
    from virtiomem.live.linux import LiveLinux

# What only files and virtio-mem's options need is imported where they are used: lsmem's table takes a tenth of a second.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Lsmem's options, spelled as lsmem spells them, and ours."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "done",
            Exit.FAILED: "nothing to read",
            Exit.USAGE: "usage",
            Exit.PARTLY: "the device cannot shrink by as much, or /proc/iomem hides where devices are (read it as root)",
        }
    )
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=file,
        metavar="FILE",
        help="a capture, a recording, what lsmem printed, - for stdin; else this machine",
    )
    add("-s", "--sysroot", type=file, metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    add_from(parser)
    add("-a", "--all", action="store_true", help="list each memory block")
    add("-b", "--bytes", action="store_true", help="sizes in bytes")
    add("-n", "--noheadings", action="store_true", help="no headings")
    add("-o", "--output", metavar="LIST", help=lsmem.COLUMNS.help)
    add("--output-all", action="store_true", help="all columns")
    add("-S", "--split", metavar="LIST", help="columns that keep blocks apart; none: no column does")
    add("--summary", nargs="?", const="only", choices=("never", "always", "only"), help="totals")
    style = parser.add_mutually_exclusive_group()
    add = style.add_argument
    add("-J", "--json", dest="style", action="store_const", const=lsmem.OutputFormat.JSON, help="JSON")
    add("-P", "--pairs", dest="style", action="store_const", const=lsmem.OutputFormat.PAIRS, help='KEY="value"')
    add("-r", "--raw", dest="style", action="store_const", const=lsmem.OutputFormat.RAW, help="unaligned")
    parser.set_defaults(style=lsmem.OutputFormat.TABLE)
    ours = parser.add_argument_group("virtio-mem")
    add = ours.add_argument
    add("--devices", action="store_true", help="the virtio-mem devices instead of the blocks")
    add("--explain", action="store_true", help="how far hotplugged memory has come, and what holds it")
    add("--by", metavar="SIZE", type=size, help="what would go offline and away to shrink a device by SIZE")
    add("--metrics", metavar="FILE.prom", type=file, help="write Prometheus text, whole or not at all; - prints it")
    add("--device", metavar="NAME", help="the device that shrinks, if there are several (virtio0)")


def run(args: argparse.Namespace) -> int:
    """Print the blocks, the devices, or the plan."""
    check_one_source(args)
    _check_options(args)
    if args.explain:
        from virtiomem.cli.capture import collected
        from virtiomem.cli.explain import show

        capture = load_input(args, "explain") if args.file else collected(args.sysroot, pages=True)
        return show(capture, as_json=args.style is lsmem.OutputFormat.JSON)
    if args.by is not None:
        return _plan(args)
    if args.devices:
        return _devices(args)
    return _metrics(args) if args.metrics else _blocks(args)


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options of another table."""
    if args.by is None:
        refuse_unused({"--device": args.device}, "is for --by, which shrinks one")
    else:
        refuse_unused({"--devices": args.devices}, "and --by exclude each other")
    if args.explain:
        refuse_unused({"--devices": args.devices, "--by": args.by}, "and --explain exclude each other")
    if args.metrics:
        others = {"--devices": args.devices, "--by": args.by, "--explain": args.explain}
        refuse_unused(others | {"--json": args.style is lsmem.OutputFormat.JSON}, "and --metrics exclude each other")
        refuse_unused({"--bytes": args.bytes, "--noheadings": args.noheadings}, "is for tables")
    if args.by is not None or args.devices or args.explain or args.metrics:
        lsmem_only = {
            "--all": args.all,
            "--output": args.output,
            "--output-all": args.output_all,
            "--split": args.split,
        }
        lsmem_only |= {"--summary": args.summary, "--pairs": args.style is lsmem.OutputFormat.PAIRS}
        refuse_unused(lsmem_only | {"--raw": args.style is lsmem.OutputFormat.RAW}, "is for the table of memory blocks")


def _blocks(args: argparse.Namespace) -> int:
    """Print as lsmem does."""
    columns, split = _columns(args)
    # A column that is not shown costs no file: with 100 000 blocks, zones and nodes are most of the reading.
    needs = lsmem.COLUMNS.needs([*columns, *split])
    hidden = False
    if args.file or "devices" in needs:
        linux = _linux(args)
        memory, owners, hidden = linux.memory, linux.owners, linux.hidden
    else:
        memory, owners = read_memory_sysfs(args.sysroot, zones="zones" in needs, nodes="nodes" in needs), {}
    summary = args.summary or ("always" if args.style is lsmem.OutputFormat.TABLE else "never")
    parts = []
    if summary != "only":
        table = lsmem.single_rows(memory, owners) if args.all else lsmem.rows(memory, split, owners)
        parts.append(lsmem.render(table, columns, args.style, in_bytes=args.bytes, headings=not args.noheadings))
    if summary != "never":
        parts.append(lsmem.render_summary(memory, in_bytes=args.bytes))
    sys.stdout.write("\n".join(parts))
    return _hidden(args) if hidden and "devices" in needs else Exit.DONE


def _devices(args: argparse.Namespace) -> int:
    from virtiomem.live import device_text

    linux = _linux(args)
    memory, devices, hidden = linux.memory, linux.devices, linux.hidden
    if args.style is lsmem.OutputFormat.JSON:
        values = [device_text.device_values(one, memory, linux.owners) for one in devices]
        print(json.dumps({"virtio-mem": values}, indent=1))
    else:
        style = {"in_bytes": args.bytes, "headings": not args.noheadings, "width": terminal_width()}
        sys.stdout.write(device_text.devices_text(devices, memory, **style))
    return _hidden(args) if hidden else 0


def _metrics(args: argparse.Namespace) -> int:
    from virtiomem.live import metrics

    metrics.check_name(args.metrics)
    linux = _linux(args)
    if args.metrics == "-":
        sys.stdout.write(metrics.text(linux).decode())
    else:
        write_whole(args.metrics, metrics.text(linux))
    return _hidden(args) if linux.hidden else Exit.DONE


def _hidden(args: argparse.Namespace) -> int:
    """Say that devices are missing or without a range, and hand back the exit code."""
    source = args.file or args.sysroot
    # The table first, also where both streams go into one file.
    sys.stdout.flush()
    warn(f"{source}: no addresses in /proc/iomem: not all devices are known (read it as root)")
    return Exit.PARTLY


def _plan(args: argparse.Namespace) -> int:
    from virtiomem.live import device_text

    linux = _linux(args)
    plan = linux.plan_shrink(args.by, args.device)
    if args.style is lsmem.OutputFormat.JSON:
        print(json.dumps(device_text.plan_values(plan), indent=1))
    else:
        style = {"in_bytes": args.bytes, "headings": not args.noheadings, "width": terminal_width()}
        sys.stdout.write(device_text.plan_text(plan, linux.memory.block_size, **style))
    return Exit.PARTLY if plan.short else Exit.DONE


def _linux(args: argparse.Namespace) -> "LiveLinux":
    """A file, or a running Linux, with its virtio-mem devices."""
    from virtiomem.live.linux import LiveLinux

    return LiveLinux.of(load_input(args, "blocks")) if args.file else LiveLinux.here(args.sysroot)


def _columns(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The columns to show and those that split."""
    if args.all and args.split:
        raise UsageError("--all and --split exclude each other")
    if args.summary == "only" and args.style is not lsmem.OutputFormat.TABLE:
        raise UsageError("--summary=only and --json, --pairs or --raw exclude each other")
    columns = lsmem.COLUMNS.chosen(args.output, list(lsmem.COLUMNS) if args.output_all else lsmem.DEFAULT_COLUMNS)
    if args.split is not None and args.split.lower() == "none":
        return columns, []
    # As lsmem: what is shown splits, unless -S chooses; `+` adds to lsmem's own columns.
    default = columns if args.split is None else lsmem.DEFAULT_COLUMNS
    return columns, lsmem.COLUMNS.chosen(args.split, default, option="--split")
