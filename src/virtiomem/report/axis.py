"""The address space on one line: what matters to scale, huge stretches without RAM folded.

A 64-bit address space is nearly all holes. Between RAM (of any step) a stretch longer than a share of all RAM is drawn
at a fixed small width, and marked; so is the part of a device's region that never holds RAM when it would crowd out
everything else.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from virtiomem.recording.palette import ResourceKind
from virtiomem.report.kinds import resource_kind
from virtiomem.report.rows import Row
from virtiomem.report.spans import SpanSet
from virtiomem.resource.names import is_system_ram
from virtiomem.units import Span, align_up

FOLD_ABOVE = 1 / 16
"""Of all RAM: a longer stretch without RAM is folded."""
FOLD_REGION_ABOVE = 2
"""Of all RAM: so is an unused part of a device's region."""


class AxisSegment(NamedTuple):
    """A piece of the axis; a folded one has a fixed width whatever its size."""

    start: int
    stop: int
    folded: bool


def folded_axis(listings: Iterable[Sequence[Row]], regions: Iterable[Span] = ()) -> list[AxisSegment]:
    """The axis on which all these listings (the steps of one or more recordings) can be drawn."""
    ram, roomy, everything = SpanSet(), SpanSet(regions), SpanSet(regions)
    # A row that many steps share is looked at once; ascending, for a span above all others is appended.
    for row in sorted({row for listing in listings for row in listing}):
        span = Span(row.start, row.stop)
        if row.depth == 0:
            everything.add(span)
        if is_system_ram(row.name):
            ram.add(span)
        elif resource_kind(row.name) is ResourceKind.REGION:
            roomy.add(span)
    # A map of I/O ports, or a part of a listing, has no RAM: then everything is to scale.
    return list(_segments(ram or everything, roomy, everything))


def _segments(shown: SpanSet, roomy: SpanSet, everything: SpanSet) -> Iterator[AxisSegment]:
    """The whole axis, cut where folded and unfolded stretches meet."""
    ends = list(everything)
    if not ends:
        return
    at, stop = ends[0].start, ends[-1].stop
    for fold in SpanSet(_folds([at, *(edge for span in shown for edge in span), stop], shown.size, roomy)):
        if at < fold.start:
            yield AxisSegment(at, fold.start, folded=False)
        yield AxisSegment(*fold, folded=True)
        at = fold.stop
    if at < stop:
        yield AxisSegment(at, stop, folded=False)


def _folds(edges: Sequence[int], scale: int, roomy: SpanSet) -> Iterator[Span]:
    """Yield the stretches to fold, of those between the first edge and the second, the third and the fourth, …"""
    for gap in map(Span, edges[::2], edges[1::2]):
        if gap.size > scale * FOLD_ABOVE:
            for piece, is_region in _by_region(gap, roomy):
                if piece.size > scale * (FOLD_REGION_ABOVE if is_region else FOLD_ABOVE):
                    yield piece


def _by_region(gap: Span, roomy: SpanSet) -> list[tuple[Span, bool]]:
    """Cut a stretch where device regions begin and end."""
    pieces, at = [], gap.start
    for region in roomy:
        start, stop = max(region.start, gap.start), min(region.stop, gap.stop)
        if start >= stop:
            continue
        pieces += [(Span(at, start), False), (Span(start, stop), True)]
        at = stop
    return [piece for piece in [*pieces, (Span(at, gap.stop), False)] if piece[0].size]


FOLD_SHARE = 0.035
"""Of the width of a picture: what a folded stretch takes."""


class Axis:
    """Position of an address: from 0 to 1, folded segments at a fixed width, the others to one scale.

    The page's own `axis.js` says the same in the browser.
    """

    def __init__(self, segments: Sequence[AxisSegment]) -> None:
        self.segments = segments
        folds = sum(segment.folded for segment in segments)
        # However many are folded, six tenths of the width are left for what is to scale.
        share = min(FOLD_SHARE, 0.4 / max(folds, 1)) if folds < len(segments) else 1 / max(folds, 1)
        shown = sum(segment.stop - segment.start for segment in segments if not segment.folded)
        widths = [share if s.folded else (s.stop - s.start) / shown * (1 - share * folds) for s in segments]
        self.edges = [0.0, *accumulate(widths)]

    def place(self, address: int) -> float:
        """The place of an address; outside the axis, its nearer end."""
        i = max(bisect_right(self.segments, address, key=lambda segment: segment.start) - 1, 0)
        if i >= len(self.segments):
            return 0.0
        segment = self.segments[i]
        within = (address - segment.start) / (segment.stop - segment.start)
        return self.edges[i] + min(max(within, 0.0), 1.0) * (self.edges[i + 1] - self.edges[i])

    def ticks(self, gap: float) -> list[int]:
        """Round addresses of the segments to scale, at least about `gap` apart."""
        found: list[int] = []
        for segment, left, right in zip(self.segments, self.edges, self.edges[1:], strict=False):
            if segment.folded:
                continue
            per_gap = (segment.stop - segment.start) / (right - left) * gap
            # A power of two: such addresses are round in hexadecimal and in gigabytes.
            step = 1 << max(int(per_gap) - 1, 0).bit_length()
            for address in range(align_up(segment.start, step), segment.stop + 1, step):
                # The first of a segment may fall next to the last of the one before.
                if not found or self.place(address) - self.place(found[-1]) >= gap * 0.8:
                    found.append(address)
        return found
