"""Merging System RAM and taking it out again: conditions, order, survivor, flags."""

from collections.abc import Callable

import pytest

from virtiomem.resource.flags import (
    IORESOURCE_BUSY,
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSRAM_MERGEABLE,
    IORESOURCE_SYSTEM_RAM,
    Desc,
)
from virtiomem.resource.merge import merge_adjacent_system_ram, merge_system_ram_resource, release_mem_region_adjustable
from virtiomem.resource.tree import Resource, ResourceTree

BLOCK = 128 << 20
NAME = "System RAM (virtio_mem)"


@pytest.fixture
def tree() -> ResourceTree:
    """A virtio-mem device's parent over 16 blocks."""
    tree = ResourceTree()
    tree.request_region(0, 16 * BLOCK, "virtio0", IORESOURCE_SYSTEM_RAM).set_busy(False)
    return tree


def add(tree: ResourceTree, block: int, name: str = NAME, flags: int = IORESOURCE_SYSTEM_RAM) -> Resource:
    return tree.request_region(block * BLOCK, BLOCK, name, flags)


def merged(tree: ResourceTree, *blocks: int) -> list[Resource]:
    return [tree.merge_system_ram_resource(add(tree, block)) for block in blocks]


def blocks(tree: ResourceTree) -> list[str]:
    tree.check()
    return [f"{node.start // BLOCK}-{(node.end + 1) // BLOCK - 1}" for node in tree.children[0].children]


# -- merge_system_ram_resource ------------------------------------------------------------------------------------------


def test_a_block_between_two_joins_both_and_the_lowest_survives(tree: ResourceTree) -> None:
    low, high = merged(tree, 0, 2)
    middle = add(tree, 1)
    assert tree.merge_system_ram_resource(middle) is low
    assert blocks(tree) == ["0-2"]
    assert (middle.parent, high.parent) == (None, None)


def test_a_block_below_another_survives_it(tree: ResourceTree) -> None:
    (high,) = merged(tree, 1)
    low = add(tree, 0)
    assert tree.merge_system_ram_resource(low) is low
    assert blocks(tree) == ["0-1"]
    assert high.parent is None


def test_a_block_alone_is_marked_so_that_the_next_can_merge(tree: ResourceTree) -> None:
    alone = add(tree, 3)
    assert not alone.flags & IORESOURCE_SYSRAM_MERGEABLE
    assert tree.merge_system_ram_resource(alone) is alone
    assert alone.flags & IORESOURCE_SYSRAM_MERGEABLE


def test_nothing_merges_with_a_neighbour_that_was_never_marked(tree: ResourceTree) -> None:
    add(tree, 0)
    merged(tree, 1)
    assert blocks(tree) == ["0-0", "1-1"]


def test_only_one_neighbour_on_each_side_is_looked_at(tree: ResourceTree) -> None:
    for block in (0, 1, 3, 4):
        add(tree, block).flags |= IORESOURCE_SYSRAM_MERGEABLE
    merged(tree, 2)
    assert blocks(tree) == ["0-0", "1-3", "4-4"]


def test_names_that_only_read_alike_do_not_merge(tree: ResourceTree) -> None:
    merged(tree, 0)
    other = NAME[:6] + NAME[6:]
    assert other == NAME
    tree.merge_system_ram_resource(add(tree, 1, other))
    assert blocks(tree) == ["0-0", "1-1"]


@pytest.mark.parametrize(
    "differ",
    [
        pytest.param(lambda res: setattr(res, "desc", Desc.RESERVED), id="desc"),
        pytest.param(lambda res: setattr(res, "flags", res.flags | IORESOURCE_SYSRAM_DRIVER_MANAGED), id="flags"),
        pytest.param(
            lambda res: ResourceTree.insert_resource(res, Resource(res.start, res.start, "inside")), id="children"
        ),
    ],
)
def test_what_differs_does_not_merge(tree: ResourceTree, differ: Callable[[Resource], None]) -> None:
    (low,) = merged(tree, 0)
    differ(low)
    merged(tree, 1)
    assert blocks(tree) == ["0-0", "1-1"]


def test_a_gap_keeps_blocks_apart(tree: ResourceTree) -> None:
    merged(tree, 0, 2)
    assert blocks(tree) == ["0-0", "2-2"]


@pytest.mark.parametrize("flags", [IORESOURCE_MEM | IORESOURCE_BUSY, IORESOURCE_SYSTEM_RAM])
def test_what_is_no_busy_ram_is_left_alone_and_unmarked(tree: ResourceTree, flags: int) -> None:
    res = add(tree, 0)
    res.flags = flags
    assert tree.merge_system_ram_resource(res) is res
    assert res.flags == flags


def test_ram_in_no_tree_is_left_alone() -> None:
    stray = Resource(0, BLOCK - 1, NAME, IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY)
    assert merge_system_ram_resource(stray) is stray


# -- release_mem_region_adjustable --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "count", "left"),
    [
        (0, 8, []),
        (0, 2, ["2-7"]),
        (6, 2, ["0-5"]),
        (3, 2, ["0-2", "5-7"]),
        (7, 2, ["0-7"]),
        (9, 1, ["0-7"]),
    ],
    ids=["whole", "low end", "high end", "middle", "beyond the end", "elsewhere"],
)
def test_a_range_is_taken_out_of_the_resource_that_holds_it(
    tree: ResourceTree, start: int, count: int, left: list[str]
) -> None:
    merged(tree, *range(8))
    tree.release_mem_region_adjustable(start * BLOCK, count * BLOCK)
    assert blocks(tree) == left


def test_a_split_gives_the_upper_part_the_same_name_flags_and_desc(tree: ResourceTree) -> None:
    (low, *_) = merged(tree, *range(8))
    low.desc = Desc.SOFT_RESERVED
    tree.release_mem_region_adjustable(3 * BLOCK, BLOCK)
    lower, upper = tree.children[0].children
    assert lower is low
    assert upper.name is low.name
    assert (upper.flags, upper.desc, upper.parent) == (low.flags, low.desc, low.parent)
    assert blocks(tree) == ["0-2", "4-7"]


def test_what_was_split_can_merge_again(tree: ResourceTree) -> None:
    merged(tree, *range(8))
    tree.release_mem_region_adjustable(3 * BLOCK, BLOCK)
    merged(tree, 3)
    assert blocks(tree) == ["0-7"]


def test_a_range_over_two_resources_takes_nothing_out(tree: ResourceTree) -> None:
    add(tree, 0)
    add(tree, 1)
    tree.release_mem_region_adjustable(0, 2 * BLOCK)
    assert blocks(tree) == ["0-0", "1-1"]


@pytest.mark.parametrize("inside", [4, 0, 7])
def test_a_range_with_a_child_in_it_is_not_taken_out(tree: ResourceTree, inside: int) -> None:
    merged(tree, *range(8))
    tree.insert_resource(tree, Resource(inside * BLOCK, inside * BLOCK, "Kernel code"))
    tree.release_mem_region_adjustable(inside * BLOCK, BLOCK)
    assert blocks(tree) == ["0-7"]


def test_a_split_leaves_children_with_the_lower_part(tree: ResourceTree) -> None:
    (low, *_) = merged(tree, *range(8))
    tree.insert_resource(tree, Resource(0, 0, "Kernel code"))
    tree.release_mem_region_adjustable(4 * BLOCK, BLOCK)
    assert blocks(tree) == ["0-3", "5-7"]
    assert [child.name for child in low.children] == ["Kernel code"]


def test_a_child_above_the_split_forbids_it(tree: ResourceTree) -> None:
    merged(tree, *range(8))
    tree.insert_resource(tree, Resource(7 * BLOCK, 7 * BLOCK, "Kernel code"))
    tree.release_mem_region_adjustable(4 * BLOCK, BLOCK)
    assert blocks(tree) == ["0-7"]


def test_a_whole_resource_goes_with_its_children(tree: ResourceTree) -> None:
    merged(tree, 0)
    tree.insert_resource(tree, Resource(0, 0, "Kernel code"))
    tree.release_mem_region_adjustable(0, BLOCK)
    assert blocks(tree) == []


def test_ports_are_not_memory(tree: ResourceTree) -> None:
    add(tree, 0).flags = IORESOURCE_IO | IORESOURCE_BUSY
    tree.release_mem_region_adjustable(0, BLOCK)
    assert blocks(tree) == ["0-0"]


def test_one_byte_at_the_start_of_a_resource_cannot_be_taken_out(tree: ResourceTree) -> None:
    add(tree, 0)
    release_mem_region_adjustable(tree, 0, 1)
    assert blocks(tree) == ["0-0"]


# -- merge_adjacent_system_ram ------------------------------------------------------------------------------------------


def test_every_run_of_equal_ram_becomes_one(tree: ResourceTree) -> None:
    for block in (0, 1, 2, 4, 5):
        add(tree, block, "".join(NAME))
    add(tree, 6, "System RAM")
    tree.request_region(32 * BLOCK, BLOCK, "Reserved")
    tree.request_region(33 * BLOCK, BLOCK, "Reserved")
    assert merge_adjacent_system_ram(tree) == 3
    assert blocks(tree) == ["0-2", "4-5", "6-6"]
    assert len(tree.children) == 3


def test_ram_with_something_inside_is_not_joined(tree: ResourceTree) -> None:
    for block in (0, 1, 2):
        add(tree, block)
    tree.insert_resource(tree, Resource(BLOCK, BLOCK, "Kernel code"))
    assert tree.merge_adjacent_system_ram() == 0
    assert blocks(tree) == ["0-0", "1-1", "2-2"]
