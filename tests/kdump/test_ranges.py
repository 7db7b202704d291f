import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtiomem
from virtiomem.errors import ListingError
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import crash_ranges, kernel_ranges, kexec_tools_ranges
from virtiomem.releases.linux import LINUX
from virtiomem.resource import iomem
from virtiomem.resource.flags import IORESOURCE_BUSY, IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.resource.walk import walk_system_ram_res
from virtiomem.units import U64_MAX, MiB

PAGE = 0x1000


def listing(*lines: tuple[int, int, int, str]) -> str:
    return "".join(f"{'  ' * depth}{start:08x}-{end:08x} : {name}\n" for depth, start, end, name in lines)


@pytest.mark.parametrize("name", ["merged-file", "unmerged-file", "none-file"])
def test_kernel_ranges_equal_a_real_header(real_header: Any, name: str) -> None:
    real = real_header(name)
    found = kernel_ranges(iomem.loads(real.iomem))
    found.check()
    loads = [
        (segment["paddr"], segment["paddr"] + segment["memsz"] - 1)
        for segment in real.recorded["vmcore"]["program-headers"]
        if segment["type"] == "LOAD" and segment["vaddr"] < 0xFFFFFFFF80000000
    ]
    assert found.ranges == loads == crash_ranges(real.iomem) == crash_ranges(real.iomem.encode())


@pytest.mark.parametrize("name", ["merged-load", "split-load"])
def test_kexec_tools_ranges_equal_what_kexec_printed(real_header: Any, name: str) -> None:
    real = real_header(name)
    found = kexec_tools_ranges(iomem.loads(real.iomem))
    found.check()
    printed = [
        re.fullmatch(r"(\w+)-(\w+) \((\d)\)", line) for line in real.recorded["kexec-tools-printed"]["crash-ranges"]
    ]
    ram = [(int(match[1], 16), int(match[2], 16)) for match in printed if match and match[3] == "0"]
    assert found.ranges == ram
    assert found.entries == len(printed)
    assert found.backup == (0x1000, 0x9FBFF)


def test_driver_managed_ram_is_dumped_and_its_parent_is_not() -> None:
    text = listing(
        (0, 0x100000000, 0x17FFFFFFF, "virtio0"),
        (1, 0x100000000, 0x107FFFFFF, "System RAM (virtio_mem)"),
        (1, 0x108000000, 0x10FFFFFFF, "System RAM (virtio_mem)"),
    )
    assert crash_ranges(text) == [(0x100000000, 0x107FFFFFF), (0x108000000, 0x10FFFFFFF)]


def test_a_low_crash_kernel_is_excluded_after_the_high_one() -> None:
    text = listing(
        (0, 0x100000, 0x7FFFFFFF, "System RAM"),
        (1, 0x70000000, 0x7FFFFFFF, "Crash kernel"),
        (0, 0x100000000, 0x1FFFFFFFF, "System RAM"),
        (1, 0x110000000, 0x11FFFFFFF, "Crash kernel"),
    )
    found = kernel_ranges(iomem.loads(text))
    assert found.excluded == [(0, MiB - 1), (0x110000000, 0x11FFFFFFF), (0x70000000, 0x7FFFFFFF)]
    assert found.ranges == [(0x100000, 0x6FFFFFFF), (0x100000000, 0x10FFFFFFF), (0x120000000, 0x1FFFFFFFF)]


def test_an_older_kernel_stops_at_the_first_range_that_an_exclusion_cuts() -> None:
    """A crash kernel over two touching System RAM entries: in 6.1 the second keeps what it shares with it."""
    text = listing(
        (0, 0x100000, 0x3FFFFFFF, "System RAM"),
        (1, 0x30000000, 0x3FFFFFFF, "Crash kernel"),
        (0, 0x40000000, 0x7FFFFFFF, "System RAM"),
    )
    tree = iomem.loads(text)
    crash = next(node for _, node in tree.walk() if node.name == "Crash kernel")
    crash.end = 0x4FFFFFFF  # no listing can say this; firmware that splits RAM could
    stopped = kernel_ranges(tree, LINUX.release("6.1")).ranges
    assert stopped == [(0x100000, 0x2FFFFFFF), (0x40000000, 0x7FFFFFFF)]
    assert kernel_ranges(tree, LINUX.release("6.12")).ranges == [(0x100000, 0x2FFFFFFF), (0x50000000, 0x7FFFFFFF)]
    assert kexec_tools_ranges(tree).ranges == [(0x100000, 0x2FFFFFFF), (0x50000000, 0x7FFFFFFF)]


def test_an_excluded_range_goes_whole() -> None:
    text = listing((0, 0x1000, 0x9FFFF, "System RAM"), (0, 0x100000, 0x1FFFFF, "System RAM"))
    assert crash_ranges(text) == [(0x100000, 0x1FFFFF)]


def ram_lines(count: int, first: int = 1) -> list[tuple[int, int, int, str]]:
    return [(0, 0x100000 * at, 0x100000 * at + 0xFFFFF, "System RAM") for at in range(first, first + count)]


def test_kexec_tools_stops_silently_when_its_table_is_full() -> None:
    lines = [*ram_lines(3), (0, 0x400000, 0x4FFFFF, "Reserved"), *ram_lines(6, 5)]
    found = kexec_tools_ranges(iomem.loads(listing(*lines)), limit=6)
    found.check()
    assert (len(found.ranges), found.entries, found.limit, found.refused) == (5, 6, 6, False)
    assert found.lost == [(start, end) for _, start, end, _ in ram_lines(4, 7)]


def test_kexec_tools_refuses_when_the_crash_kernel_splits_an_entry_too_many() -> None:
    lines = ram_lines(3)
    lines.insert(1, (1, 0x110000, 0x11FFFF, "Crash kernel"))
    tree = iomem.loads(listing(*lines))
    assert [kexec_tools_ranges(tree, limit=limit).refused for limit in (2, 3, 4)] == [True, True, False]
    trimmed = iomem.loads(listing(lines[0], (1, 0x100000, 0x11FFFF, "Crash kernel"), *lines[2:]))
    assert not kexec_tools_ranges(trimmed, limit=2).refused


def test_kexec_tools_takes_every_name_with_the_words_in_what_it_reads_of_the_line() -> None:
    text = listing(
        (0, 0x100000, 0x1FFFFF, "My System RAM, sort of"),
        (1, 0x100000, 0x17FFFF, "System RAM (kmem)"),
        (0, 0x200000, 0x2FFFFF, "GART"),
        (0, 0x300000, 0x3FFFFF, "System ROM"),
        (0, 0x400000, 0x4FFFFF, "x" * (159 - len("00400000-004fffff : System RAM")) + "System RAM"),
        (0, 0x500000, 0x5FFFFF, "x" * (160 - len("00500000-005fffff : System RAM")) + "System RAM"),
    )
    found = kexec_tools_ranges(iomem.loads(text))
    assert found.ranges == [(0x100000, 0x1FFFFF), (0x100000, 0x17FFFF), (0x400000, 0x4FFFFF)]
    assert found.excluded == [(0x200000, 0x2FFFFF)]


def test_kexec_tools_calls_the_upper_half_of_what_it_splits_ram() -> None:
    text = listing((0, 0x100000, 0x1FFFFF, "Reserved"), (1, 0x110000, 0x11FFFF, "Crash kernel"))
    assert kexec_tools_ranges(iomem.loads(text)).ranges == [(0x120000, 0x1FFFFF)]


def test_a_machine_with_a_crash_kernel_is_known() -> None:
    without, within = listing(*ram_lines(1)), listing(*ram_lines(1), (1, 0x110000, 0x11FFFF, "Crash kernel"))
    for ranges in (kernel_ranges, kexec_tools_ranges):
        assert [ranges(iomem.loads(text)).has_crash_kernel for text in (without, within)] == [False, True]


def test_no_ram_gives_no_ranges_and_a_broken_listing_its_line() -> None:
    assert crash_ranges("") == []
    with pytest.raises(ListingError, match=":2:"):
        crash_ranges("00000000-00000fff : Reserved\nnonsense\n")


def test_crash_ranges_is_a_public_name() -> None:
    assert virtiomem.crash_ranges is crash_ranges
    assert {loader.value for loader in Loader} == {"kernel", "kexec-tools"}


@st.composite
def trees(draw: st.DrawFn) -> ResourceTree:
    """Pages of anything, nested once, some of it RAM, with a crash kernel here and there."""
    lines = []
    address = draw(st.integers(0, 3)) * 64 * PAGE
    for _ in range(draw(st.integers(0, 8))):
        pages = draw(st.integers(2, 40))
        name = draw(st.sampled_from(["System RAM", "virtio0", "Reserved", "System RAM (kmem)"]))
        lines.append((0, address, address + pages * PAGE - 1, name))
        if inner := draw(st.sampled_from(["", "Crash kernel", "System RAM (virtio_mem)", "Kernel code"])):
            start = address + draw(st.integers(0, pages // 2)) * PAGE
            lines.append((1, start, start + pages // 2 * PAGE - 1, inner))
        address += pages * PAGE + draw(st.integers(0, 2)) * 200 * PAGE
    return iomem.loads(listing(*lines))


@given(trees())
def test_ranges_hold_the_pages_that_a_page_by_page_count_finds(tree: ResourceTree) -> None:
    found = kernel_ranges(tree)
    found.check()
    ram = {
        page
        for part in walk_system_ram_res(tree, 0, U64_MAX)
        for page in range(part.start // PAGE, (part.end + 1) // PAGE)
    }
    for start, end in found.excluded:
        ram -= set(range(start // PAGE, (end + 1) // PAGE))
    assert {page for start, end in found.ranges for page in range(start // PAGE, (end + 1) // PAGE)} == ram
    wanted = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY
    assert len(found.ranges) <= sum(node.flags & wanted == wanted for _, node in tree.walk()) + 2
