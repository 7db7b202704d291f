"""`virtiomem blocks`: memory blocks as lsmem shows them, and what virtio-mem has to do with each."""

import argparse
import sys

from virtiomem.errors import UsageError
from virtiomem.live import lsmem
from virtiomem.live.sysfs import read_memory_sysfs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Lsmem's options, spelled as lsmem spells them."""
    parser.add_argument("-s", "--sysroot", metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    parser.add_argument("-a", "--all", action="store_true", help="list each memory block")
    parser.add_argument("-b", "--bytes", action="store_true", help="sizes in bytes")
    parser.add_argument("-n", "--noheadings", action="store_true", help="no headings")
    parser.add_argument(
        "-o", "--output", metavar="LIST", help=f"columns: {', '.join(lsmem.COLUMNS).lower()}; +LIST adds"
    )
    parser.add_argument("--output-all", action="store_true", help="all columns")
    parser.add_argument("-S", "--split", metavar="LIST", help="columns that keep blocks apart; none: no column does")
    parser.add_argument("--summary", nargs="?", const="only", choices=("never", "always", "only"), help="totals")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("-J", "--json", dest="style", action="store_const", const=lsmem.Style.JSON, help="JSON")
    style.add_argument("-P", "--pairs", dest="style", action="store_const", const=lsmem.Style.PAIRS, help='KEY="value"')
    style.add_argument("-r", "--raw", dest="style", action="store_const", const=lsmem.Style.RAW, help="unaligned")
    parser.set_defaults(style=lsmem.Style.TABLE)


def run(args: argparse.Namespace) -> int:
    """Print the table and its summary."""
    columns, split = _columns(args)
    wanted = {*columns, *split}
    memory = read_memory_sysfs(args.sysroot, zones="ZONES" in wanted, nodes="NODE" in wanted)
    summary = args.summary or ("always" if args.style is lsmem.Style.TABLE else "never")
    parts = []
    if summary != "only":
        table = lsmem.single_rows(memory) if args.all else lsmem.rows(memory, split)
        parts.append(lsmem.render(table, columns, args.style, in_bytes=args.bytes, headings=not args.noheadings))
    if summary != "never":
        parts.append(lsmem.render_summary(memory, in_bytes=args.bytes))
    sys.stdout.write("\n".join(parts))
    return 0


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
