"""One picture of one listing, as SVG: the address space on a strip, the legend, and every resource with address and size.

Fit for a bug report or a page of documentation: 800 pixels wide, no script, no font of its own, a white ground.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from virtiomem.recording.palette import BlockKind, ResourceKind
from virtiomem.report.axis import Axis, AxisSegment, folded_axis
from virtiomem.report.block_runs import BlockRun
from virtiomem.report.kinds import resource_kind
from virtiomem.report.rows import Row
from virtiomem.report.spans import SpanSet
from virtiomem.report.svg import element, shortened
from virtiomem.resource.names import is_system_ram
from virtiomem.units import Span, format_short, format_size

WIDTH, MARGIN = 800, 16
TIMES = "\N{MULTIPLICATION SIGN}"
LEVEL = 24
"""Height of a level of nesting on the strip."""
LINE = 19
"""Height of a line of the table."""
CLOSER = 3
"""Pixels: what changed and is narrower is drawn once more, closer."""
TABLE_LINES = 44
"""A longer listing has its devices and firmware told together."""
MOST_LINES = 60
"""Of a listing that is longer even so, the middle is left out."""
STYLE = """
text { font: 12px "DejaVu Sans", Verdana, sans-serif; fill: #1b1f24 }
.title { font-size: 16px; font-weight: bold } .muted { fill: #57606a } .small { font-size: 11px }
.mono { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 11.5px; white-space: pre }
.box { stroke: #fff; stroke-width: 1 } .edge { stroke: #d0d7de; fill: none } .tear { stroke: #57606a; fill: none }
"""


class BlockStrip(NamedTuple):
    """The memory blocks to draw below the resources, when they are known."""

    runs: Sequence[BlockRun]
    block_size: int
    plugged: SpanSet


def picture(
    listing: Sequence[Row],
    *,
    title: str,
    blocks: BlockStrip | None = None,
    changed: Span | None = None,
    at_least: bool = False,
) -> str:
    """The picture of a listing, as the text of an SVG file; `at_least`: something of the map may be missing.

    Where something `changed` that takes less than `CLOSER` pixels, a second strip shows it closer.
    """
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": "", "width": str(WIDTH), "role": "img"})
    resources = sum(row.times for row in listing)
    element(svg, "title", f"Memory map: {title}")
    element(svg, "style", STYLE)
    _hatch(svg)
    ground = element(svg, "rect", width=WIDTH, fill="#fff")
    element(svg, "text", shortened(title, WIDTH - 2 * MARGIN, 9), x=MARGIN, y=27, class_="title")
    ram = sum(row.size * row.times for row in listing if is_system_ram(row.name))
    said = f"{resources} resources, {format_short(ram)} of System RAM" if ram else f"{resources} resources"
    said = f"at least {said}" if at_least else said
    element(svg, "text", said, x=MARGIN, y=45, class_="muted")
    axis = folded_axis([listing])
    y = _strip(svg, 56, listing, blocks, axis)
    if changed is not None and (near := _closer(changed, _Scale(Axis(axis)))) is not None:
        words = f"closer: what changed, {format_short(near.start)} to {format_short(near.stop)}"
        element(svg, "text", words, x=MARGIN, y=y + 20, class_="muted")
        # Whole rows, though some reach beyond: the axis puts an address outside it at its nearer end.
        rows = [row for row in listing if row.start < near.stop and near.start < row.stop]
        y = _strip(svg, y + 24, rows, blocks, [AxisSegment(*near, folded=False)])
    y = _legend(svg, y + 14, listing, blocks)
    y = _table(svg, y + 12, listing)
    # Only now: how high the picture is depends on how many lines the table has.
    svg.set("viewBox", f"0 0 {WIDTH} {y + 10:g}")
    svg.set("height", f"{y + 10:g}")
    ground.set("height", f"{y + 10:g}")
    ET.indent(svg, "")
    return ET.tostring(svg, encoding="unicode") + "\n"


def _hatch(svg: ET.Element) -> None:
    """The ground of folded stretches."""
    turned = {
        "id": "fold",
        "width": "8",
        "height": "8",
        "patternUnits": "userSpaceOnUse",
        "patternTransform": "rotate(45)",
    }
    pattern = ET.SubElement(element(svg, "defs"), "pattern", turned)
    element(pattern, "rect", width=8, height=8, fill="#eceef1")
    element(pattern, "line", y2=8, stroke="#d0d7de", stroke_width=2)


# -- the strip ----------------------------------------------------------------------------------------------------------


class _Scale:
    """Addresses to pixels."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis

    def __call__(self, address: int) -> float:
        return MARGIN + self.axis.place(address) * (WIDTH - 2 * MARGIN)


def _closer(changed: Span, x: _Scale) -> Span | None:
    """Return the changed range with half its size on either side; None if it is visible on the whole map."""
    wide = x(changed.stop) - x(changed.start)
    room = changed.size // 2
    return Span(max(changed.start - room, 0), changed.stop + room) if wide < CLOSER else None


def _strip(
    svg: ET.Element, top: float, listing: Sequence[Row], blocks: BlockStrip | None, axis: Sequence[AxisSegment]
) -> float:
    """Ruler, resources and memory blocks on one axis; returns the lower edge."""
    x = _Scale(Axis(axis))
    levels = 1 + max((row.depth for row in listing), default=0)
    height = levels * LEVEL
    bottom = top + 32 + height + (30 if blocks else 0)
    # In this order, for SVG paints what comes later over what came before.
    _folds(svg, x, top, bottom)
    _ruler(svg, x, top)
    for row in _visible(listing, x):
        _box(svg, row, x, top + 32 + row.depth * LEVEL, height - row.depth * LEVEL)
    if blocks:
        _blocks(svg, blocks, x, top + 36 + height)
    return bottom


def _folds(svg: ET.Element, x: _Scale, top: float, bottom: float) -> None:
    """Hatched, torn at both edges, with how much each leaves out."""
    for segment in x.axis.segments:
        if segment.folded:
            left, right = x(segment.start), x(segment.stop)
            element(svg, "rect", x=left, y=top, width=right - left, height=bottom - top, fill="url(#fold)")
            for edge in (left, right):
                teeth = "".join(f"l{3 if i % 2 else -3} 4" for i in range(int(bottom - top) // 4))
                element(svg, "path", d=f"M{edge:.1f} {top}{teeth}", class_="tear")
            text = f"⋯ {format_short(segment.stop - segment.start)}"
            middle = min((left + right) / 2, WIDTH - MARGIN - len(text) * 3.3)
            _label(svg, text, middle, top + 11, "#fff", text_anchor="middle", class_="muted small")


def _label(svg: ET.Element, text: str, x: float, y: float, ground: str, **attributes: str) -> None:
    """Text in a halo of its ground's colour, so that no line crosses it."""
    element(svg, "text", text, x=x, y=y, **{**attributes, "stroke": ground, "stroke_width": "3"})
    element(svg, "text", text, x=x, y=y, **attributes)


def _ruler(svg: ET.Element, x: _Scale, top: float) -> None:
    marks = x.axis.ticks(80 / (WIDTH - 2 * MARGIN))
    alike = len({format_short(address) for address in marks}) < len(marks)
    named = format_size if alike else format_short  # two that would look alike get exact numbers
    for address in marks:
        anchor = "start" if x(address) < MARGIN + 20 else "middle"
        label = named(address) if address else "0"
        element(svg, "text", label, x=x(address), y=top + 24, text_anchor=anchor, class_="muted small")
        element(svg, "line", x1=x(address), x2=x(address), y1=top + 27, y2=top + 32, class_="edge")


def _visible(listing: Sequence[Row], x: _Scale) -> list[Row]:
    """The rows without those that a wider or earlier one of their level hides on the same pixel."""
    shown: dict[tuple[int, int], Row] = {}
    for i, row in enumerate(listing):
        wide = x(row.stop) - x(row.start) >= 1
        # A row that is wide enough hides behind none: it has a key of its own.
        key = (-1, i) if wide else (row.depth, int(x(row.start)))
        if key not in shown or row.size > shown[key].size:
            shown[key] = row
    return sorted(shown.values(), key=lambda row: (row.depth, row.start))


def _box(svg: ET.Element, row: Row, x: _Scale, top: float, height: float) -> None:
    left, right = x(row.start), x(row.stop)
    color = resource_kind(row.name).look.color
    box = element(
        svg,
        "rect",
        x=left,
        y=top,
        width=max(right - left, 1),
        height=height,
        fill=color,
        class_="box" if right - left > 3 else "",
    )
    element(box, "title", f"{_range(row)} : {row.name}")
    _seams(svg, row.start, row.size, row.times, x, top, height)
    text = shortened(row.name, right - left - 8, 7)
    if text and len(f"{text}, {_size(row)}") * 7 < right - left - 8:
        text = f"{text}, {_size(row)}"
    if text:
        _label(svg, text, left + 5, top + 16, color)


def _seams(svg: ET.Element, start: int, size: int, count: int, x: _Scale, top: float, height: float) -> None:
    """The limits between equal neighbours, when there is room to see them."""
    if count > 1 and x(start + size) - x(start) >= 4:
        lines = "".join(f"M{x(start + i * size):.1f} {top:g}v{height:g}" for i in range(1, count))
        element(svg, "path", d=lines, class_="box")


def _blocks(svg: ET.Element, blocks: BlockStrip, x: _Scale, top: float) -> None:
    """The memory blocks; of runs that share a pixel, each kind as high as its share."""
    columns: defaultdict[int, Counter[BlockKind]] = defaultdict(Counter)
    low, high = (x.axis.segments[0].start, x.axis.segments[-1].stop) if x.axis.segments else (0, 0)
    for run in blocks.runs:
        start, stop = run.first * blocks.block_size, (run.first + run.times) * blocks.block_size
        if stop <= low or high <= start:
            continue
        left, right = x(start), x(stop)
        if right - left >= 1:
            _block_run(svg, run, blocks, x, top)
        else:
            columns[int(left)][run.kind] += run.times
    # Drawn one over the other, the last run of a pixel would hide a thousand others.
    for pixel, kinds in columns.items():
        y = top
        for kind in (kind for kind in BlockKind if kind in kinds):
            height = 26 * kinds[kind] / kinds.total()
            opacity = 0.2 if kind is BlockKind.UNUSED else 1
            element(svg, "rect", x=pixel, y=y, width=1, height=height, fill=kind.look.color, opacity=opacity)
            y += height


def _block_run(svg: ET.Element, run: BlockRun, blocks: BlockStrip, x: _Scale, top: float) -> None:
    look, size = run.kind.look, blocks.block_size
    start, stop = run.first * size, (run.first + run.times) * size
    left, width = x(start), x(stop) - x(start)
    if not run.state:
        element(svg, "rect", x=left, y=top, width=width, height=26, class_="edge")
        return
    partial = run.kind.name.endswith("_PARTIAL")
    element(svg, "rect", x=left, y=top, width=max(width, 1), height=26, fill=look.color, opacity=0.35 if partial else 1)
    # A block that is wholly plugged has its colour already; a partial one shows where.
    for span in blocks.plugged if partial else ():
        low, high = max(span.start, start), min(span.stop, stop)
        if low < high:
            element(svg, "rect", x=x(low), y=top, width=max(x(high) - x(low), 1), height=26, fill=look.color)
    _seams(svg, start, size, run.times, x, top, 26)
    last = f"-{run.first + run.times - 1}" if run.times > 1 else ""
    text = f"{look.symbol} {run.first}{last} {run.valid_zones}"
    if len(text) * 7 < width - 6:
        _label(svg, text, left + 5, top + 17, look.color)


# -- legend and table ---------------------------------------------------------------------------------------------------


def _legend(svg: ET.Element, top: float, listing: Sequence[Row], blocks: BlockStrip | None) -> float:
    """Draw the legend of the colours that occur; returns the lower edge."""
    kinds = {resource_kind(row.name) for row in listing}
    looks = [(kind.look, "") for kind in ResourceKind if kind in kinds]
    if blocks:
        used = {run.kind: run.kind.look for run in blocks.runs if run.state}
        looks += [(look, f"{look.symbol} ") for look in used.values()]
    left = float(MARGIN)
    for look, symbol in looks:
        text = f"{symbol}{look.word}"
        # 6.7 pixels a letter: a picture has no layout of its own, so widths are estimated, on the wide side.
        if left + 24 + len(text) * 6.7 > WIDTH - MARGIN:
            left, top = float(MARGIN), top + 19
        opacity = 0.35 if "partly" in look.word else 1
        element(svg, "rect", x=left, y=top, width=13, height=13, fill=look.color, opacity=opacity)
        element(svg, "rect", x=left, y=top, width=13, height=13, class_="edge")
        element(svg, "text", text, x=left + 18, y=top + 11, class_="small")
        left += 36 + len(text) * 6.7
    return top + 16


def _table(svg: ET.Element, top: float, listing: Sequence[Row]) -> float:
    """A line for every resource; returns the lower edge."""
    lines = list(_told(listing))
    digits = max((len(_range(line)) for line in lines if isinstance(line, Row)), default=17)
    size_at = (
        MARGIN + 40 + digits * 7 + 7.5 * max((len(_size(line)) for line in lines if isinstance(line, Row)), default=6)
    )
    y = top
    for line in lines:
        y += LINE
        if isinstance(line, str):
            element(
                svg,
                "text",
                shortened(line, WIDTH - MARGIN - size_at - 16, 6.8),
                x=size_at + 16,
                y=y - 5,
                class_="muted small",
            )
            continue
        element(svg, "rect", x=MARGIN, y=y - 15, width=13, height=13, fill=resource_kind(line.name).look.color)
        element(svg, "text", _range(line), x=MARGIN + 24, y=y - 5, class_="mono")
        element(svg, "text", _size(line), x=size_at, y=y - 5, text_anchor="end")
        indent = size_at + 16 + line.depth * 16
        element(svg, "text", shortened(line.name, WIDTH - MARGIN - indent, 7.2), x=indent, y=y - 5)
    return y


def _told(listing: Sequence[Row]) -> list[Row | str]:
    """The lines of the table: all of a short listing, what matters of a long one."""
    told: list[Row | str] = list(listing) if len(listing) <= TABLE_LINES else _without_devices(listing)
    if len(told) <= MOST_LINES:
        return told
    half = MOST_LINES // 2
    return [*told[:half], f"… {len(told) - 2 * half} more lines …", *told[-half:]]


def _without_devices(listing: Sequence[Row]) -> list[Row | str]:
    """A listing with neighbouring lines about devices and firmware told as one."""
    told: list[Row | str] = []
    left_out: list[Row] = []
    for row in [*listing, None]:
        if row is not None and resource_kind(row.name) in {ResourceKind.IO, ResourceKind.FIRMWARE}:
            left_out.append(row)
            continue
        if left_out:
            names = ", ".join(dict.fromkeys(other.name for other in left_out))
            told.append(f"{sum(other.times for other in left_out)} more: {names}" if len(left_out) > 1 else left_out[0])
            left_out = []
        if row is not None:
            told.append(row)
    return told


def _range(row: Row) -> str:
    """A row's range, inclusive, as the listing writes it."""
    return f"{row.start:08x}-{row.stop - 1:08x}"


def _size(row: Row) -> str:
    """A row's size, of each when there are several."""
    text = format_short(row.size)
    return text if row.times == 1 else f"{row.times} {TIMES} {text}"


def plugged_everywhere(plugged: dict[str, SpanSet | None]) -> SpanSet:
    """Return the spans plugged at any device."""
    return SpanSet(Span(*span) for spans in plugged.values() if spans is not None for span in spans)
