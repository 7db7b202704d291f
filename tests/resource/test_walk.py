"""Searching, with the expectations that the kernel's own tests of kernel/resource.c have, in this project's words."""

import pytest

from virtiomem.resource.flags import (
    IORESOURCE_BUSY,
    IORESOURCE_EXCLUSIVE,
    IORESOURCE_MEM,
    IORESOURCE_SYSTEM_RAM,
    Desc,
)
from virtiomem.resource.tree import Resource, ResourceTree
from virtiomem.resource.walk import (
    Intersection,
    PageRange,
    find_next,
    iomem_is_exclusive,
    region_intersects,
    walk_iomem_res_desc,
    walk_mem_res,
    walk_system_ram_range,
    walk_system_ram_res,
)

BUSY_RAM = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY
M = 1 << 20


def put(tree: ResourceTree, start: int, end: int, name: str, flags: int, desc: Desc = Desc.NONE) -> Resource:
    node = Resource(start, end, name, flags, desc)
    tree.insert_resource(tree, node)
    return node


@pytest.fixture
def tree() -> ResourceTree:
    """Boot RAM with the kernel in it, a device with a block, and memory that is not RAM."""
    tree = ResourceTree()
    put(tree, 0x1000, 0x9FBFF, "System RAM", BUSY_RAM)
    put(tree, M, 64 * M - 1, "System RAM", BUSY_RAM)
    put(tree, 2 * M, 3 * M - 1, "Kernel code", BUSY_RAM)
    put(tree, 64 * M, 65 * M - 1, "ACPI Tables", IORESOURCE_MEM | IORESOURCE_BUSY, Desc.ACPI_TABLES)
    put(tree, 128 * M, 256 * M - 1, "virtio0", IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE)
    put(tree, 128 * M, 192 * M - 1, "System RAM (virtio_mem)", BUSY_RAM)
    return tree


def test_ram_is_found_in_order_and_hides_what_is_inside(tree: ResourceTree) -> None:
    found = [(ram.start, ram.end, ram.resource.name) for ram in walk_system_ram_res(tree, 0, (1 << 64) - 1)]
    assert found == [
        (0x1000, 0x9FBFF, "System RAM"),
        (M, 64 * M - 1, "System RAM"),
        (128 * M, 192 * M - 1, "System RAM (virtio_mem)"),
    ]


def test_what_is_found_is_clipped_to_the_range(tree: ResourceTree) -> None:
    (ram,) = walk_system_ram_res(tree, 8 * M, 9 * M - 1)
    assert (ram.start, ram.end) == (8 * M, 9 * M - 1)


def test_busy_memory_of_any_kind_is_found(tree: ResourceTree) -> None:
    assert [mem.resource.name for mem in walk_mem_res(tree, 3 * M, 256 * M)] == [
        *("System RAM", "ACPI Tables", "System RAM (virtio_mem)"),
    ]


def test_a_desc_is_searched_for(tree: ResourceTree) -> None:
    (found,) = walk_iomem_res_desc(tree, 0, (1 << 64) - 1, IORESOURCE_MEM, Desc.ACPI_TABLES)
    assert found.resource.name == "ACPI Tables"
    assert find_next(tree, 0, 64 * M - 1, IORESOURCE_MEM, Desc.ACPI_TABLES) is None


def test_a_search_of_one_byte_finds_nothing(tree: ResourceTree) -> None:
    assert find_next(tree, M, M, IORESOURCE_MEM) is None
    assert find_next(tree, M, M + 1, IORESOURCE_MEM) is not None


def test_a_last_byte_that_is_left_over_is_not_searched() -> None:
    tree = ResourceTree()
    put(tree, 0, 9, "System RAM", BUSY_RAM)
    put(tree, 10, 10, "System RAM", BUSY_RAM)
    assert [ram.end for ram in walk_system_ram_res(tree, 0, 10)] == [9]
    assert [ram.end for ram in walk_system_ram_res(tree, 0, 11)] == [9, 10]


def test_only_whole_pages_count(tree: ResourceTree) -> None:
    assert list(walk_system_ram_range(tree, 0, 0x200)) == [PageRange(1, 0x9E), PageRange(0x100, 0x100)]
    odd = ResourceTree()
    put(odd, 0x1800, 0x27FF, "System RAM", BUSY_RAM)
    assert list(walk_system_ram_range(odd, 0, 16)) == []


# -- region_intersects --------------------------------------------------------------------------------------------------


@pytest.fixture
def kunit() -> ResourceTree:
    """Five sibling regions in two kinds, one of them with children, as resource_kunit lays them out: 4 KiB each."""
    tree = ResourceTree()
    ram, other = BUSY_RAM, IORESOURCE_MEM
    put(tree, 0x10000, 0x10FFF, "RAM 0", ram)
    put(tree, 0x11000, 0x11FFF, "RAM 1", ram)
    put(tree, 0x12000, 0x12FFF, "CXL Window 0", other)
    put(tree, 0x12000, 0x12FFF, "CXL 0", other)
    put(tree, 0x12000, 0x12FFF, "RAM 2", ram)
    put(tree, 0x14000, 0x15FFF, "CXL Window 1", other)
    put(tree, 0x14000, 0x14FFF, "RAM 3", ram)
    put(tree, 0x15000, 0x153FF, "RAM 4", ram)
    return tree


def _nest(tree: ResourceTree) -> ResourceTree:
    """On equal ranges the newcomer is the parent, so what is inserted last is outside: turn the window inside out."""
    window = tree.lookup(0x12000)
    assert window is not None
    names = ["CXL Window 0", "CXL 0", "RAM 2"]
    for name in names:
        assert window is not None
        window.name = name
        window.flags = BUSY_RAM if name.startswith("RAM") else IORESOURCE_MEM
        window = window.lookup(0x12000)
    return tree


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0x00000, 0x0FFFF, Intersection.DISJOINT),
        (0x13000, 0x13FFF, Intersection.DISJOINT),
        (0x10000, 0x10FFF, Intersection.INTERSECTS),
        (0x0F000, 0x11FFF, Intersection.INTERSECTS),
        (0x12000, 0x12FFF, Intersection.INTERSECTS),
        (0x11800, 0x137FF, Intersection.INTERSECTS),
        (0x14000, 0x14FFF, Intersection.INTERSECTS),
        (0x14000, 0x153FF, Intersection.INTERSECTS),
        (0x14000, 0x15FFF, Intersection.MIXED),
        (0x15400, 0x15FFF, Intersection.DISJOINT),
        (0x10000, 0x15FFF, Intersection.MIXED),
    ],
)
def test_a_range_intersects_ram_other_memory_or_both(
    kunit: ResourceTree, start: int, end: int, expected: Intersection
) -> None:
    assert region_intersects(_nest(kunit), start, end - start + 1, IORESOURCE_SYSTEM_RAM) is expected


def test_a_desc_makes_the_kind(tree: ResourceTree) -> None:
    size = 2 * M
    assert region_intersects(tree, 63 * M, size, IORESOURCE_MEM, Desc.ACPI_TABLES) is Intersection.MIXED
    assert region_intersects(tree, 64 * M, size, IORESOURCE_MEM, Desc.ACPI_TABLES) is Intersection.INTERSECTS


def test_a_gap_before_the_first_match_inside_makes_it_mixed() -> None:
    tree = ResourceTree()
    put(tree, 0, 0xFFFF, "window", IORESOURCE_MEM)
    put(tree, 0x1000, 0xFFFF, "System RAM", BUSY_RAM)
    assert region_intersects(tree, 0, 0x10000, IORESOURCE_SYSTEM_RAM) is Intersection.MIXED
    assert region_intersects(tree, 0x1000, 0xF000, IORESOURCE_SYSTEM_RAM) is Intersection.INTERSECTS


# -- iomem_is_exclusive -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "strict", "io_strict", "exclusive"),
    [
        (200 * M, False, False, True),  # inside virtio0, nothing plugged: not even with iomem=relaxed
        (130 * M, False, False, True),
        (64 * M + 5, True, True, True),
        (64 * M + 5, True, False, False),
        (64 * M + 5, False, True, False),
        (100 * M, True, True, False),
    ],
)
def test_exclusive_ram_is_never_mapped_busy_memory_only_when_relaxed(
    tree: ResourceTree, address: int, *, strict: bool, io_strict: bool, exclusive: bool
) -> None:
    assert iomem_is_exclusive(tree, address, strict_checks=strict, io_strict_devmem=io_strict) is exclusive
