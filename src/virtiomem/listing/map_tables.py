"""A map as a table and as JSON."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from virtiomem.columns import Column, Columns, align, table_lines
from virtiomem.listing.damage import Repair
from virtiomem.listing.ram import RamRange, totals
from virtiomem.resource.flags import flag_names
from virtiomem.resource.node import Resource
from virtiomem.text import sound
from virtiomem.units import size_format

Row = tuple[int, Resource]
"""A resource and how deep to show it."""


class TableOptions(NamedTuple):
    """Options for printing a table."""

    columns: Sequence[str]
    in_bytes: bool = False
    headings: bool = True
    full: str = "█"
    """What a bar is made of."""
    hidden: bool = False
    """All addresses are zero: nothing has a size that is known."""
    at_least: bool = False
    """Something may be missing: every sum may be more."""
    width: int | None = None
    """Columns that there is room for; None: any number."""


BAR_WIDTH = 12
_PAGE_BITS, _BITS_A_CELL = 12, 3
_CELLS = [max(1, min((bits - 1 - _PAGE_BITS) // _BITS_A_CELL + 1, BAR_WIDTH)) for bits in range(66)]
"""A bar grows by one cell each time the size grows eightfold, from 4 KiB on: a map reaches from pages to terabytes. Indexed
by the bit length of the size; the size of all 64 bits has 65 of them."""


def _bar(size: int, style: TableOptions) -> str:
    return "" if style.hidden else style.full * _CELLS[size.bit_length()]


def _size(size: int, style: TableOptions) -> str:
    if style.hidden:
        return "-"
    return size_format(in_bytes=style.in_bytes)(size)


MAX_SHOWN_DEPTH = 32
"""Deeper levels are indented like this one; no kernel comes near."""
_INDENTS = ["  " * depth for depth in range(MAX_SHOWN_DEPTH + 1)]


class _MapCell(NamedTuple):
    """A resource, how deep it is shown, and how."""

    depth: int
    node: Resource
    style: TableOptions

    def indented(self, text: str) -> str:
        """A text as deep as the resource."""
        return f"{_INDENTS[min(MAX_SHOWN_DEPTH, self.depth)]}{text}"


def _parent(shown: _MapCell) -> str:
    parent = shown.node.parent
    return "" if parent is None or parent.parent is None else parent.name


COLUMNS: Columns[Column[_MapCell]] = Columns(
    Column(
        "RANGE", lambda shown: shown.indented(f"{shown.node.start:08x}-{shown.node.end:08x}"), default=("tree", "flat")
    ),
    Column("START", lambda shown: f"{shown.node.start:#x}"),
    Column("END", lambda shown: f"{shown.node.end:#x}"),
    Column("SIZE", lambda shown: _size(shown.node.size, shown.style), right=True, default=("tree", "flat")),
    Column("BAR", lambda shown: _bar(shown.node.size, shown.style), default=("tree",), rank=1),
    Column("NAME", lambda shown: shown.indented(shown.node.name), default=("tree", "flat")),
    Column("FLAGS", lambda shown: ",".join(flag_names(shown.node.flags))),
    Column("PARENT", _parent, default=("flat",), rank=1),
)
TREE_COLUMNS = COLUMNS.default("tree")
FLAT_COLUMNS = COLUMNS.default("flat")


def table(rows: Iterable[Row], style: TableOptions) -> Iterator[str]:
    """The resources as a table, many lines at a time."""
    shown = (_MapCell(depth, node, style) for depth, node in rows)
    chosen = [COLUMNS[name] for name in style.columns]
    return table_lines(shown, chosen, headings=style.headings, width=style.width, elsewhere="--output LIST, --json")


def ram_table(found: list[RamRange], style: TableOptions) -> str:
    """System RAM by kind, with the sum."""
    kinds = totals(found)
    sum_of = size_format(in_bytes=style.in_bytes, at_least=style.at_least)
    lines: list[Sequence[str]] = [["KIND", "RANGES", "SIZE"]] if style.headings else []
    lines += [[kind, str(ranges), sum_of(size)] for kind, (ranges, size) in kinds.items()]
    if style.headings:
        lines.append(["total", str(len(found)), sum_of(sum(size for _, size in kinds.values()))])
    return align(lines, "<>>")


def values(node: Resource) -> dict[str, Any]:
    """One resource for JSON, without what is inside it."""
    return {
        "start": node.start,
        "end": node.end,
        "size": node.size,
        "name": sound(node.name),
        "flags": flag_names(node.flags),
    }


def tree_values(root: Resource) -> list[dict[str, Any]]:
    """Everything inside a resource for JSON, nested as `children`."""
    top: list[dict[str, Any]] = []
    levels = [top]
    for depth, node in root.walk():
        value = values(node)
        # The walk does not say when it leaves a branch: the lists of deeper levels are those of the last one.
        del levels[depth + 1 :]
        levels[depth].append(value)
        if node.children:
            levels.append(value.setdefault("children", []))
    return top


def flat_values(nodes: Iterable[Resource]) -> list[dict[str, Any]]:
    """Resources for JSON, one behind the other, each with the name of its parent."""
    return [
        {
            **values(node),
            "parent": sound(node.parent.name) if node.parent is not None and node.parent.parent is not None else None,
        }
        for node in nodes
    ]


def ram_values(found: list[RamRange]) -> dict[str, Any]:
    """System RAM for JSON: ranges, and totals by kind."""
    return {
        "ram": [{**values(ram.resource), "kind": sound(ram.kind)} for ram in found],
        "totals": {sound(kind): {"ranges": ranges, "size": size} for kind, (ranges, size) in totals(found).items()},
    }


def repair_values(repairs: Iterable[Repair]) -> list[dict[str, Any]]:
    """Repairs for JSON."""
    return [
        {
            "line": repair.line,
            "times": repair.times,
            "damage": repair.damage.value,
            "what": sound(repair.what),
            "remedy": sound(repair.remedy),
        }
        for repair in repairs
    ]
