"""What changed between two maps, told by meaning."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import ArgumentTypeError
from virtiomem.listing.diff import Range, ResourceChange, ResourceChangeKind, diff, sentence, values
from virtiomem.resource import iomem
from virtiomem.resource.tree import ResourceTree

BOOT = "100000000-13fffffff : System RAM\n"
DEVICE = "140000000-33fffffff : virtio0\n"
NAME = "System RAM (virtio_mem)"


def changes(before: str, after: str) -> list[ResourceChange]:
    return diff(iomem.loads(before), iomem.loads(after))


def told(before: str, after: str) -> list[str]:
    return [sentence(change) for change in changes(before, after)]


def block(first: int, last: int, name: str = NAME) -> str:
    return f"  {0x140000000 + (first << 27):08x}-{0x140000000 + (last + 1 << 27) - 1:08x} : {name}\n"


def test_equal_maps_have_no_difference() -> None:
    text = BOOT + DEVICE + block(0, 3)
    assert changes(text, text) == []


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ([], [(0, 7)], "added      140000000-17fffffff (1G) : System RAM (virtio_mem) in virtio0"),
        ([(0, 7)], [], "removed    140000000-17fffffff (1G) : System RAM (virtio_mem) in virtio0"),
        ([(0, 7)], [(0, 9)], "grew       140000000-17fffffff -> 140000000-18fffffff (+256M) : System RAM (virtio_mem)"),
        ([(0, 7)], [(0, 3)], "shrank     140000000-17fffffff -> 140000000-15fffffff (-512M) : System RAM (virtio_mem)"),
        ([(1, 3)], [(2, 4)], "moved      148000000-15fffffff -> 150000000-167ffffff : System RAM (virtio_mem)"),
        (
            [(0, 7)],
            [(0, 2), (4, 7)],
            "split      140000000-17fffffff -> 140000000-157ffffff, 160000000-17fffffff (-128M) : System RAM (virtio_mem)",
        ),
        (
            [(0, 2), (4, 7)],
            [(0, 7)],
            "merged     140000000-157ffffff, 160000000-17fffffff -> 140000000-17fffffff (+128M) : System RAM (virtio_mem)",
        ),
        (
            [(0, 2), (4, 7)],
            [(0, 4), (6, 7)],
            "rearranged 140000000-157ffffff, 160000000-17fffffff -> 140000000-167ffffff, 170000000-17fffffff : System RAM",
        ),
    ],
)
def test_a_change_of_the_plugged_memory_is_one_sentence(
    before: list[tuple[int, int]], after: list[tuple[int, int]], sentence: str
) -> None:
    lines = ["".join(block(*blocks) for blocks in side) for side in (before, after)]
    (line,) = told(BOOT + DEVICE + lines[0], BOOT + DEVICE + lines[1])
    assert line.startswith(sentence)


def test_equal_blocks_that_come_together_are_counted() -> None:
    before, after = BOOT + DEVICE, BOOT + DEVICE + "".join(block(i, i) for i in range(16))
    assert told(before, after) == ["added      140000000-1bfffffff (16 x 128M) : System RAM (virtio_mem) in virtio0"]


def test_many_blocks_that_became_one_are_merged() -> None:
    before, after = DEVICE + "".join(block(i, i) for i in range(16)), DEVICE + block(0, 15)
    (change,) = changes(before, after)
    assert (change.kind, len(change.before), change.after, change.grown) == (
        ResourceChangeKind.MERGED,
        16,
        (Range(0x140000000, 0x1BFFFFFFF),),
        0,
    )
    assert "… 14 more …" in sentence(change)


def test_a_device_that_goes_takes_what_is_inside_along() -> None:
    assert told(BOOT + DEVICE + block(0, 3) + block(8, 9), BOOT) == [
        "removed    140000000-33fffffff (8G) : virtio0, with 2 inside",
    ]


@pytest.mark.long
def test_deep_nest_that_goes_is_one_change_in_little_time() -> None:
    deep = "".join(f"{'  ' * min(at, 5)}{at:08x}-{0xFFFFFFFF - at:08x} : a\n" for at in range(30_000))
    before = iomem.loads(deep)
    began = time.process_time()
    assert [change.inside for change in diff(before, iomem.loads(BOOT))] == [29_999, 0]
    assert time.process_time() - began < 5, "walking up from each took 25 s"


def test_a_device_that_moves_takes_what_is_inside_along() -> None:
    before = "80000000-800fffff : 0000:00:01.0\n  80000000-80000fff : virtio-pci-modern\n"
    after = "90000000-900fffff : 0000:00:01.0\n  90000000-90000fff : virtio-pci-modern\n"
    assert told(before, after) == ["moved      80000000-800fffff -> 90000000-900fffff : 0000:00:01.0"]


def test_ram_that_goes_here_and_comes_there_has_not_moved() -> None:
    assert [change.kind for change in changes(DEVICE + block(0, 0), DEVICE + block(5, 5))] == [
        ResourceChangeKind.REMOVED,
        ResourceChangeKind.ADDED,
    ]


def test_another_name_for_the_same_range_is_renamed() -> None:
    assert told("000f0000-000fffff : reserved\n", "000f0000-000fffff : Reserved\n") == [
        "renamed    000f0000-000fffff : reserved -> Reserved",
    ]


def test_a_parent_that_vanishes_is_reported_without_its_children() -> None:
    before = "00000000-0fffffff : bus\n  01000000-01ffffff : a\n  02000000-02ffffff : b\n"
    after = "01000000-01ffffff : a\n02000000-02ffffff : b\n"
    assert told(before, after) == ["removed    00000000-0fffffff (256M) : bus"]


def test_a_resource_under_another_parent_is_reparented() -> None:
    bus, inner, driver = "00000000-0fffffff : bus\n", "00000000-0fffffff : bridge\n", "01000000-01ffffff : driver\n"
    assert told(f"{bus}  {inner}    {driver}", f"{bus}  {driver}") == [
        "removed    00000000-0fffffff (256M) : bridge in bus"
    ]
    (change,) = changes(
        f"00000000-0fffffff : a\n  {driver}10000000-1fffffff : b\n",
        "00000000-00ffffff : a\n" + driver + "10000000-1fffffff : b\n",
    )[1:]
    assert (change.kind, change.old_parent, change.parent) == (ResourceChangeKind.REPARENTED, "a", "")


def test_a_change_is_json() -> None:
    (change,) = changes(DEVICE + block(0, 7), DEVICE + block(0, 9))
    assert values(change) == {
        "kind": "grew",
        "name": NAME,
        "before": [[0x140000000, 0x17FFFFFFF]],
        "after": [[0x140000000, 0x18FFFFFFF]],
        "grown": 256 << 20,
        "parent": "virtio0",
        "times": 1,
        "inside": 0,
    }


_MAPS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 16), st.sampled_from(["System RAM", "a", "b"])), max_size=12
)


def _tree(parts: list[tuple[int, int, str]]) -> ResourceTree:
    tree = ResourceTree()
    for start, size, name in parts:
        place = tree.lookup(start) or tree
        if place.contains(start, start + size - 1) and not place.intersects(start, size):
            place_flags = place.flags
            place.set_busy(False)
            tree.request_region(start, size, name)
            place.flags = place_flags
    return tree


@given(_MAPS, _MAPS)
def test_there_is_a_difference_exactly_when_the_listings_differ(
    before: list[tuple[int, int, str]], after: list[tuple[int, int, str]]
) -> None:
    old, new = _tree(before), _tree(after)
    found = diff(old, new)
    assert bool(found) == (iomem.dumps(old) != iomem.dumps(new))
    assert bool(diff(new, old)) == bool(found)
    for change in found:
        assert "\n" not in sentence(change)


def test_names_of_files_are_no_maps() -> None:
    with pytest.raises(ArgumentTypeError, match=r"before must be Resource, not 'a\.iomem'"):
        diff("a.iomem", "b.iomem")  # type: ignore[arg-type]
