"""The container of siblings at its real size."""

import random

import pytest

from virtiomem.resource.children import LIMIT
from virtiomem.resource.tree import Resource, ResourceTree

PAGE = 0x1000


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_many_siblings_stay_in_order_while_they_come_and_go(order: str) -> None:
    pages = list(range(8 * LIMIT))
    if order == "descending":
        pages.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(pages)
    tree = ResourceTree()
    nodes = {page: tree.request_region(page * PAGE, PAGE, "page") for page in pages}
    tree.check()
    assert [node.start for node in tree.children] == [page * PAGE for page in range(8 * LIMIT)]
    gone = pages[::2] + pages[1 : 4 * LIMIT : 2]
    for page in gone:
        tree.release_resource(nodes[page])
    tree.check()
    left = sorted(set(pages) - set(gone))
    assert [node.start // PAGE for node in tree.children] == left
    for page in left:
        tree.release_resource(nodes[page])
    assert not tree.children
    assert tree._children is None


def test_children_read_like_a_sequence() -> None:
    tree = ResourceTree()
    nodes = [tree.request_region(page * PAGE, PAGE, "page") for page in range(3 * LIMIT)]
    children = tree.children
    assert len(children) == 3 * LIMIT
    assert (children[0], children[-1], children[LIMIT]) == (nodes[0], nodes[-1], nodes[LIMIT])
    assert children[1:4] == nodes[1:4]
    assert list(reversed(children)) == nodes[::-1]
    assert children.index(nodes[2 * LIMIT]) == 2 * LIMIT
    assert nodes[LIMIT] in children
    assert Resource(LIMIT * PAGE, LIMIT * PAGE, "page") not in children
    assert None not in children
    with pytest.raises(IndexError):
        children[3 * LIMIT]
    with pytest.raises(IndexError):
        children[-3 * LIMIT - 1]


def test_a_resource_without_children_has_none() -> None:
    leaf = Resource(0, PAGE - 1, "leaf")
    assert (len(leaf.children), list(leaf.children), leaf.lookup(0), leaf.intersects(0, 1)) == (0, [], None, False)
    assert not leaf.children


@pytest.mark.parametrize(
    ("start", "end", "invariant"),
    [
        (0x1000, 0x2FFF, "siblings are sorted and do not overlap"),
        (0x9000, 0x9FFF, "a child lies inside its parent"),
        (0x1000, 0x0FFF, "a range is not empty"),
    ],
)
def test_check_names_the_invariant_that_is_broken(start: int, end: int, invariant: str) -> None:
    tree = ResourceTree(0x8FFF)
    first = tree.request_region(0x1000, PAGE, "first")
    tree.request_region(0x2000, PAGE, "second")
    first.end = end
    if start != first.start:
        assert tree._children is not None
        tree._children.restart(first, start)
    with pytest.raises(AssertionError, match=invariant):
        tree.check()


def test_check_sees_a_start_that_was_set_behind_the_trees_back() -> None:
    tree = ResourceTree()
    tree.request_region(0x1000, PAGE, "page").start = 0x1800
    with pytest.raises(AssertionError, match="starts next to a chunk"):
        tree.check()
