from collections.abc import Callable, Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from virtiomem.recording import Recording
from virtiomem.recording.palette import ChangeKind
from virtiomem.report.changes import MapChange, map_changes
from virtiomem.report.rows import Row, rows, singles
from virtiomem.resource import iomem

Recorded = Callable[[str], Recording]


def ram(*spans: tuple[int, int]) -> list[Row]:
    return [Row(1, start, size, 1, "System RAM (virtio_mem)") for start, size in spans]


def words(found: Iterable[MapChange]) -> list[ChangeKind]:
    return [change.change for change in found]


def test_each_fate_has_its_word() -> None:
    assert words(map_changes([], ram((0, 4)))) == [ChangeKind.APPEARED]
    assert words(map_changes(ram((0, 4)), [])) == [ChangeKind.WENT]
    assert words(map_changes(ram((0, 4)), ram((0, 8)))) == [ChangeKind.GREW]
    assert words(map_changes(ram((0, 8)), ram((0, 4)))) == [ChangeKind.TRIMMED]
    assert words(map_changes(ram((0, 8)), ram((0, 3), (5, 3)))) == [ChangeKind.SPLIT]
    assert words(map_changes(ram((0, 4), (8, 4)), ram((0, 12)))) == [ChangeKind.MERGED]
    assert map_changes(ram((0, 4)), ram((0, 4))) == []


def test_appeared_side_by_side_is_reported_once() -> None:
    (change,) = map_changes([], ram((0, 4), (4, 4), (8, 4)))
    assert change.after == (Row(1, 0, 4, 3, "System RAM (virtio_mem)"),)


def test_appeared_far_apart_is_reported_twice() -> None:
    assert words(map_changes([], ram((0, 4), (100, 4)))) == [ChangeKind.APPEARED, ChangeKind.APPEARED]


def changes_of(told: Recording) -> list[list[MapChange]]:
    listings = [rows(iomem.loads(text)) for text in (told.boot.iomem, *(r.snapshot.iomem for r in told.steps))]
    return [map_changes(old, new) for old, new in pairwise(listings)]


def test_merging_kernel_grows_one_resource_where_the_other_adds_many(recorded: Recorded) -> None:
    merging, plain = (changes_of(recorded(name)) for name in ("b-uneven-movable", "nomerge-b-uneven-movable"))
    assert words(merging[2]) == [ChangeKind.GREW]
    assert [(c.change, sum(row.times for row in c.after)) for c in plain[2]] == [(ChangeKind.APPEARED, 14)]


def test_unplug_in_the_middle_splits(recorded: Recorded) -> None:
    assert ChangeKind.SPLIT in {word for step in changes_of(recorded("e-manual-movable")) for word in words(step)}


listings = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=8).map(
    lambda gaps: [Row(0, sum(g + s for g, s in gaps[:i]) + gap, size, 1, "x") for i, (gap, size) in enumerate(gaps)]
)


@given(listings, listings)
def test_every_resource_that_differs_is_in_one_change_and_no_other_is(old: list[Row], new: list[Row]) -> None:
    found = map_changes(old, new)
    told_old = sorted(row for change in found for row in singles(change.before))
    told_new = sorted(row for change in found for row in singles(change.after))
    assert told_old == sorted(set(old) - set(new))
    assert told_new == sorted(set(new) - set(old))
