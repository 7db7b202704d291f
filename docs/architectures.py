"""Put the tables of what differs by architecture and page size into docs/architectures.md.

python -m docs.architectures
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from docs.marked import page_with
from virtiomem.architecture import ARCHITECTURES, Architecture
from virtiomem.device.board import BOARDS, Board
from virtiomem.driver.sizes import choose_units
from virtiomem.memory.core import probe_memory_block_size
from virtiomem.units import GiB, MiB, format_size

Row = TypeVar("Row")

PAGE = Path(__file__).parent / "architectures.md"
BEGIN = "<!-- {}: made by docs/architectures.py -->\n"
END = "<!-- end of table -->\n"


def _blocks(row: Architecture) -> str:
    small, large = probe_memory_block_size(4 * GiB, row), probe_memory_block_size(1024 * GiB, row)
    return format_size(small) if small == large else f"{format_size(small)} to {format_size(large)}, by boot memory"


def _smallest(row: Architecture) -> str:
    units = choose_units(2 * MiB, row.section_size, architecture=row)
    return f"{format_size(units.plugged)}, {'big blocks' if units.big else 'sub-blocks'}"


def _zones(row: Architecture) -> str:
    return ", ".join(f"{zone} from {format_size(span.start)}" for zone, span in row.zones)


def _pluggable(row: Architecture) -> str:
    start = f"boot memory, rounded down to {format_size(row.linear_map_alignment)}" if row.linear_map_alignment else "0"
    return f"2^{row.linear_map_size.bit_length() - 1} bytes from {start}"


LINUX: dict[str, Callable[[Architecture], str]] = {
    "page": lambda row: format_size(row.page_size),
    "pageblock: what can be taken from the page allocator": lambda row: format_size(row.pageblock_size),
    "section": lambda row: format_size(row.section_size),
    "memory block": _blocks,
    "the driver plugs at least, with device blocks of 2M": _smallest,
    "block size that QEMU chooses on such a host": lambda row: format_size(row.transparent_huge_page),
    "zones of boot memory": _zones,
    "can be hotplugged": _pluggable,
    "boot memory at the top of the map": lambda row: ", ".join(f"`{name}`" for name in sorted(row.boot_names)),
    "boot memory goes offline": lambda row: "never (EPERM)" if row.keeps_boot_memory else "if nothing keeps it",
    "node of a device whose proximity domain is unknown": lambda row: (
        "that of its address" if row.looks_up_nodes else "0"
    ),
    "contiguous memory allocator": lambda row: "none" if row.cma_size is None else format_size(row.cma_size),
}
QEMU: dict[str, Callable[[Board], str]] = {
    "Linux": lambda row: ", ".join(one.name for one in row.architectures),
    "RAM starts at": lambda row: f"{row.ram_start:#x}",
    "4G of RAM": lambda row: ", ".join(str(span) for span in row.boot_memory(4 * GiB)),
    "device region with 1G of RAM": lambda row: f"{row.region_start(GiB):#x}",
    "device region with 4G of RAM": lambda row: f"{row.region_start(4 * GiB):#x}",
    "usable region beyond requested-size": lambda row: format_size(row.usable_extent),
    "features that cannot be turned off": lambda row: str(row.always_offers.name or "none"),
    "ACPI": lambda row: "with UEFI only" if row.has_device_tree else "always",
}


def tables() -> dict[str, str]:
    """Each table in Markdown, by its name."""
    return {
        "Linux": _table({row.name: row for row in ARCHITECTURES}, LINUX),
        "QEMU": _table({f"`{row.name}`": row for row in BOARDS.values()}, QEMU),
    }


def _table(rows: dict[str, Row], columns: dict[str, Callable[[Row], str]]) -> str:
    head = f"| | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}\n"
    return head + "".join(
        f"| {what} | {' | '.join(say(row) for row in rows.values())} |\n" for what, say in columns.items()
    )


def page(text: str) -> str:
    """The page with its tables made again."""
    for name, table in tables().items():
        text = page_with(text, BEGIN.format(name), END, table)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
