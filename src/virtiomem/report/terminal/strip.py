"""Memory blocks as strips of characters: one strip a virtio-mem device, a DIMM, or any other run of added memory.

A strip is to scale. Where there are more blocks than columns a character stands for several, and `*` for several that
are not alike.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.text import Text

from virtiomem.recording.describe import plural
from virtiomem.recording.palette import BlockKind
from virtiomem.recording.values import Snapshot
from virtiomem.report.block_runs import BlockChange, BlockRun
from virtiomem.report.terminal.console import style
from virtiomem.units import align_up, format_size

MIXED = "*"
DROWNS = 4
"""A change of that many characters of a strip, or fewer, is drawn once more by itself."""
_ORDER = {kind: index for index, kind in enumerate(BlockKind)}


class Area(NamedTuple):
    """Places for memory blocks that belong together: `length` from number `first`."""

    label: str
    first: int
    length: int


Piece = tuple[BlockKind, int]
"""So many neighbouring blocks of one kind."""


class Strip(NamedTuple):
    """An area as characters, each for `scale` blocks, and how many blocks of each kind there are."""

    cells: list[tuple[str, BlockKind]]
    scale: int
    kinds: Counter[BlockKind]


def areas(snapshot: Snapshot, boot: set[int], block_size: int) -> list[Area]:
    """The regions of devices, the DIMMs, and what else was added since boot (as `memory`)."""
    found: list[Area] = []
    for device in snapshot.devices:
        first, stop = align_up(device.region.start, block_size) // block_size, device.region.stop // block_size
        if first < stop:
            found.append(Area(device.id, first, stop - first))
    owned = [range(area.first, area.first + area.length) for area in found]
    added = (block.block for block in snapshot.memory_blocks if block.block not in boot)
    others = (number for number in added if not any(number in numbers for numbers in owned))
    return [*found, *(Area("memory", first, count) for first, count in _runs(others))]


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as first and count."""
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda item: item[1] - item[0]):
        members = [number for _, number in run]
        yield members[0], len(members)


def pieces(area: Area, runs: Sequence[BlockRun]) -> list[Piece]:
    """An area's blocks by kind, in order."""
    found: list[Piece] = []
    for run in runs:
        start, stop = max(run.first, area.first), min(run.first + run.times, area.first + area.length)
        if start >= stop:
            continue
        if found and found[-1][0] is run.kind:
            found[-1] = (run.kind, found[-1][1] + stop - start)
        else:
            found.append((run.kind, stop - start))
    return found


def closer(area: Area, changes: Iterable[BlockChange], scale: int) -> Area | None:
    """The part of an area that changed, with as much again around it, where that drowns in characters of `scale` blocks."""
    stop = area.first + area.length
    edges = [edge for one in changes for edge in (one.first, one.first + one.times) if area.first <= edge <= stop]
    if scale == 1 or not edges or max(edges) - min(edges) > DROWNS * scale:
        return None
    margin = (max(edges) - min(edges) + 1) // 2
    first = max(min(edges) - margin, area.first)
    return Area("closer", first, min(max(edges) + margin, stop) - first)


def strip(found: Sequence[Piece], columns: int) -> Strip:
    """Blocks in at most that many columns."""
    kinds: Counter[BlockKind] = Counter()
    for kind, count in found:
        kinds[kind] += count
    scale = 1
    # A power of two: devices of one size then have one scale, and a character is a round size.
    while scale * columns < kinds.total():
        scale *= 2
    return Strip([_cell(cell) for cell in _cells(found, scale)], scale, kinds)


def _cells(found: Iterable[Piece], scale: int) -> Iterator[Counter[BlockKind]]:
    """Yield the counts of each kind in every `scale` blocks."""
    cell: Counter[BlockKind] = Counter()
    room = scale
    for kind, length in found:
        left = length
        while left:
            taken = min(left, room)
            cell[kind] += taken
            left, room = left - taken, room - taken
            if not room:
                yield cell
                cell, room = Counter(), scale
    if cell:
        yield cell


def _cell(kinds: Counter[BlockKind]) -> tuple[str, BlockKind]:
    """The character for some neighbouring blocks: their symbol, or `*` in the colour of the commonest that is there."""
    if len(kinds) == 1:
        (kind,) = kinds
        return kind.look.symbol, kind
    # Unplugged places are no colour for a mixed cell: what is there is what a reader looks for.
    return MIXED, max((kind for kind in kinds if kind is not BlockKind.UNUSED), key=kinds.__getitem__)


def draw(made: Strip) -> Text:
    """A strip's characters in their colours."""
    line = Text()
    for (symbol, kind), group in groupby(made.cells):
        line.append(symbol * len(list(group)), style(kind.look, filled=kind is not BlockKind.UNUSED))
    return line


def legend(made: Strip, block_size: int) -> Text:
    """Return the legend: how many blocks of each kind, each with its symbol; and the scale where it is not one to one."""
    parts = []
    for kind in sorted(made.kinds, key=_ORDER.__getitem__):
        part = Text(kind.look.symbol, style(kind.look, filled=kind is not BlockKind.UNUSED))
        parts.append(part.append(f" {made.kinds[kind]} {kind.look.word}", "default on default"))
    if any(symbol == MIXED for symbol, _ in made.cells):
        parts.append(Text(f"{MIXED} mixed"))
    line = Text("   ").join(parts)
    if made.scale > 1:
        size = format_size(made.scale * block_size)
        line.append(f"   (a character is {made.scale} {plural(made.scale, 'block')}, {size})", "dim")
    return line
