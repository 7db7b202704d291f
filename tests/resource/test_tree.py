"""The rules of kernel/resource.c, each by its outcome."""

from typing import Any

import pytest

from tests.refused import refused
from virtiomem.errors import Errno, KernelError
from virtiomem.resource.flags import (
    IORESOURCE_BUSY,
    IORESOURCE_EXCLUSIVE,
    IORESOURCE_MEM,
    IORESOURCE_MUXED,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSTEM_RAM,
    Desc,
    flag_names,
)
from virtiomem.resource.tree import Resource, ResourceConflict, ResourceTree

K = 0x1000


@pytest.fixture
def iomem() -> ResourceTree:
    return ResourceTree()


def shape(tree: Resource) -> list[str]:
    return [f"{'  ' * depth}{node.start:x}-{node.end:x} {node.name}" for depth, node in tree.walk()]


def window(iomem: ResourceTree, start: int, size: int, name: str = "window", flags: int = IORESOURCE_MEM) -> Resource:
    """A node that is not busy."""
    node = Resource(start, start + size - 1, name, flags)
    iomem.insert_resource(iomem, node)
    return node


# -- the root -----------------------------------------------------------------------------------------------------------


def test_the_root_is_iomem_resource(iomem: ResourceTree) -> None:
    assert (iomem.name, iomem.start, iomem.end, iomem.flags) == ("PCI mem", 0, (1 << 64) - 1, IORESOURCE_MEM)
    assert (list(iomem.children), iomem.parent) == ([], None)


def test_a_request_beyond_physical_memory_conflicts_with_the_root(iomem: ResourceTree) -> None:
    iomem.end = (1 << 40) - 1
    iomem.request_region((1 << 40) - K, K, "top")
    with pytest.raises(ResourceConflict) as refused:
        iomem.request_region((1 << 40) - K // 2, K, "beyond")
    assert refused.value.conflict is iomem


# -- request_region -----------------------------------------------------------------------------------------------------


def test_a_claim_is_busy_and_takes_over_type_and_ram_from_where_it_lands(iomem: ResourceTree) -> None:
    flags = IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE | IORESOURCE_SYSRAM_DRIVER_MANAGED
    window(iomem, 0, 16 * K, flags=flags)
    inner = iomem.request_region(4 * K, K, "claim", IORESOURCE_MUXED)
    assert inner.flags == IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY | IORESOURCE_MUXED
    assert iomem.request_region(32 * K, K, "outside").flags == IORESOURCE_MEM | IORESOURCE_BUSY


def test_a_claim_takes_over_the_desc_of_where_it_lands(iomem: ResourceTree) -> None:
    window(iomem, 0, 16 * K).desc = Desc.SOFT_RESERVED
    assert iomem.request_region(0, K, "dax0.0").desc is Desc.SOFT_RESERVED


def test_a_claim_descends_into_what_is_not_busy_as_deep_as_it_goes(iomem: ResourceTree) -> None:
    window(iomem, 0, 64 * K, "bus")
    window(iomem, 16 * K, 16 * K, "bar")
    claim = iomem.request_region(20 * K, K, "driver")
    assert shape(iomem) == ["0-3ffff bus", "  10000-1ffff bar", "    14000-14fff driver"]
    assert claim.parent is not None
    assert claim.parent.name == "bar"


def test_a_busy_resource_refuses_what_lies_in_it(iomem: ResourceTree) -> None:
    iomem.request_region(0, 16 * K, "System RAM")
    with pytest.raises(ResourceConflict) as refused:
        iomem.request_region(4 * K, K, "driver")
    assert refused.value.errno is Errno.EBUSY
    assert str(refused.value) == "0x4000-0x4fff 'driver' conflicts with 0x0-0xffff 'System RAM': EBUSY"


def test_a_claim_that_only_partly_lies_in_a_window_is_refused(iomem: ResourceTree) -> None:
    bus = window(iomem, 0, 16 * K)
    with pytest.raises(ResourceConflict) as refused:
        iomem.request_region(12 * K, 8 * K, "driver")
    assert refused.value.conflict is bus


def test_an_equal_claim_lands_inside_what_is_not_busy(iomem: ResourceTree) -> None:
    window(iomem, 0, 16 * K)
    iomem.request_region(0, 16 * K, "driver")
    assert shape(iomem) == ["0-ffff window", "  0-ffff driver"]


def test_a_claim_around_a_window_is_refused(iomem: ResourceTree) -> None:
    window(iomem, 4 * K, 4 * K)
    with pytest.raises(ResourceConflict):
        iomem.request_region(0, 16 * K, "driver")


@pytest.mark.parametrize(("start", "size"), [(K, 0), ((1 << 64) - K, 2 * K)])
def test_an_empty_or_wrapping_claim_conflicts_with_the_root(iomem: ResourceTree, start: int, size: int) -> None:
    with pytest.raises(ResourceConflict) as refused:
        iomem.request_region(start, size, "nothing")
    assert refused.value.conflict is iomem
    assert not iomem.children


def test_the_lowest_resource_in_the_way_is_named(iomem: ResourceTree) -> None:
    low = iomem.request_region(4 * K, K, "low")
    iomem.request_region(8 * K, K, "high")
    with pytest.raises(ResourceConflict) as refused:
        iomem.request_region(0, 64 * K, "both")
    assert refused.value.conflict is low


def test_a_place_that_was_claimed_or_went_away_is_not_come_back_to(iomem: ResourceTree) -> None:
    bus = window(iomem, 0, 16 * K)
    iomem.request_region(0, K, "first")
    bus.set_busy(True)
    with pytest.raises(ResourceConflict):
        iomem.request_region(K, K, "second")
    bus.set_busy(False)
    iomem.request_region(K, K, "second")
    iomem.release_resource(bus)
    assert iomem.request_region(2 * K, K, "third").parent is iomem


# -- release_region -----------------------------------------------------------------------------------------------------


def test_releasing_a_claim_takes_it_out_with_what_is_inside(iomem: ResourceTree) -> None:
    window(iomem, 0, 64 * K)
    iomem.request_region(16 * K, 16 * K, "driver")
    iomem.insert_resource(iomem, Resource(17 * K, 18 * K - 1, "part"))
    assert iomem.release_region(16 * K, 16 * K)
    assert shape(iomem) == ["0-3ffff window"]


@pytest.mark.parametrize(("start", "size"), [(16 * K, 8 * K), (20 * K, 4 * K), (0, 64 * K), (48 * K, K)])
def test_releasing_what_is_no_claim_changes_nothing(iomem: ResourceTree, start: int, size: int) -> None:
    window(iomem, 0, 64 * K)
    iomem.request_region(16 * K, 16 * K, "driver")
    assert not iomem.release_region(start, size)
    assert len(shape(iomem)) == 2


# -- request_resource, insert_resource ----------------------------------------------------------------------------------


def test_request_resource_never_descends(iomem: ResourceTree) -> None:
    bus = window(iomem, 0, 64 * K)
    new = Resource(0, K - 1, "new")
    with pytest.raises(ResourceConflict):
        iomem.request_resource(iomem, new)
    iomem.request_resource(bus, new)
    assert new.parent is bus


def test_a_resource_cannot_be_in_two_places(iomem: ResourceTree) -> None:
    bus = window(iomem, 0, 64 * K)
    with pytest.raises(KernelError, match="in a resource tree already"):
        iomem.request_resource(iomem, bus)
    with pytest.raises(KernelError, match="in a resource tree already"):
        iomem.insert_resource(iomem, bus)


def test_insertion_goes_inside_what_contains_it_busy_or_not(iomem: ResourceTree) -> None:
    iomem.request_region(0, 16 * K, "System RAM")
    iomem.insert_resource(iomem, Resource(4 * K, 5 * K - 1, "Kernel code"))
    assert shape(iomem) == ["0-ffff System RAM", "  4000-4fff Kernel code"]


def test_insertion_goes_around_what_it_contains(iomem: ResourceTree) -> None:
    for page in (0, 4, 8, 32):
        iomem.request_region(page * K, K, f"page {page}")
    iomem.insert_resource(iomem, Resource(0, 16 * K - 1, "System RAM"))
    assert shape(iomem) == [
        *("0-ffff System RAM", "  0-fff page 0", "  4000-4fff page 4", "  8000-8fff page 8"),
        "20000-20fff page 32",
    ]


def test_on_equal_ranges_the_newcomer_is_the_parent(iomem: ResourceTree) -> None:
    iomem.request_region(0, K, "first")
    iomem.insert_resource(iomem, Resource(0, K - 1, "second"))
    assert shape(iomem) == ["0-fff second", "  0-fff first"]


def test_insertion_over_a_part_of_a_resource_is_refused_and_changes_nothing(iomem: ResourceTree) -> None:
    iomem.request_region(0, K, "inside")
    cut = iomem.request_region(4 * K, 4 * K, "cut")
    before = shape(iomem)
    with pytest.raises(ResourceConflict) as refused:
        iomem.insert_resource(iomem, Resource(0, 5 * K - 1, "new"))
    assert refused.value.conflict is cut
    assert shape(iomem) == before


def test_expanding_insertion_grows_over_what_it_overlaps(iomem: ResourceTree) -> None:
    iomem.request_region(2 * K, 4 * K, "low")
    iomem.request_region(8 * K, 4 * K, "high")
    new = Resource(4 * K, 10 * K - 1, "Reserved")
    iomem.insert_resource_expand_to_fit(iomem, new)
    assert shape(iomem) == ["2000-bfff Reserved", "  2000-5fff low", "  8000-bfff high"]
    iomem.insert_resource_expand_to_fit(iomem, new)  # it is in the tree: nothing happens
    assert len(shape(iomem)) == 3


def test_expanding_insertion_does_not_grow_beyond_the_root() -> None:
    tree = ResourceTree(16 * K - 1)
    with pytest.raises(ResourceConflict):
        tree.insert_resource_expand_to_fit(tree, Resource(0, 32 * K - 1, "Reserved"))


# -- taking out ---------------------------------------------------------------------------------------------------------


def test_releasing_takes_the_subtree_removing_leaves_it(iomem: ResourceTree) -> None:
    bus = window(iomem, 0, 16 * K)
    iomem.request_region(4 * K, K, "a")
    iomem.request_region(8 * K, K, "b")
    iomem.remove_resource(bus)
    assert shape(iomem) == ["4000-4fff a", "8000-8fff b"]
    assert not bus.children
    iomem.insert_resource(iomem, bus)
    iomem.release_resource(bus)
    assert shape(iomem) == []
    assert shape(bus) == ["4000-4fff a", "8000-8fff b"]


def test_what_is_in_no_tree_cannot_be_taken_out(iomem: ResourceTree) -> None:
    stray = Resource(0, K - 1, "stray")
    for take_out in (iomem.release_resource, iomem.remove_resource):
        with pytest.raises(KernelError) as refused:
            take_out(stray)
        assert refused.value.errno is Errno.EINVAL


def test_released_children_start_at_zero_and_are_in_no_tree(iomem: ResourceTree) -> None:
    bus = window(iomem, 0, 64 * K)
    bar = window(iomem, 16 * K, 16 * K, "bar")
    driver = iomem.request_region(20 * K, K, "driver")
    iomem.release_child_resources(bus)
    assert [(node.start, node.end, node.parent) for node in (bar, driver)] == [(0, 16 * K - 1, None), (0, K - 1, None)]
    assert not bus.children
    assert not bar.children


# -- adjust_resource ----------------------------------------------------------------------------------------------------


def test_a_resource_grows_and_shrinks_between_its_neighbours(iomem: ResourceTree) -> None:
    iomem.request_region(0, 4 * K, "below")
    res = iomem.request_region(8 * K, K, "res")
    iomem.request_region(16 * K, K, "above")
    iomem.adjust_resource(res, 4 * K, 12 * K)
    assert (res.start, res.end) == (4 * K, 16 * K - 1)
    iomem.adjust_resource(res, 15 * K, K)
    assert iomem.lookup(15 * K) is res
    iomem.check()


@pytest.mark.parametrize(
    ("start", "size", "obstacle"),
    [(3, 6, "below"), (8, 9, "above"), (9, 1, "inside"), (8, 1 << 50, "PCI mem")],
)
def test_a_resource_reaches_no_neighbour_uncovers_no_child_and_stays_inside(
    start: int, size: int, obstacle: str
) -> None:
    iomem = ResourceTree((1 << 40) - 1)
    iomem.request_region(0, 4 * K, "below")
    res = iomem.request_region(8 * K, 2 * K, "res")
    iomem.insert_resource(iomem, Resource(8 * K, 9 * K - 1, "inside"))
    iomem.request_region(16 * K, K, "above")
    with pytest.raises(ResourceConflict) as refused:
        iomem.adjust_resource(res, start * K, size * K)
    assert refused.value.conflict.name == obstacle
    assert (res.start, res.size) == (8 * K, 2 * K)


def test_an_empty_range_is_no_adjustment(iomem: ResourceTree) -> None:
    res = iomem.request_region(0, K, "res")
    with pytest.raises(KernelError, match="EINVAL"):
        iomem.adjust_resource(res, 0, 0)


def test_without_a_parent_only_children_hold_a_resource(iomem: ResourceTree) -> None:
    res = Resource(0, 16 * K - 1, "loose")
    iomem.request_resource(res, Resource(8 * K, 9 * K - 1, "inside"))
    iomem.adjust_resource(res, 4 * K, 100 * K)
    assert (res.start, res.size) == (4 * K, 100 * K)


# -- allocate_resource --------------------------------------------------------------------------------------------------


def test_the_lowest_gap_that_is_large_enough_wins(iomem: ResourceTree) -> None:
    iomem.request_region(0, 4 * K, "a")
    iomem.request_region(6 * K, 2 * K, "b")
    new = Resource(0, 0, "System RAM")
    iomem.allocate_resource(iomem, new, 4 * K)
    assert (new.start, new.end, new.parent) == (8 * K, 12 * K - 1, iomem)


def test_alignment_and_bounds_count(iomem: ResourceTree) -> None:
    iomem.request_region(0, K, "a")
    new = Resource(0, 0, "System RAM")
    iomem.allocate_resource(iomem, new, 4 * K, min=2 * K, align=16 * K)
    assert new.start == 16 * K
    with pytest.raises(KernelError) as refused:
        iomem.allocate_resource(iomem, Resource(0, 0, "b"), 4 * K, max=8 * K, align=8 * K)
    assert refused.value.errno is Errno.EBUSY


def test_the_caller_may_choose_where_in_the_gap(iomem: ResourceTree) -> None:
    new = Resource(0, 0, "top-down")
    iomem.allocate_resource(iomem, new, K, max=64 * K - 1, alignf=lambda _start, end, size, _align: end - size + 1)
    assert new.end == 64 * K - 1


def test_what_is_placed_already_grows_in_place_or_moves(iomem: ResourceTree) -> None:
    iomem.request_region(0, 4 * K, "a")
    new = iomem.request_region(4 * K, K, "new")
    iomem.request_region(8 * K, K, "b")
    iomem.allocate_resource(iomem, new, 4 * K)
    assert (new.start, new.size) == (4 * K, 4 * K)
    iomem.allocate_resource(iomem, new, 5 * K)
    assert (new.start, new.size) == (9 * K, 5 * K)
    iomem.allocate_resource(iomem, new, K, min=10 * K)
    assert (new.start, new.size) == (10 * K, K)
    iomem.check()


def test_what_has_children_does_not_move(iomem: ResourceTree) -> None:
    new = window(iomem, 0, K)
    iomem.request_region(0, K, "inside")
    iomem.request_region(4 * K, K, "above")
    with pytest.raises(KernelError, match="has children and cannot move"):
        iomem.allocate_resource(iomem, new, 8 * K)


@pytest.mark.parametrize("align", [0, 3, -1, 1.5])
def test_an_alignment_that_is_not_a_power_of_two_is_refused(iomem: ResourceTree, align: Any) -> None:
    refused(iomem.allocate_resource, iomem, Resource(0, 0, "new"), K, align=align)
    assert not iomem.children


@pytest.mark.parametrize("choose", [lambda *_: -1, lambda *_: 1.5, lambda *_: 1 << 64, 5])
def test_an_impossible_place_is_refused(iomem: ResourceTree, choose: Any) -> None:
    refused(iomem.allocate_resource, iomem, Resource(0, 0, "new"), K, alignf=choose)
    assert not iomem.children


def test_what_has_children_comes_in_only_where_they_fit(iomem: ResourceTree) -> None:
    new = Resource(4 * K, 8 * K - 1, "new")
    iomem.insert_resource(new, Resource(5 * K, 6 * K - 1, "inside"))
    with pytest.raises(KernelError, match="has children and cannot move"):
        iomem.allocate_resource(iomem, new, K)
    iomem.request_region(5 * K, K, "below")
    with pytest.raises(KernelError, match="has children and cannot be put around"):
        iomem.insert_resource(iomem, new)
    assert shape(new) == ["5000-5fff inside"]
    new.check()


def test_nothing_is_put_inside_itself(iomem: ResourceTree) -> None:
    inner = window(iomem, 0, 4 * K)
    for place in (iomem, inner):
        for put in (iomem.insert_resource, iomem.request_resource):
            with pytest.raises(KernelError, match="cannot be put inside itself"):
                put(place, iomem)
    with pytest.raises(KernelError, match="cannot be put inside itself"):
        iomem.allocate_resource(inner, iomem, K)
    iomem.check()


@pytest.mark.parametrize(("start", "size"), [(-K, K), (0, -K), (1.5, K), (0, True), (1 << 64, K), (0, 1 << 64)])
def test_a_range_that_cannot_be_is_refused_by_every_call(iomem: ResourceTree, start: Any, size: Any) -> None:
    res = iomem.request_region(K, K, "res")
    for call in (iomem.release_region, iomem.release_mem_region_adjustable):
        refused(call, start, size)
    refused(iomem.request_region, start, size, "new")
    refused(iomem.adjust_resource, res, start, size)
    assert shape(iomem) == ["1000-1fff res"]


def test_releasing_nothing_of_a_resource_leaves_it_whole(iomem: ResourceTree) -> None:
    iomem.request_region(0, 4 * K, "System RAM", IORESOURCE_SYSTEM_RAM)
    iomem.release_mem_region_adjustable(2 * K, 0)
    assert shape(iomem) == ["0-3fff System RAM"]
    iomem.check()


def test_a_name_that_would_forge_a_line_is_refused(iomem: ResourceTree) -> None:
    refused(iomem.request_region, 0, K, "a\n00000000-0000ffff : System RAM")
    refused(Resource, 0, K, "blank at its end ")


# -- flags --------------------------------------------------------------------------------------------------------------


def test_flags_are_spelled_out() -> None:
    assert flag_names(IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY) == ["MEM", "SYSRAM", "BUSY"]
    assert flag_names(IORESOURCE_MEM | 0x2003) == ["MEM", "0x2003"]
