"""The children of a resource: sorted by start, never overlapping, found by bisection.

Where the kernel links siblings into a list and walks it, this keeps them in chunks of at most `LIMIT`, next to each chunk
its start addresses, and the first start of every chunk. An address is found with two bisections, a place is made by
moving at most one chunk, and the common case, a new highest child, is an append. A million siblings cost what ten do.
"""

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, Generic, TypeVar, overload

LIMIT: Final = 256
"""The most children in a chunk: when it would grow beyond, it is cut in two."""
SMALL: Final = LIMIT // 4
"""A chunk that falls below joins a neighbour; only the last may be smaller, as one that appends fill."""


class Ranged:
    """An item that can be a child: it lies from `start` to `end`, both inclusive."""

    # Abstract without ABC: in the compiled build its metaclass makes each resource slower to create.
    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    @property
    @abstractmethod
    def title(self) -> str:
        """Range and name, as messages show them."""


N = TypeVar("N", bound=Ranged)


class Children(Sequence[N], Generic[N]):
    """A resource's children in address order. To a reader a sequence; only the tree's own operations change it."""

    # Invariants, which check() asserts: no chunk is empty; _firsts[c] is _starts[c][0]; _starts[c][i] is _nodes[c][i].start.
    # _chunk, _place are where the last search or insertion ended: most operations come back there; _locate() looks first.
    __slots__ = ("_chunk", "_firsts", "_nodes", "_place", "_starts")

    def __init__(self, nodes: Sequence[N] = ()) -> None:
        """Take `nodes`, which the caller has sorted."""
        self._nodes = [list(nodes[i : i + LIMIT]) for i in range(0, len(nodes), LIMIT)]
        self._starts = [[node.start for node in chunk] for chunk in self._nodes]
        self._firsts = [starts[0] for starts in self._starts]
        self._chunk = self._place = 0

    # -- the sequence ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(map(len, self._nodes))

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __iter__(self) -> Iterator[N]:
        return chain.from_iterable(self._nodes)

    def __reversed__(self) -> Iterator[N]:
        return chain.from_iterable(map(reversed, reversed(self._nodes)))

    def __contains__(self, node: object) -> bool:
        # Any object may be asked for: one without a start lies below every child, and nothing is found.
        found = self.at_or_below(getattr(node, "start", -1))
        return found is node and node is not None

    @overload
    def __getitem__(self, index: int) -> N: ...
    @overload
    def __getitem__(self, index: slice) -> list[N]: ...
    def __getitem__(self, index: int | slice) -> N | list[N]:
        if isinstance(index, slice):
            return list(self)[index]
        if index < 0:
            index += len(self)
        for chunk in self._nodes:
            if 0 <= index < len(chunk):
                return chunk[index]
            index -= len(chunk)
        raise IndexError("child index out of range")

    def __repr__(self) -> str:
        return f"<Children: {len(self)}>"

    # -- searching ------------------------------------------------------------------------------------------------------

    def at_or_below(self, address: int) -> N | None:
        """The last child that starts at or below `address`; it may end below it too."""
        c = bisect_right(self._firsts, address) - 1
        if c < 0:
            return None
        i = bisect_right(self._starts[c], address) - 1
        self._chunk, self._place = c, i
        return self._nodes[c][i]

    def overlapping(self, start: int, end: int) -> Iterator[N]:
        """The children that share an address with [start, end], lowest first."""
        # From the child that starts at or below: it may reach into the range. In the chunks above, every child starts
        # higher, and the search falls on the first.
        c = max(bisect_right(self._firsts, start) - 1, 0)
        while c < len(self._nodes):
            chunk = self._nodes[c]
            for i in range(max(bisect_right(self._starts[c], start) - 1, 0), len(chunk)):
                node = chunk[i]
                if node.start > end:
                    return
                if node.end >= start:
                    yield node
            c += 1

    def around(self, node: N) -> tuple[N | None, N | None]:
        """The neighbours of a child: the one below and the one above."""
        chunks = self._nodes
        chunk = chunks[-1]
        # Mostly asked about the block that was just added, which is the highest child: no search.
        if chunk[-1] is node and len(chunk) > 1:
            return chunk[-2], None
        c, i = self._locate(node)
        chunk = chunks[c]
        below = chunk[i - 1] if i else chunks[c - 1][-1] if c else None
        if i + 1 < len(chunk):
            return below, chunk[i + 1]
        return below, chunks[c + 1][0] if c + 1 < len(chunks) else None

    def _locate(self, node: N) -> tuple[int, int]:
        """The chunk and the place in it of a child."""
        c, i = self._chunk, self._place
        # Removals do not update the remembered place, so it may be stale: only the node itself makes it right.
        if c < len(self._nodes) and i + 1 < len(nodes := self._nodes[c]):
            if nodes[i] is node:
                return c, i
            if nodes[i + 1] is node:
                return c, i + 1
        start = node.start
        c = bisect_right(self._firsts, start) - 1
        return c, bisect_left(self._starts[c], start)

    # -- changing: for the tree's operations only -----------------------------------------------------------------------

    def add(self, new: N) -> N | None:
        """Put `new` in its place; if that is taken, change nothing and return the lowest child in the way."""
        start = new.start
        nodes = self._nodes[-1]
        # Memory mostly comes in ascending order, above all that is there: no search.
        if start > nodes[-1].end:
            if len(nodes) < LIMIT:
                self._starts[-1].append(start)
                nodes.append(new)
            else:
                # A full last chunk is not cut in two: memory that arrives in ascending order then fills every chunk.
                self._insert_chunk(len(self._nodes), [start], [new])
            return None
        if (c := bisect_right(self._firsts, start) - 1) < 0:
            c = i = 0
            nodes = self._nodes[0]
        else:
            i = bisect_right(self._starts[c], start)
            nodes = self._nodes[c]
            below = nodes[i - 1]
            if start <= below.end:
                return below
        # Behind the last child of a chunk there is another chunk: what lies above all children was appended.
        above = nodes[i] if i < len(nodes) else self._nodes[c + 1][0]
        if above.start <= new.end:
            return above
        self._insert(c, i, new)
        return None

    def add_above(self, node: N, new: N) -> None:
        """Put `new` next above a child, where the caller made room for it."""
        c, i = self._locate(node)
        self._insert(c, i + 1, new)

    def _insert(self, c: int, i: int, new: N) -> None:
        nodes = self._nodes[c]
        self._starts[c].insert(i, new.start)
        nodes.insert(i, new)
        self._chunk, self._place = c, i
        if i == 0:
            self._firsts[c] = new.start
        if len(nodes) > LIMIT:
            self._split(c)

    def remove(self, node: N) -> None:
        """Take a child out."""
        nodes = self._nodes[-1]
        # Unplugging goes from the highest block down: the last child needs no search.
        if nodes[-1] is node:
            nodes.pop()
            self._starts[-1].pop()
            # Not joined with its neighbour when it is small: unplugging downwards would copy a chunk at each border.
            if not nodes:
                self._delete_chunk(-1)
            return
        c, i = self._locate(node)
        starts, nodes = self._starts[c], self._nodes[c]
        del starts[i], nodes[i]
        if len(nodes) < SMALL and len(self._nodes) > 1:
            self._mend(c)
        elif i == 0:
            # The index over the chunks goes by their first starts.
            self._firsts[c] = starts[0]

    def _mend(self, c: int) -> None:
        """See to a chunk, one of several, that has become small: it joins a neighbour, unless nothing is left of it."""
        if not self._nodes[c]:
            self._delete_chunk(c)
        else:
            self._firsts[c] = self._starts[c][0]
            # With the chunk below, which comes before it; the first chunk has only the one above.
            self._join(max(c - 1, 0))

    def restart(self, node: N, start: int) -> None:
        """Move the start of a child, which passes no neighbour."""
        c, i = self._locate(node)
        # Only now: `_locate` searches by the old start.
        node.start = self._starts[c][i] = start
        self._firsts[c] = self._starts[c][0]

    def replace(self, old: Sequence[N], new: N) -> None:
        """Put `new` where `old` was: neighbours that it covers."""
        # The first stays until it is overwritten: `old` may be all there is, and a container is never empty.
        for node in old[1:]:
            self.remove(node)
        c, i = self._locate(old[0])
        self._starts[c][i], self._nodes[c][i] = new.start, new
        self._firsts[c] = self._starts[c][0]

    def _insert_chunk(self, c: int, starts: list[int], nodes: list[N]) -> None:
        self._firsts.insert(c, starts[0])
        self._starts.insert(c, starts)
        self._nodes.insert(c, nodes)

    def _delete_chunk(self, c: int) -> None:
        del self._firsts[c], self._starts[c], self._nodes[c]

    def _split(self, c: int) -> None:
        """Move the upper half of a chunk to a chunk of its own."""
        starts, nodes = self._starts[c], self._nodes[c]
        half = len(nodes) // 2
        self._insert_chunk(c + 1, starts[half:], nodes[half:])
        del starts[half:], nodes[half:]

    def _join(self, c: int) -> None:
        """Join a chunk with the one above it, evenly cut in two when that is too much for one."""
        self._starts[c] += self._starts[c + 1]
        self._nodes[c] += self._nodes[c + 1]
        self._delete_chunk(c + 1)
        if len(self._nodes[c]) > LIMIT:
            self._split(c)

    # -- the invariants -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert every invariant of the container; the order and the bounds of the nodes are `Resource.check`'s."""
        assert self._nodes, "a container is never empty: a childless resource has none"
        assert len(self._firsts) == len(self._starts) == len(self._nodes), (
            "one list of starts and one first start a chunk"
        )
        for first, starts, nodes in zip(self._firsts, self._starts, self._nodes, strict=True):
            assert nodes, "no chunk is empty"
            lowest = nodes[0].title
            assert len(nodes) <= LIMIT, f"{lowest}: no chunk is beyond the limit"
            assert starts == [node.start for node in nodes], (
                f"{lowest}: the starts next to a chunk are its nodes' starts"
            )
            assert first == starts[0], f"{lowest}: the first start of a chunk is known"
