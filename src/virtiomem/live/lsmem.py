"""Memory blocks as lsmem shows them: neighbouring blocks that look the same make a row.

Output equals that of lsmem of util-linux 2.38 byte by byte; DEVICE and PLUGGED are ours. A row holds blocks that follow
each other and agree in the columns that split.

Differs: NODE and ZONES show whenever any block knows them, as in util-linux from 2.42 on; 2.38 looks at the first block
and at memory0 alone. A block on several nodes shows the lowest; lsmem shows the first that the directory lists.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Literal, NamedTuple

import msgspec

from virtiomem.abi import BlockState
from virtiomem.columns import Columns
from virtiomem.live.sysfs import MemorySysfs
from virtiomem.recording.values import MemoryBlock


class Ownership(NamedTuple):
    """Part that a virtio-mem device has in a block; `plugged` in bytes, None when it cannot be known."""

    device: str
    plugged: int | None


class BlockRow(NamedTuple):
    """`blocks` blocks from number `first` on that look the same; `block` is the first of them."""

    first: int
    blocks: int
    size: int
    block: MemoryBlock
    device: str
    plugged: int | None


class _BlockCell(NamedTuple):
    """A row, and what its cells need to know as well."""

    row: BlockRow
    in_bytes: bool
    have_nodes: bool

    def size(self, size: int) -> str:
        """A size as lsmem writes it."""
        return str(size) if self.in_bytes else human_size(size)


class BlockColumn(NamedTuple):
    """A column of lsmem's table: a `columns.Column` with its width, its JSON type and its rows."""

    name: str
    cell: Callable[[_BlockCell], str]
    right: bool = True
    default: tuple[str, ...] = ()
    needs: str = ""
    width: int = 0
    """The least width, for cells wider than the heading."""
    kind: Literal["string", "number", "boolean", "size"] = "string"
    """Its type in JSON."""
    splits: Callable[[MemoryBlock, Ownership], object] | None = None
    """What keeps blocks apart that differ in it; None: they never do."""


class OutputFormat(Enum):
    """lsmem's four ways to print a table."""

    TABLE = "table"
    JSON = "json"
    PAIRS = "pairs"
    RAW = "raw"


_STATES: dict[str, str] = {
    BlockState.ONLINE: "online",
    BlockState.OFFLINE: "offline",
    BlockState.GOING_OFFLINE: "on->off",
}
_ZONES = {name.lower(): name for name in ("DMA", "DMA32", "Normal", "Highmem", "Movable", "Device", "None")}


def human_size(size: int) -> str:
    """Bytes as util-linux writes them: one decimal at most, rounded half up (``3.9G``); 0 is ``0B``.

    Models: size_to_human_string() in lib/strutils.c (util-linux 2.38).
    """
    # There is no letter above E.
    shift = max((size.bit_length() - 1) // 10 * 10, 0) if size < 1 << 70 else 60
    whole, rest = size >> shift, size & ((1 << shift) - 1)
    tenths = ((rest * 1000 >> shift) + 50) // 100
    # 9.96 rounds to 10.0, which util-linux prints as 10.
    whole, tenths = (whole + 1, 0) if tenths == 10 else (whole, tenths)
    return f"{whole}.{tenths}{'BKMGTPE'[shift // 10]}" if tenths else f"{whole}{'BKMGTPE'[shift // 10]}"


def zone_names(block: MemoryBlock) -> list[str]:
    """The zones of a block with lsmem's spelling; a zone it does not know is ``Unknown``."""
    return [_ZONES.get(word.lower(), "Unknown") for word in block.valid_zones.split(" ") if word]


def _range(shown: _BlockCell) -> str:
    row = shown.row
    start = row.first * (row.size // row.blocks)
    return f"0x{start:016x}-0x{start + row.size - 1:016x}"


def _blocks(shown: _BlockCell) -> str:
    row = shown.row
    return f"{row.first}-{row.first + row.blocks - 1}" if row.blocks > 1 else f"{row.first}"


def _removable(shown: _BlockCell) -> str:
    block = shown.row.block
    return ("yes" if block.removable else "no") if block.state == BlockState.ONLINE else ""


def _state(block: MemoryBlock) -> str:
    return _STATES.get(block.state, "?")


def _node(block: MemoryBlock) -> int:
    return block.nodes[0] if block.nodes else -1


def _plugged(shown: _BlockCell) -> str:
    if not shown.row.device:
        return ""
    return "?" if shown.row.plugged is None else shown.size(shown.row.plugged)


def _zones_key(block: MemoryBlock) -> object:
    """Equal for blocks whose zones let them share a row; a zone lsmem does not know never does."""
    names = zone_names(block)
    return block.block if "Unknown" in names else tuple(names)


_LSMEM = ("lsmem",)
COLUMNS = Columns(
    BlockColumn("RANGE", _range, right=False, default=_LSMEM),
    BlockColumn("SIZE", lambda shown: shown.size(shown.row.size), width=5, kind="size", default=_LSMEM),
    BlockColumn(
        "STATE", lambda shown: _state(shown.row.block), default=_LSMEM, splits=lambda block, _owner: _state(block)
    ),
    BlockColumn("REMOVABLE", _removable, kind="boolean", default=_LSMEM, splits=lambda block, _owner: block.removable),
    BlockColumn("BLOCK", _blocks, default=_LSMEM),
    BlockColumn(
        "NODE",
        lambda shown: str(_node(shown.row.block)) if shown.have_nodes else "",
        kind="number",
        needs="nodes",
        splits=lambda block, _owner: _node(block),
    ),
    BlockColumn(
        "ZONES",
        lambda shown: "/".join(zone_names(shown.row.block)),
        needs="zones",
        splits=lambda block, _owner: _zones_key(block),
    ),
    BlockColumn("DEVICE", lambda shown: shown.row.device, needs="devices", splits=lambda _block, owner: owner.device),
    BlockColumn("PLUGGED", _plugged, kind="size", needs="devices", splits=lambda _block, owner: owner.plugged),
)
"""What `blocks` can show. One that needs `devices` is not lsmem's; `zones` and `nodes` are files read only for it."""
DEFAULT_COLUMNS = COLUMNS.default("lsmem")


def rows(
    memory: MemorySysfs, split: Iterable[str] = DEFAULT_COLUMNS, owners: Mapping[int, Ownership] | None = None
) -> list[BlockRow]:
    """Gather blocks into rows; `split` names the columns that must agree inside a row."""
    owners = owners or {}
    nobody = Ownership("", None)
    splits = [of for name in dict.fromkeys(split) if (of := COLUMNS[name].splits) is not None]
    groups: list[tuple[object, list[MemoryBlock]]] = []
    for block in memory.blocks:
        owner = owners.get(block.block, nobody)
        key = [of(block, owner) for of in splits]
        # A hole ends a row, too: the range of a row must be memory from end to end.
        if groups and groups[-1][1][-1].block + 1 == block.block and groups[-1][0] == key:
            groups[-1][1].append(block)
        else:
            groups.append((key, [block]))
    return [_row(group, memory.block_size, owners) for _, group in groups]


def single_rows(memory: MemorySysfs, owners: Mapping[int, Ownership] | None = None) -> list[BlockRow]:
    """A row for each block."""
    return [_row([block], memory.block_size, owners or {}) for block in memory.blocks]


def _row(blocks: list[MemoryBlock], block_size: int, owners: Mapping[int, Ownership]) -> BlockRow:
    """The row of blocks that belong together."""
    known = [owners[block.block] for block in blocks if block.block in owners]
    plugged = [owner.plugged for owner in known]
    return BlockRow(
        first=blocks[0].block,
        blocks=len(blocks),
        size=len(blocks) * block_size,
        block=blocks[0],
        device=",".join(dict.fromkeys(owner.device for owner in known)),
        plugged=None if None in plugged else sum(size for size in plugged if size is not None),
    )


def render(
    table: Sequence[BlockRow],
    columns: Sequence[str] = DEFAULT_COLUMNS,
    style: OutputFormat = OutputFormat.TABLE,
    *,
    in_bytes: bool = False,
    headings: bool = True,
) -> str:
    """Rows as text, a final newline included."""
    have_nodes = any(row.block.nodes for row in table)
    chosen = [COLUMNS[name] for name in columns]
    shown = [_BlockCell(row, in_bytes, have_nodes) for row in table]
    cells = [[column.cell(row) for column in chosen] for row in shown]
    if style is OutputFormat.JSON:
        return _json(chosen, cells, in_bytes=in_bytes)
    if style is OutputFormat.PAIRS:
        return _lines(" ".join(f'{name}="{cell}"' for name, cell in zip(columns, row, strict=True)) for row in cells)
    widths = [_width(column, [row[at] for row in cells]) for at, column in enumerate(chosen)]
    if headings:
        cells = [list(columns), *cells]
    if style is OutputFormat.RAW:
        return _lines(" ".join(row) for row in cells)
    return _lines(_aligned(row, chosen, widths) for row in cells)


def _width(column: BlockColumn, cells: Sequence[str]) -> int:
    """A column's width: its cells', at least its heading's; the hint counts only for cells wider than the heading.

    Models: count_column_width() in libsmartcols/src/calculate.c (util-linux 2.38).
    """
    widest = max(map(len, cells), default=0)
    return len(column.name) if widest < len(column.name) else max(widest, column.width)


def _aligned(row: list[str], columns: Sequence[BlockColumn], widths: Sequence[int]) -> str:
    """One line of the table; nothing is padded behind the last cell, nor before it when it is empty."""
    cells = [
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, column, width in zip(row, columns, widths, strict=True)
    ]
    cells[-1] = cells[-1].rstrip() if columns[-1].right is False or not row[-1] else cells[-1]
    return " ".join(cells)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _json(columns: Sequence[BlockColumn], cells: Sequence[Sequence[str]], *, in_bytes: bool) -> str:
    """The table as libsmartcols writes JSON: three spaces a level, objects joined by ``},{``."""
    objects = (
        ",\n".join(
            f'         "{column.name.lower()}": {_json_value(cell, column.kind, in_bytes=in_bytes)}'
            for column, cell in zip(columns, row, strict=True)
        )
        for row in cells
    )
    body = "\n      },{\n".join(objects)
    return f'{{\n   "memory": [\n      {{\n{body}\n      }}\n   ]\n}}\n'


def _json_value(cell: str, kind: str, *, in_bytes: bool) -> str:
    """A cell as JSON; an empty one is null, or false where only true and false are."""
    if kind == "boolean":
        return "true" if cell == "yes" else "false"
    # Of a size `?` is ours, and means unknown; as a state it is lsmem's own word.
    if not cell or (cell == "?" and kind == "size"):
        return "null"
    # As lsmem: bytes are a number, a rounded size such as 2G is a string.
    if kind == "number" or (kind == "size" and in_bytes):
        return cell
    return msgspec.json.encode(cell).decode()


def render_summary(memory: MemorySysfs, *, in_bytes: bool = False) -> str:
    """Lsmem's three lines of totals; to lsmem all that is not `online` is offline, what is going offline too."""
    online = sum(block.state == BlockState.ONLINE for block in memory.blocks) * memory.block_size
    offline = len(memory.blocks) * memory.block_size - online
    totals = (
        ("Memory block size:", memory.block_size),
        ("Total online memory:", online),
        ("Total offline memory:", offline),
    )
    if in_bytes:
        return _lines(f"{label:<23} {size:>15}" for label, size in totals)
    return _lines(f"{label:<23} {human_size(size):>5}" for label, size in totals)
