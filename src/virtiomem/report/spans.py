"""A set of addresses as sorted spans: what of a device's region is plugged."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from virtiomem.units import Span


class SpanSet:
    """Spans that neither overlap nor touch, in address order."""

    # Invariant, which check() asserts: _edges alternates start, stop, start, stop, … and strictly ascends.
    __slots__ = ("_edges",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._edges: list[int] = []
        for span in spans:
            self.add(span)

    def __iter__(self) -> Iterator[Span]:
        return map(Span, self._edges[::2], self._edges[1::2])

    def __bool__(self) -> bool:
        return bool(self._edges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpanSet) and self._edges == other._edges

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self._edges[1::2]) - sum(self._edges[::2])

    def add(self, span: Span) -> None:
        """Put every address of `span` in."""
        self._splice(span, inside=True)

    def remove(self, span: Span) -> None:
        """Take every address of `span` out."""
        self._splice(span, inside=False)

    def _splice(self, span: Span, *, inside: bool) -> None:
        """Make all of `span` inside or outside: the edges within it go, its own come where the side changes."""
        if not span.size:
            return
        # Edges that lie exactly at an end are replaced, too: spans that would touch become one.
        low, high = bisect_left(self._edges, span.start), bisect_right(self._edges, span.stop)
        # Starts and stops take turns: behind an odd number of edges, an address is inside.
        before, after = low % 2 == 1, high % 2 == 1
        self._edges[low:high] = [span.start] * (before != inside) + [span.stop] * (after != inside)

    def covered(self, span: Span) -> int:
        """Count the bytes of `span` that are in."""
        if not span.size:
            return 0
        # Here edges at the ends stay out: no byte lies between them and the end.
        low, high = bisect_right(self._edges, span.start), bisect_left(self._edges, span.stop)
        edges = self._edges[low:high]
        if low % 2:
            edges.insert(0, span.start)
        if high % 2:
            edges.append(span.stop)
        return sum(edges[1::2]) - sum(edges[::2])

    def copy(self) -> "SpanSet":
        """Another set of the same addresses."""
        other = SpanSet()
        other._edges = self._edges.copy()
        return other

    def check(self) -> None:
        """Assert the invariants."""
        assert len(self._edges) % 2 == 0, "every start has its stop"
        assert all(a < b for a, b in zip(self._edges, self._edges[1:], strict=False)), "edges strictly ascend"
