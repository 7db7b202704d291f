"""`virtiomem iomem [FILE]`: any /proc/iomem as a tree with sizes, merged, filtered, as text or JSON."""

import argparse
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import islice

from virtiomem.cli.arguments import (
    add_from,
    add_step,
    check_one_source,
    exit_status,
    file,
    load_or_collect,
    refuse_unused,
)
from virtiomem.errors import Exit, UsageError
from virtiomem.listing import map_tables, repair
from virtiomem.listing.ram import RamRange, system_ram
from virtiomem.live.capture import Capture
from virtiomem.resource import iomem
from virtiomem.resource.names import is_system_ram
from virtiomem.resource.node import Resource
from virtiomem.stdio import say, terminal_width, warn, write_listing

ACTIONS = {
    "diff": "what changed between two maps, by meaning",
    "check": "what a map costs those who read it: ranges, limits, headroom, what goes wrong",
    "watch": "what changes in a map, as it changes",
}
"""Words that choose a command of their own: `virtiomem.cli.iomem_<action>`. (A file of that name is `./diff`.)"""

_PIECES = 1 << 16
"""Pieces of JSON that are written together: a resource is some twenty."""
_DEEPEST_JSON = 200
"""json recurses twice a level, and Python 1000 times in all; no kernel comes near."""


_EXITS = {
    Exit.DONE: "done",
    Exit.FAILED: "nothing is of that kind (--ram, --only)",
    Exit.USAGE: "the listing is damaged (see --lenient) or the usage is wrong",
    Exit.PARTLY: "with --lenient: something of the map may be missing, or addresses are hidden: names alone",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: what to read, what to select, and how to print it."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "".join(f"virtiomem iomem {action:6} {words}\n" for action, words in ACTIONS.items())
        + "\n"
        + exit_status(_EXITS)
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
    add(
        "--core",
        type=file,
        metavar="VMCORE",
        help="the tree with its flags out of a vmcore, or /proc/kcore (needs drgn)",
    )
    add(
        "--debug",
        type=file,
        metavar="VMLINUX",
        help="with --core: the kernel's debug information, if it is not where drgn looks",
    )
    add_step(parser)
    add_reading(parser)
    add("--only", metavar="NAME", action="append", help="only resources of this name (a glob: 'System RAM*')")
    add("--ram", action="store_true", help="System RAM only, with totals by where it comes from")
    add("--flat", action="store_true", help="no nesting; the parent in a column")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--raw", action="store_true", help="print the listing itself, byte for byte")
    style.add_argument("-J", "--json", action="store_true", help="JSON; sizes and addresses in bytes")
    add("-b", "--bytes", action="store_true", help="sizes in bytes")
    add("-n", "--noheadings", action="store_true", help="no headings")
    add("-o", "--output", metavar="LIST", help=map_tables.COLUMNS.help)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options for reading a listing, which the actions have, too."""
    add_from(parser)
    parser.add_argument("--lenient", action="store_true", help="put damage right, and say what was done")
    parser.add_argument("--merge", action="store_true", help="merge touching, childless System RAM of equal name")


def run(args: argparse.Namespace) -> int:
    """Print the map."""
    check_one_source(args)
    if args.raw or args.json:
        refuse_unused({"--output": args.output}, "chooses columns of the table: --raw and --json have none")
    reading = _reading(args)
    if args.merge:
        reading.tree.merge_adjacent_system_ram()
    if args.raw:
        _print_raw(reading.tree, args)
    elif args.json:
        _print_json(reading, args)
    else:
        sys.stdout.writelines(_text(reading, args))
    if reading.masked or reading.at_least:
        return Exit.PARTLY
    return Exit.DONE if args.raw or _has_any(reading.tree, args) else Exit.FAILED


def _reading(args: argparse.Namespace) -> repair.Reading:
    if not args.core:
        refuse_unused({"--debug": args.debug}, "is the debug information of a --core")
        # Both options compute with addresses: where those are hidden, names alone do not help.
        capture = load_or_collect(args, "iomem", ("proc/iomem",))
        return read(capture, lenient=args.lenient, names_alone=not (args.merge or args.ram))
    refuse_unused(
        {args.file: args.file, "--from": args.kind, "--lenient": args.lenient, "--sysroot": args.sysroot != "/"},
        "is of no use with --core, which reads the kernel's own structures",
    )
    from virtiomem.live import kernel_tree

    return repair.Reading(kernel_tree.load(args.core, args.debug), [], masked=False)


def _has_any(tree: Resource, args: argparse.Namespace) -> bool:
    """Return whether there was anything to show; prints a message if not."""
    wanted = _wanted(args)
    if any((not args.ram or is_system_ram(node.name)) and wanted(node.name) for _, node in tree.walk()):
        return True
    names = f" called {', '.join(args.only)}" if args.only else ""
    say(f"virtiomem: there is no {'System RAM' if args.ram else 'resource'}{names} in it")
    return False


def read(capture: Capture, *, lenient: bool, names_alone: bool = False) -> repair.Reading:
    """Read a capture's listing; what was put right goes to stderr.

    Raises MaskedListingError where addresses are hidden, unless it is read leniently and `names_alone` are of use.
    """
    source = capture.iomem_source
    reading = repair.read(capture.iomem, source=source, lenient=lenient, allow_masked=names_alone)
    for remark in remarks(reading, source):
        warn(remark)
    return reading


def at_least_values(at_least: bool) -> dict[str, bool]:
    """What JSON says as well, where something of the map may be missing."""
    return {"at-least": True} if at_least else {}


def remarks(reading: repair.Reading, source: str) -> Iterator[str]:
    """Yield remarks about a reading in addition to what was read."""
    yield from reading.told(source)
    if reading.masked:
        yield f"{source}: all addresses are hidden: read it as root"


def _print_raw(tree: Resource, args: argparse.Namespace) -> None:
    if args.only or args.ram or args.flat:
        raise UsageError("--raw prints the whole listing: it excludes --only, --ram and --flat")
    write_listing(iomem.dumps(tree))


def _print_json(reading: repair.Reading, args: argparse.Namespace) -> None:
    import json

    tree = reading.tree
    if args.ram:
        value = map_tables.ram_values(_ram(tree, args))
    elif args.flat or args.only:
        value = {"iomem": map_tables.flat_values(node for _, node in _chosen(tree, args))}
    else:
        if max((depth for depth, _ in tree.walk()), default=0) > _DEEPEST_JSON:
            raise UsageError(f"nested more than {_DEEPEST_JSON} levels deep: --flat prints it as JSON")
        value = {"iomem": map_tables.tree_values(tree)}
    if args.lenient:
        value |= {"repairs": map_tables.repair_values(reading.repairs), "masked": reading.masked}
    # Not dumps(), which has the text of a million lines at once, in pieces and whole.
    pieces = json.JSONEncoder(indent=1).iterencode(value | at_least_values(reading.at_least))
    while some := "".join(islice(pieces, _PIECES)):
        sys.stdout.write(some)
    print()


def _text(reading: repair.Reading, args: argparse.Namespace) -> Iterator[str]:
    tree = reading.tree
    if args.ram:
        found = _ram(tree, args)
        style = _style(args, map_tables.FLAT_COLUMNS, reading)
        yield from map_tables.table(((0, ram.resource) for ram in found), style)
        yield f"\n{map_tables.ram_table(found, style)}"
    else:
        columns = map_tables.FLAT_COLUMNS if args.flat or args.only else map_tables.TREE_COLUMNS
        yield from map_tables.table(_chosen(tree, args), _style(args, columns, reading))


def _style(args: argparse.Namespace, columns: list[str], reading: repair.Reading) -> map_tables.TableOptions:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return map_tables.TableOptions(
        map_tables.COLUMNS.chosen(args.output, columns),
        args.bytes,
        not args.noheadings,
        full="█" if unicode else "#",
        hidden=reading.masked,
        at_least=reading.at_least,
        # Columns that were asked for are all shown, however wide that gets.
        width=None if args.output else terminal_width(),
    )


def _chosen(tree: Resource, args: argparse.Namespace) -> Iterator[map_tables.Row]:
    if not args.only:
        return ((0, node) for _, node in tree.walk()) if args.flat else tree.walk()
    wanted = _wanted(args)
    return ((0, node) for _, node in tree.walk() if wanted(node.name))


def _ram(tree: Resource, args: argparse.Namespace) -> list[RamRange]:
    wanted = _wanted(args)
    return [ram for ram in system_ram(tree) if wanted(ram.resource.name)]


def _wanted(args: argparse.Namespace) -> Callable[[str], bool]:
    """Return a test for names that were asked for."""
    return (lambda name: any(fnmatchcase(name, pattern) for pattern in args.only)) if args.only else lambda _: True
