"""Find the change of each resource from one snapshot to the next: appeared, went, merged, grew, trimmed, split.

Resources are known by name and depth; what overlaps is taken to be the same memory. A bundle of old and new resources
that overlap one another, directly or through others, is one change.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from virtiomem.recording.palette import ChangeKind
from virtiomem.report.rows import Row, singles


class MapChange(NamedTuple):
    """One change, with the resources as they were and as they are; adjacent ones of one size are counted."""

    change: ChangeKind
    before: tuple[Row, ...]
    after: tuple[Row, ...]

    @property
    def start(self) -> int:
        """The lowest address it is about."""
        return min(row.start for row in self.before + self.after)

    @property
    def stop(self) -> int:
        """The address behind the highest one."""
        return max(row.stop for row in self.before + self.after)


def map_changes(old: Sequence[Row], new: Sequence[Row]) -> list[MapChange]:
    """The changes from one listing to the next, in address order."""
    # Most lines are the same in both: what is left is short enough to be looked at one by one.
    alike = set(old) & set(new)
    olds, news = (_grouped(row for row in listing if row not in alike) for listing in (old, new))
    found = []
    # What changed its name or its depth is no longer the same resource to a reader of the listing.
    for key in olds.keys() | news.keys():
        for before, after in _bundles(olds[key], news[key]):
            found += [_named(*bundle) for bundle in _without_unchanged(before, after)]
    found.sort(key=lambda change: (change.start, (change.before + change.after)[0].depth))
    return list(_gathered(found))


Group = defaultdict[tuple[str, int], list[Row]]
Bundle = tuple[list[Row], list[Row]]


def _grouped(found: Iterable[Row]) -> Group:
    """Rows by name and depth."""
    group: Group = defaultdict(list)
    for row in found:
        group[row.name, row.depth].append(row)
    return group


def _bundles(olds: Iterable[Row], news: Iterable[Row]) -> Iterator[Bundle]:
    """Sweep both in address order; a bundle ends where no resource of either reaches on."""
    marked = sorted([(row.start, 0, row) for row in olds] + [(row.start, 1, row) for row in news])
    bundle: Bundle = ([], [])
    stop = 0
    for start, side, row in marked:
        # The first row ends no bundle: none has begun.
        if start >= stop and marked[0][2] is not row:
            yield bundle
            bundle = ([], [])
        bundle[side].append(row)
        stop = max(stop, row.stop)
    if marked:
        yield bundle


def _without_unchanged(before: list[Row], after: list[Row]) -> Iterator[Bundle]:
    """A bundle of rows that count several resources, taken apart where some of these are the same on both sides."""
    # Counted rows are spelt out only where both sides have some, for there may be 100 000 of them.
    if not before or not after or all(row.times == 1 for row in (*before, *after)):
        yield before, after
        return
    olds, news = dict.fromkeys(singles(before)), dict.fromkeys(singles(after))
    yield from _bundles((row for row in olds if row not in news), (row for row in news if row not in olds))


def _named(before: list[Row], after: list[Row]) -> MapChange:
    """Give a bundle its word."""
    if not before:
        word = ChangeKind.APPEARED
    elif not after:
        word = ChangeKind.WENT
    elif len(before) != len(after):
        word = ChangeKind.MERGED if len(before) > len(after) else ChangeKind.SPLIT
    else:
        word = ChangeKind.GREW if _total(after) > _total(before) else ChangeKind.TRIMMED
    return MapChange(word, tuple(_counted(before)), tuple(_counted(after)))


def _total(found: Iterable[Row]) -> int:
    return sum(row.size * row.times for row in found)


def _counted(found: Sequence[Row]) -> list[Row]:
    """Adjacent resources of one size as one row."""
    if len(found) == 1:
        return list(found)
    counted: list[Row] = []
    for row in found:
        last = counted[-1] if counted else None
        if last and (last.stop, last.size, last.depth, last.name) == (row.start, row.size, row.depth, row.name):
            counted[-1] = last._replace(times=last.times + row.times)
        else:
            counted.append(row)
    return counted


def _gathered(found: Iterable[MapChange]) -> Iterator[MapChange]:
    """Combine resources that appeared side by side, or went side by side."""
    last: MapChange | None = None
    for change in found:
        if last is not None and _beside(last, change):
            before, after = _counted(last.before + change.before), _counted(last.after + change.after)
            last = MapChange(change.change, tuple(before), tuple(after))
            continue
        if last is not None:
            yield last
        last = change
    if last is not None:
        yield last


def _beside(last: MapChange, change: MapChange) -> bool:
    """True when both appeared, or both went, and the one goes on where the other ends, in resources of one size."""
    if change.change is not last.change or change.change not in {ChangeKind.APPEARED, ChangeKind.WENT}:
        return False
    low, high = (last.before + last.after)[-1], (change.before + change.after)[0]
    return (low.stop, low.size, low.depth, low.name) == (high.start, high.size, high.depth, high.name)
