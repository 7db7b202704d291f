"""`virtiomem read FILE`: what a file is, what it says about a machine's memory, and which commands take it."""

import argparse
import json
from collections.abc import Iterator

from virtiomem.cli.arguments import add_from, exit_status, file
from virtiomem.columns import align
from virtiomem.errors import Exit, VirtiomemError
from virtiomem.listing import ram, repair
from virtiomem.live.capture import MEMORY, Capture
from virtiomem.live.kinds.table import IOMEM, KINDS
from virtiomem.live.kinds.values import Fact
from virtiomem.live.reading import Input, read_any, source_of
from virtiomem.stdio import say, show, terminal_width
from virtiomem.text import sound
from virtiomem.units import format_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    kinds = "".join(f"  {kind.name:13} {kind.words}\n" for kind in KINDS)
    status = exit_status(
        {Exit.DONE: "done", Exit.USAGE: "usage, or what cannot be read", Exit.PARTLY: "something of it may be missing"}
    )
    parser.epilog = f"Kinds:\n{kinds}\n{status}"
    parser.add_argument("file", type=file, metavar="FILE", help="whatever there is: a file, a folder, - for stdin")
    add_from(parser)
    parser.add_argument("-b", "--bytes", action="store_true", help="sizes in bytes")
    parser.add_argument("-J", "--json", action="store_true", help="JSON; sizes in bytes")


def run(args: argparse.Namespace) -> int:
    """Say what it is."""
    found = read_any(args.file, kind=args.kind)
    capture = _capture(found, args.file)
    facts = [*found.facts, *_blocks(capture), *_map(capture)]
    # The first of them is what the file was taken for, which this command says itself.
    for words in capture.told[1:]:
        say(f"virtiomem: {words}")
    if args.json:
        print(json.dumps(_values(found, capture, facts), indent=1))
    else:
        show(f"{source_of(args.file)} is {found.kind.words}; {_takers(found)}\n")
        rows = [(of, what, _size(value, in_bytes=args.bytes)) for of, what, value in facts]
        show(f"\n{align(rows, width=terminal_width())}" if rows else "")
    return Exit.PARTLY if capture.at_least else Exit.DONE


def _takers(found: Input) -> str:
    if found.kind.instead:
        return found.kind.instead
    verbs = [f"`virtiomem {verb}`" for verb in found.kind.verbs if verb != "read"]
    return f"{', '.join(verbs)} {'takes' if len(verbs) == 1 else 'take'} it" if verbs else "no other command needs it"


def _capture(found: Input, path: str) -> Capture:
    if found.recording is None:
        return found.capture
    from virtiomem.live.load import from_recording

    return from_recording(found.recording, source=source_of(path))


def _size(value: int | str, *, in_bytes: bool) -> str:
    if isinstance(value, str):
        return value
    return str(value) if in_bytes else format_size(value)


def _map(capture: Capture) -> Iterator[Fact]:
    """Yield the sums of the map, where there is one."""
    if not capture.section(IOMEM).text:
        return
    try:
        reading = repair.read(capture.iomem, source=capture.iomem_source, lenient=False)
    except VirtiomemError as error:
        yield Fact("map", "cannot be read", str(error))
        return
    found = list(ram.system_ram(reading.tree))
    for kind, (ranges, size) in ram.totals(found).items():
        yield Fact("map", f"System RAM, {kind}, in {ranges} {'range' if ranges == 1 else 'ranges'}", size)


def _blocks(capture: Capture) -> Iterator[Fact]:
    """Yield the sums of the memory blocks, where there are any."""
    if not capture.section(MEMORY).text:
        return
    from virtiomem.live.views import memory_of

    memory = memory_of(capture)
    yield Fact("memory blocks", "size of one", memory.block_size)
    for state in dict.fromkeys(block.state for block in memory.blocks):
        count = sum(block.state == state for block in memory.blocks)
        yield Fact("memory blocks", f"{state}, {count} of them", count * memory.block_size)


def _values(found: Input, capture: Capture, facts: list[Fact]) -> dict[str, object]:
    return {
        "kind": found.kind.name,
        "is": found.kind.words,
        "commands": [] if found.kind.instead else found.kind.verbs,
        "sections": [sound(heading) for heading in capture.sections],
        "facts": [
            {"of": sound(of), "fact": sound(what), "value": sound(v) if isinstance(v, str) else v}
            for of, what, v in facts
        ],
        **({"at-least": True} if capture.at_least else {}),
    }
