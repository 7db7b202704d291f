"""Architectures are data: no module names one, or a number of one, outside the rows."""

import re
from pathlib import Path

import pytest

from docs import architectures as docs_page
from virtiomem import architecture, border
from virtiomem.architecture import Architecture, find
from virtiomem.device.board import BOARDS
from virtiomem.driver.sizes import choose_units
from virtiomem.units import KiB, MiB, is_power_of_two

SOURCE = Path(__file__).parents[1] / "src" / "virtiomem"
ROWS = {name: row for name, row in vars(architecture).items() if isinstance(row, Architecture) and name != "DEFAULT"}
OWNERS = {"architecture.py", "device/board.py"}


def sources() -> dict[str, str]:
    return {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}


def test_no_module_imports_a_number_of_an_architecture() -> None:
    number = re.compile(
        r"^(?:from .* import .*|)\b(PAGE_SIZE|PAGEBLOCK_SIZE|SECTION_SIZE|DEFAULT_BLOCK_SIZE)\b", re.MULTILINE
    )
    assert [path for path, text in sources().items() if number.search(text)] == []


def test_only_machines_name_the_row_that_is_theirs() -> None:
    row = re.compile(rf"(?m)^from virtiomem\.architecture import .*\b(?:{'|'.join(ROWS)})\b")
    assert {path for path, text in sources().items() if row.search(text)} <= OWNERS


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_row_is_sound(row: Architecture) -> None:
    border.page_size(row.page_size)
    sizes = [row.page_size, row.pageblock_size, row.section_size, row.max_block_size]
    assert all(map(is_power_of_two, sizes))
    assert sizes == sorted(sizes)
    starts = [span.start for _, span in row.zones]
    assert [0, *(span.stop for _, span in row.zones)] == [*starts, 1 << 64]


def test_tables_of_the_page_are_those_of_the_rows() -> None:
    page = docs_page.PAGE.read_text()
    assert docs_page.page(page) == page


def test_usable_region_reaches_two_of_the_largest_sections_further() -> None:
    """QEMU's extent is for the page size with the largest section, since it does not know the guest's."""
    for board in BOARDS.values():
        assert board.usable_extent == 2 * max(row.section_size for row in board.architectures)


def test_pages_of_64k_leave_no_room_for_sub_blocks() -> None:
    row = find("arm64", 64 * KiB)
    assert row
    assert choose_units(2 * MiB, row.section_size, architecture=row).big


def test_unknown_architecture_has_no_row() -> None:
    assert find("riscv64") is None
    assert find("x86-64", 16 * KiB) is None
