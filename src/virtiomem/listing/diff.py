"""Compare two maps by meaning: a block was added, RAM grew, a range was split, a device moved.

Resources are paired in the order of certainty: same range and name; same range under another name; same name and some
address in common (one with one: grew, shrank or moved a little; one with many: split; many with one: merged); same name
and size elsewhere: moved. What is left was added or removed. What went along with its parent is not reported again.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from virtiomem import border
from virtiomem.resource.names import is_system_ram
from virtiomem.resource.node import Resource
from virtiomem.text import printable, sound
from virtiomem.units import size_format


class ResourceChangeKind(Enum):
    """Kinds of change."""

    ADDED = "added"
    REMOVED = "removed"
    GREW = "grew"
    SHRANK = "shrank"
    SPLIT = "split"
    MERGED = "merged"
    REARRANGED = "rearranged"
    RENAMED = "renamed"
    MOVED = "moved"
    REPARENTED = "reparented"


class Range(NamedTuple):
    """Both ends inclusive."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.start:08x}-{self.end:08x}"


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One thing that happened to the resources called `name`.

    `before` and `after` are the ranges it concerns, in address order; of many added or removed ones that touch and are of
    one size, `times` says how many there are, and the range is all of them. `inside` counts what came or went inside.
    """

    kind: ResourceChangeKind
    name: str
    before: tuple[Range, ...]
    after: tuple[Range, ...]
    parent: str
    """The name of the resource around it, afterwards if it is still there; empty at the top level."""
    old_name: str = ""
    old_parent: str = ""
    times: int = 1
    inside: int = 0

    @property
    def grown(self) -> int:
        """Bytes more than before."""
        return _size(self.after) - _size(self.before)

    @property
    def start(self) -> int:
        """The lowest address it concerns."""
        return min(one.start for one in (*self.before, *self.after))


def _size(ranges: Iterable[Range]) -> int:
    return sum(one.end - one.start + 1 for one in ranges)


def diff(before: Resource, after: Resource) -> list[ResourceChange]:
    """Return the changes in address order; empty when the maps say the same. Raises ArgumentError for anything but trees."""
    border.instance("before", before, Resource)
    border.instance("after", after, Resource)
    pairing = _Pairing(before, after)
    pairing.pair(lambda node: (node.start, node.end, node.name))
    pairing.pair(lambda node: (node.start, node.end))
    # To its end before the next pairing: what grew or was split here must not be taken for something that moved.
    changes = list(pairing.overlapping())
    pairing.pair(lambda node: (node.name, node.size), only_one=True)
    changes += pairing.changed_pairs()
    changes += _gone_or_new(ResourceChangeKind.REMOVED, pairing.old)
    changes += _gone_or_new(ResourceChangeKind.ADDED, pairing.new)
    # At one address, what was removed stands before what came in its place.
    return sorted(changes, key=lambda change: (change.start, change.kind is not ResourceChangeKind.REMOVED))


class _Pairing:
    """Pairs of old and new resources; `old` and `new` are those not paired yet, in listing order."""

    def __init__(self, before: Resource, after: Resource) -> None:
        # Dictionaries as ordered sets: they keep the order of the listing, and a pair is taken out without a search.
        self.old = dict.fromkeys(node for _, node in before.walk())
        self.new = dict.fromkeys(node for _, node in after.walk())
        self.pairs: list[tuple[Resource, Resource]] = []
        self.same: dict[Resource, int] = {before: -1, after: -1}
        """A number for each paired resource, the same before and after: what a parent is compared by."""

    def pair(self, key: Callable[[Resource], object], *, only_one: bool = False) -> None:
        """Pair those with the same key in listing order; `only_one`: where there is one on each side, and it is not RAM.

        RAM blocks look all alike: one that goes here and one that comes there are not one that moved.
        """
        old: dict[object, deque[Resource]] = defaultdict(deque)
        new: dict[object, deque[Resource]] = defaultdict(deque)
        for nodes, by_key in ((self.old, old), (self.new, new)):
            for node in nodes:
                by_key[key(node)].append(node)
        for of, olds in old.items():
            news = new.get(of, deque())
            if only_one and (len(olds) != 1 or len(news) != 1 or is_system_ram(olds[0].name)):
                continue
            # As many pairs as both sides have; what one side has more stays for the next pairing.
            for was, now in zip(olds, news, strict=False):
                self.pairs.append((was, now))
                self._settle([was], [now])

    def overlapping(self) -> Iterator[ResourceChange]:
        """Pair what has its name and some address in common, in groups as small as can be."""
        by_name: dict[str, list[tuple[int, Resource]]] = defaultdict(list)
        for side, nodes in enumerate((self.old, self.new)):
            for node in nodes:
                by_name[node.name].append((side, node))
        for nodes_of_name in by_name.values():
            for group in _overlapping_groups(nodes_of_name):
                olds, news = ([node for side, node in group if side == wanted] for wanted in (0, 1))
                if olds and news:
                    self._settle(olds, news)
                    yield _regrouped(olds, news)

    def changed_pairs(self) -> Iterator[ResourceChange]:
        """The pairs of which there is something to tell."""
        moved_by = {now: now.start - was.start for was, now in self.pairs}
        for was, now in self.pairs:
            before, after = (_range(was),), (_range(now),)
            parent = _parent_name(now)
            if was.name != now.name:
                yield ResourceChange(ResourceChangeKind.RENAMED, now.name, before, after, parent, old_name=was.name)
            # What moved just as its parent did is not reported again.
            if moved_by[now] and moved_by.get(now.parent) != moved_by[now]:  # type: ignore[arg-type]  # None is not a key
                yield ResourceChange(ResourceChangeKind.MOVED, now.name, before, after, parent)
            elif not self._same_parent(was, now):
                yield ResourceChange(
                    ResourceChangeKind.REPARENTED, now.name, before, after, parent, old_parent=_parent_name(was)
                )

    def _same_parent(self, was: Resource, now: Resource) -> bool:
        """True unless both parents are still there, as different ones: a parent that went or came is reported itself."""
        numbers = [None if node.parent is None else self.same.get(node.parent) for node in (was, now)]
        return None in numbers or numbers[0] == numbers[1]

    def _settle(self, olds: list[Resource], news: list[Resource]) -> None:
        number = len(self.same)
        for nodes, unpaired in ((olds, self.old), (news, self.new)):
            for node in nodes:
                del unpaired[node]
                self.same[node] = number


def _overlapping_groups(nodes: list[tuple[int, Resource]]) -> Iterator[list[tuple[int, Resource]]]:
    """Neighbours in address order that share an address with one before them."""
    group: list[tuple[int, Resource]] = []
    end = -1
    for side, node in sorted(nodes, key=lambda item: item[1].start):
        if group and node.start > end:
            yield group
            group = []
        group.append((side, node))
        end = max(end, node.end)
    if group:
        yield group


def _regrouped(olds: list[Resource], news: list[Resource]) -> ResourceChange:
    """Return the change that replaces resources of one name with others."""
    before, after = tuple(map(_range, olds)), tuple(map(_range, news))
    match len(olds) == 1, len(news) == 1:
        case True, True:
            grown = _size(after) - _size(before)
            kind = (
                ResourceChangeKind.GREW
                if grown > 0
                else ResourceChangeKind.SHRANK
                if grown < 0
                else ResourceChangeKind.MOVED
            )
        case True, False:
            kind = ResourceChangeKind.SPLIT
        case False, True:
            kind = ResourceChangeKind.MERGED
        case _:
            kind = ResourceChangeKind.REARRANGED
    return ResourceChange(kind, news[0].name, before, after, _parent_name(news[0]))


def _gone_or_new(kind: ResourceChangeKind, nodes: dict[Resource, None]) -> Iterator[ResourceChange]:
    """Yield the resources on one side only: with what is inside them, and with equal neighbours, as one."""
    outermost: dict[Resource | None, Resource] = {}
    for node in nodes:  # in listing order: what holds it came before
        outermost[node] = outermost.get(node.parent, node)
    inside = Counter(outermost.values())
    for run in _runs([node for node in nodes if node.parent not in nodes], inside):
        whole = (Range(run[0].start, run[-1].end),)
        before, after = (whole, ()) if kind is ResourceChangeKind.REMOVED else ((), whole)
        within = sum(inside[node] - 1 for node in run)
        yield ResourceChange(kind, run[0].name, before, after, _parent_name(run[0]), times=len(run), inside=within)


def _runs(nodes: list[Resource], inside: Counter[Resource]) -> Iterator[list[Resource]]:
    """Touching siblings of one name and size with nothing inside."""
    run: list[Resource] = []
    for node in nodes:
        if run and not _continues(run[-1], node, inside):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _continues(below: Resource, node: Resource, inside: Counter[Resource]) -> bool:
    alike = (below.name, below.size, below.end + 1) == (node.name, node.size, node.start)
    return alike and below.parent is node.parent and inside[below] == inside[node] == 1


def _range(node: Resource) -> Range:
    return Range(node.start, node.end)


def _parent_name(node: Resource) -> str:
    return "" if node.parent is None or node.parent.parent is None else node.parent.name


# -- in words -----------------------------------------------------------------------------------------------------------


def sentence(change: ResourceChange, *, in_bytes: bool = False) -> str:
    """One change as one line: what, which, where, how much."""
    size = size_format(in_bytes=in_bytes)
    where = f" in {change.parent}" if change.parent else ""
    if change.kind is ResourceChangeKind.REPARENTED:
        where = f" from {change.old_parent or 'the top level'} to {change.parent or 'the top level'}"
    before, after = (_short(ranges) for ranges in (change.before, change.after))
    ranges = before if before == after or not after else after if not before else f"{before} -> {after}"
    if change.before and change.after:
        much = f"{'+' if change.grown > 0 else '-'}{size(abs(change.grown))}" if change.grown else ""
    else:
        total = abs(change.grown)
        much = size(total) if change.times == 1 else f"{change.times} x {size(total // change.times)}"
    much = f" ({much})" if much else ""
    more = f", with {change.inside} inside" if change.inside else ""
    name = f"{change.old_name} -> {change.name}" if change.kind is ResourceChangeKind.RENAMED else change.name
    return printable(f"{change.kind.value:10} {ranges}{much} : {name}{where}{more}")


_SHOWN = 3


def _short(ranges: tuple[Range, ...]) -> str:
    """Ranges, the middle of many left out."""
    if len(ranges) <= _SHOWN:
        return ", ".join(map(str, ranges))
    return f"{ranges[0]}, … {len(ranges) - 2} more …, {ranges[-1]}"


def values(change: ResourceChange) -> dict[str, Any]:
    """One change for JSON; ranges are pairs of inclusive addresses."""
    return {
        "kind": change.kind.value,
        "name": sound(change.name),
        "before": [list(one) for one in change.before],
        "after": [list(one) for one in change.after],
        "grown": change.grown,
        "parent": sound(change.parent) or None,
        "times": change.times,
        "inside": change.inside,
        **({"old-name": sound(change.old_name)} if change.kind is ResourceChangeKind.RENAMED else {}),
        **({"old-parent": sound(change.old_parent) or None} if change.kind is ResourceChangeKind.REPARENTED else {}),
    }
