"""Memory blocks as a capture has them, in and out: `FIRST[-LAST] STATE REMOVABLE NODES ZONES`, a dash for nothing."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from virtiomem.errors import UsageError
from virtiomem.recording.values import MemoryBlock

_BLOCKS = re.compile(
    r"(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))? (?P<state>\S+) (?P<removable>[01])"
    r" (?P<nodes>-|[0-9]{1,9}(?:,[0-9]{1,9})*) (?P<zones>\S+)"
)
MAX_BLOCKS = 1 << 20
"""More memory blocks than this are a damaged capture: it is 128 TiB in the smallest, and machines that large have larger."""


def block_lines(blocks: Iterable[MemoryBlock]) -> Iterator[str]:
    """Blocks as the capture has them: `FIRST[-LAST] STATE REMOVABLE NODES ZONES`, a dash where there is nothing."""
    # Number less position is the same for neighbours, and changes at a hole.
    for _, group in groupby(enumerate(blocks), key=lambda item: (item[1].block - item[0], _looks(item[1]))):
        same = [block for _, block in group]
        last = f"-{same[-1].block}" if len(same) > 1 else ""
        yield f"{same[0].block}{last} {_looks(same[0])}"


def _looks(block: MemoryBlock) -> str:
    nodes = ",".join(map(str, block.nodes)) or "-"
    return f"{block.state} {block.removable} {nodes} {'/'.join(block.valid_zones.split()) or '-'}"


def read_blocks(line: str, source: str, *, room: int) -> Iterator[MemoryBlock]:
    """The blocks, `room` at most, of one line of `FIRST[-LAST] STATE REMOVABLE NODES ZONES`."""
    match = _BLOCKS.fullmatch(line)
    first, last = (int(match["first"]), int(match["last"] or match["first"])) if match else (0, -1)
    if match is None or last < first:
        raise UsageError(f"{source}: not a line of memory blocks: {line[:80]!r}")
    # Before any block is made: a line of a few bytes can name a billion.
    if last - first >= room:
        raise UsageError(f"{source}: more than {MAX_BLOCKS} memory blocks, with {line[:80]!r}")
    nodes = [int(node) for node in match["nodes"].split(",") if node.isdecimal()]
    zones = "" if match["zones"] == "-" else match["zones"].replace("/", " ")
    for number in range(first, last + 1):
        yield MemoryBlock(
            block=number, state=match["state"], removable=int(match["removable"]), valid_zones=zones, nodes=nodes
        )
