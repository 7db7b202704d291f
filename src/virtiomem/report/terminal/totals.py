"""Print the summary: before and after in a table, and listings side by side."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from rich.text import Text

from virtiomem.recording.describe import how_it_went
from virtiomem.recording.palette import BlockKind
from virtiomem.recording.values import DeviceInfo, DimmInfo, Recording, Snapshot
from virtiomem.report.block_runs import BlockRun
from virtiomem.report.kinds import resource_kind
from virtiomem.report.moments import Moment
from virtiomem.report.rows import Row, singles
from virtiomem.report.terminal.console import style, text
from virtiomem.resource.names import is_system_ram
from virtiomem.text import printable
from virtiomem.units import format_approx, format_size

NONE = "-"


def table(moments: dict[str, Moment]) -> Iterator[Text]:
    """A column a moment, by its title: resources, RAM by kind, memory blocks, zones, devices."""
    lines = [("", *moments), *_lines(list(moments.values()))]
    # As they are printed: a control character is shown by its escape, which is wider.
    widths = [max(len(printable(line[column])) for line in lines) for column in range(len(moments) + 1)]
    for number, (label, *cells) in enumerate(lines):
        line = f"{printable(label):<{widths[0]}}"
        line += "".join(f"  {printable(cell):>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield text(line.rstrip(), "bold" if number == 0 else "")


def _lines(moments: Sequence[Moment]) -> Iterator[tuple[str, ...]]:
    """The table's rows: a label, then a cell per moment."""
    yield ("resources", *(str(sum(row.times for row in moment.listing)) for moment in moments))
    yield from _by_name([_ram(moment.listing) for moment in moments], "  ")
    yield ("memory blocks", *(str(len(moment.snapshot.memory_blocks)) for moment in moments))
    yield from _by_name([_kinds(moment.blocks) for moment in moments], "  ")
    yield ("zones, present pages", *("" for _ in moments))
    yield from _by_name([_zones(moment.snapshot, moment.page_size) for moment in moments], "  ")
    if devices := list(_by_name([_devices(moment.snapshot.devices) for moment in moments], "  ")):
        yield ("devices, plugged", *("" for _ in moments))
        yield from devices


def _by_name(columns: Sequence[dict[str, str]], indent: str) -> Iterator[tuple[str, ...]]:
    """A row a name for which any column has something."""
    for name in dict.fromkeys(name for column in columns for name in column):
        cells = [column.get(name, NONE) for column in columns]
        if any(cell != NONE for cell in cells):
            yield (f"{indent}{name}", *cells)


def _ram(rows: Sequence[Row]) -> dict[str, str]:
    """Size and number of RAM resources by name."""
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for row in rows:
        if is_system_ram(row.name):
            sizes[row.name] += row.stop - row.start
            counts[row.name] += row.times
    return {name: f"{format_approx(size)} in {counts[name]}" for name, size in sizes.items()}


def _kinds(runs: Sequence[BlockRun]) -> dict[str, str]:
    """Numbers of memory blocks by kind."""
    counts: Counter[BlockKind] = Counter()
    for run in runs:
        counts[run.kind] += run.times
    return {kind.look.word: str(counts[kind] or NONE) for kind in BlockKind if kind is not BlockKind.UNUSED}


def _zones(snapshot: Snapshot, page_size: int) -> dict[str, str]:
    """Present memory by node and zone."""
    return {
        f"{node} {zone}": format_approx(pages.present * page_size)
        for node, zones in snapshot.zones.items()
        for zone, pages in zones.items()
        if pages.present
    }


def _devices(devices: Sequence[DeviceInfo]) -> dict[str, str]:
    """Return the plugged and requested size of each device."""
    return {
        device.id: format_size(device.size)
        if isinstance(device, DimmInfo)
        else f"{format_size(device.size)} of {format_size(device.requested_size)}"
        for device in devices
    }


def summary(recording: Recording) -> Text:
    """Return the number of steps, how they ended, and all requests."""
    counts = Counter(request.type for record in recording.steps for request in record.requests)
    requests = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no requests"
    return text(f"{how_it_went(recording.steps)}; {requests}")


def window(moment: Moment) -> list[Row]:
    """The part of a listing that a device or DIMM can change: from the last boot RAM to the end of the last region."""
    regions = [device.region for device in moment.snapshot.devices]
    if not regions:
        return []
    start, stop = min(region.start for region in regions), max(region.stop for region in regions)
    found = list(singles(moment.listing))
    # The last RAM before it, for it shows whether boot memory and the device's are one resource or two.
    below = [row for row in found if is_system_ram(row.name) and row.stop <= start][-1:]
    return below + [row for row in found if row.start >= start and row.stop <= stop]


def listing(rows: Sequence[Row]) -> list[Text]:
    """Rows as the lines of /proc/iomem, RAM in its colour."""
    return [
        text(
            f"{'  ' * row.depth}{row.start:08x}-{row.stop - 1:08x} : {row.name}",
            style(resource_kind(row.name).look) if is_system_ram(row.name) else "",
        )
        for row in rows
    ]


def beside(columns: Mapping[str, Sequence[Text]]) -> Iterator[Text]:
    """Listings next to each other, each under its name."""
    blocks = [[text(name, "bold"), text("-" * len(name), "dim"), *lines] for name, lines in columns.items()]
    widths = [max(line.cell_len for line in lines) + 4 for lines in blocks]
    for pieces in zip_longest(*blocks, fillvalue=Text()):
        line = Text()
        for piece, width in zip(pieces, widths, strict=True):
            line.append_text(piece).append(" " * (width - piece.cell_len))
        line.rstrip()
        yield line
