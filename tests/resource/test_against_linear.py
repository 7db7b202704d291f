"""Random operations on the tree and on the plain lists give the same tree, and the tree stays sound."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests import refused
from tests.resource import linear
from virtiomem.errors import ArgumentError, KernelError
from virtiomem.resource import children
from virtiomem.resource.flags import (
    IORESOURCE_BUSY,
    IORESOURCE_EXCLUSIVE,
    IORESOURCE_MEM,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSTEM_RAM,
    Desc,
)
from virtiomem.resource.tree import Resource, ResourceConflict, ResourceTree

LAST = 63
ADDRESSES = st.integers(-1, LAST + 1)
SIZES = st.integers(0, 20)
NAMES = st.sampled_from(["System RAM", "System RAM (virtio_mem)", "virtio0"])
FLAGS = st.sampled_from(
    [0, IORESOURCE_SYSTEM_RAM, IORESOURCE_SYSTEM_RAM, IORESOURCE_SYSRAM_DRIVER_MANAGED | IORESOURCE_SYSTEM_RAM]
)
INSERT_FLAGS = st.sampled_from(
    [IORESOURCE_MEM, 0x100, IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE, IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY]
)
DESCS = st.sampled_from([Desc.NONE, Desc.NONE, Desc.RESERVED])


class TreeAgainstLists(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(children, "LIMIT", 4)  # so that a few siblings split and join chunks
        self.patch.setattr(children, "SMALL", 2)
        self.tree = ResourceTree(LAST)
        self.model = linear.Node(0, LAST, "PCI mem")

    def teardown(self) -> None:
        self.patch.undo()

    def pick(self, data: Any) -> tuple[Resource, linear.Node]:
        nodes = [node for _, node in self.tree.walk()]
        at = data.draw(st.integers(0, len(nodes) - 1))
        return nodes[at], self.model.all()[at]

    @initialize(starts=st.sets(st.integers(0, LAST // 2), max_size=24))
    def many_small_siblings(self, starts: set[int]) -> None:
        for start in starts:
            self.tree.request_region(2 * start, 1, "byte")
            linear.request(self.model, 2 * start, 1, "byte", 0)

    @rule(start=ADDRESSES, size=SIZES, name=NAMES, flags=FLAGS)
    def request_region(self, start: int, size: int, name: str, flags: int) -> None:
        expected = linear.request(self.model, start, size, name, flags)
        try:
            new = self.tree.request_region(start, size, name, flags)
        except ArgumentError:
            assert start < 0
        except ResourceConflict:
            assert expected is None
        else:
            assert expected is not None
            assert (new.start, new.end, new.flags) == (expected.start, expected.end, expected.flags)

    @rule(start=ADDRESSES, size=SIZES, name=NAMES, flags=INSERT_FLAGS, desc=DESCS)
    def insert_resource(self, start: int, size: int, name: str, flags: int, desc: Desc) -> None:
        done = linear.insert(self.model, linear.Node(start, start + size - 1, name, flags, desc))
        try:
            self.tree.insert_resource(self.tree, Resource(start, start + size - 1, name, flags, desc))
        except ArgumentError:
            assert start < 0 or not size
        except ResourceConflict:
            assert not done
        else:
            assert done

    @rule(start=st.integers(0, LAST + 1), size=SIZES)
    def release_region(self, start: int, size: int) -> None:
        assert self.tree.release_region(start, size) == linear.release_region(self.model, start, size)

    @rule(start=st.integers(0, LAST + 1), size=st.integers(1, 20))
    def release_mem_region_adjustable(self, start: int, size: int) -> None:
        self.tree.release_mem_region_adjustable(start, size)
        linear.release_adjustable(self.model, start, size)

    @precondition(lambda self: self.tree.children)
    @rule(data=st.data())
    def merge_system_ram_resource(self, data: Any) -> None:
        node, model = self.pick(data)
        survivor, expected = self.tree.merge_system_ram_resource(node), linear.merge(model)
        assert (survivor.start, survivor.end, survivor.flags) == (expected.start, expected.end, expected.flags)
        assert survivor is node or node.parent is None

    @precondition(lambda self: self.tree.children)
    @rule(data=st.data(), whole=st.booleans())
    def take_out(self, data: Any, *, whole: bool) -> None:
        node, model = self.pick(data)
        if whole:
            self.tree.release_resource(node)
            linear.unlink(model)
        else:
            self.tree.remove_resource(node)
            linear.remove(model)
        assert node.parent is None

    @precondition(lambda self: self.tree.children)
    @rule(data=st.data(), start=ADDRESSES, size=st.integers(1, 20))
    def adjust_resource(self, data: Any, start: int, size: int) -> None:
        node, model = self.pick(data)
        expected = linear.adjust(model, start, start + size - 1)
        try:
            self.tree.adjust_resource(node, start, size)
        except ArgumentError:
            assert start < 0
        except KernelError:
            assert not expected
        else:
            assert expected

    @precondition(lambda self: self.tree.children)
    @rule(data=st.data(), busy=st.booleans())
    def set_busy(self, data: Any, *, busy: bool) -> None:
        node, model = self.pick(data)
        node.set_busy(busy)
        model.flags = model.flags | linear.BUSY if busy else model.flags & ~linear.BUSY

    @rule(bad=refused.numbers, good=st.integers(0, LAST), data=st.data())
    def refuse_what_is_no_range(self, bad: Any, good: int, data: Any) -> None:
        for start, size in ((bad, good), (good, bad)):
            refused.refused(self.tree.request_region, start, size, "virtio0")
            refused.refused(self.tree.release_region, start, size)
            refused.refused(self.tree.release_mem_region_adjustable, start, size)
            refused.refused(Resource, start, size, "virtio0")
            if self.tree.children:
                refused.refused(self.tree.adjust_resource, self.pick(data)[0], start, size)

    @rule(name=refused.names, flags=st.sampled_from([1.5, -1, 1 << 64, None, True]), start=st.integers(0, LAST))
    def refuse_what_is_no_label(self, name: Any, flags: Any, start: int) -> None:
        refused.refused(self.tree.request_region, start, 1, name)
        refused.refused(self.tree.request_region, start, 1, "virtio0", flags)
        refused.refused(Resource, start, start, name)

    @rule(bad=st.sampled_from([None, 1, "virtio0", object()]))
    def refuse_what_is_no_resource(self, bad: Any) -> None:
        refused.refused(self.tree.insert_resource, bad, Resource(0, 0, "good"))
        refused.refused(self.tree.insert_resource, self.tree, bad)
        refused.refused(self.tree.request_resource, self.tree, bad)
        refused.refused(self.tree.release_resource, bad)
        refused.refused(self.tree.remove_resource, bad)
        refused.refused(self.tree.merge_system_ram_resource, bad)

    @invariant()
    def the_trees_are_the_same(self) -> None:
        shown = [f"{depth} {r.start}-{r.end} {r.name} {r.flags:x} {r.desc}" for depth, r in self.tree.walk()]
        assert shown == self.model.text()

    @invariant()
    def the_tree_is_sound(self) -> None:
        self.tree.check()

    @invariant()
    def every_address_is_found_where_it_is(self) -> None:
        for address in range(-1, LAST + 2):
            holders = [child for child in self.tree.children if child.start <= address <= child.end]
            assert self.tree.lookup(address) is (holders[0] if holders else None)
            assert self.tree.intersects(address, 3) == any(
                child.start <= address + 2 and child.end >= address for child in self.tree.children
            )


TreeAgainstLists.TestCase.settings = settings(stateful_step_count=30)
test_random_operations_give_what_plain_lists_give = TreeAgainstLists.TestCase
