"""Memory blocks as strips of characters: one strip a virtio-mem device, a DIMM, or any other run of added memory.

A strip is to scale. Where there are more blocks than columns a character stands for several, and `*` for several that
are not alike.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.text import Text

from virtiomem.recording.palette import BlockKind
from virtiomem.recording.values import DimmInfo, Snapshot
from virtiomem.recording.words import plural
from virtiomem.report.blocks import BlockRun
from virtiomem.report.terminal.console import style
from virtiomem.units import align_up, format_size

MIXED = "*"
_ORDER = {kind: index for index, kind in enumerate(BlockKind)}


class Area(NamedTuple):
    """Places for memory blocks that belong together: `length` from number `first`."""

    label: str
    first: int
    length: int


class Strip(NamedTuple):
    """An area as characters, each for `scale` blocks, and how many blocks of each kind there are."""

    label: str
    cells: list[tuple[str, BlockKind]]
    scale: int
    kinds: Counter[BlockKind]


def areas(snapshot: Snapshot, boot: set[int], block_size: int) -> list[Area]:
    """The regions of devices, the DIMMs, and what else was added since boot (as `memory`)."""
    found: list[Area] = []
    for device in snapshot.devices:
        start, size = (device.addr, device.size) if isinstance(device, DimmInfo) else (device.memaddr, device.max_size)
        first, stop = align_up(start, block_size) // block_size, (start + size) // block_size
        if first < stop:
            found.append(Area(device.id, first, stop - first))
    owned = {number for area in found for number in range(area.first, area.first + area.length)}
    added = (block.block for block in snapshot.memory_blocks if block.block not in boot and block.block not in owned)
    return [*found, *(Area("memory", first, count) for first, count in _runs(added))]


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as first and count."""
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda item: item[1] - item[0]):
        members = [number for _, number in run]
        yield members[0], len(members)


def strip(area: Area, kinds: Sequence[BlockKind], columns: int) -> Strip:
    """An area's blocks, of these kinds, in at most so many columns."""
    scale = 1
    while scale * columns < area.length:
        scale *= 2
    cells = [_cell(kinds[start : start + scale]) for start in range(0, len(kinds), scale)]
    return Strip(area.label, cells, scale, Counter(kinds))


def kinds(area: Area, runs: Sequence[BlockRun]) -> list[BlockKind]:
    """The kind of each place of an area, in order."""
    found: list[BlockKind] = []
    for run in runs:
        start, stop = max(run.first, area.first), min(run.first + run.times, area.first + area.length)
        found += [run.kind] * max(stop - start, 0)
    return found


def _cell(kinds: Sequence[BlockKind]) -> tuple[str, BlockKind]:
    """The character for some neighbouring blocks: their symbol, or `*` in the colour of the commonest that is there."""
    if kinds.count(kinds[0]) == len(kinds):
        return kinds[0].look.symbol, kinds[0]
    there = Counter(kind for kind in kinds if kind is not BlockKind.UNUSED)
    return MIXED, there.most_common(1)[0][0]


def draw(made: Strip) -> Text:
    """A strip's characters in their colours."""
    line = Text()
    for (symbol, kind), group in groupby(made.cells):
        line.append(symbol * len(list(group)), style(kind.look, filled=kind is not BlockKind.UNUSED))
    return line


def legend(made: Strip, block_size: int) -> Text:
    """How many blocks of each kind, each with its symbol; and the scale where it is not one to one."""
    parts = []
    for kind in sorted(made.kinds, key=_ORDER.__getitem__):
        part = Text(kind.look.symbol, style(kind.look, filled=kind is not BlockKind.UNUSED))
        parts.append(part.append(f" {made.kinds[kind]} {kind.look.word}", "default on default"))
    line = Text("   ").join(parts)
    if made.scale > 1:
        size = format_size(made.scale * block_size)
        line.append(f"   (a character is {made.scale} {plural(made.scale, 'block')}, {size})", "dim")
    return line
