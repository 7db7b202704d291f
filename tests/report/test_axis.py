from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from virtiomem.recording import Recording
from virtiomem.report.axis import Axis, AxisSegment, folded_axis
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem
from virtiomem.units import GiB, Span, TiB

Recorded = Callable[[str], Recording]


def test_ram_and_the_device_region_are_to_scale_and_holes_are_folded(recorded: Recorded) -> None:
    told = recorded("a-movable")
    listings = [rows(iomem.loads(text)) for text in (told.boot.iomem, *(r.snapshot.iomem for r in told.steps))]
    assert folded_axis(listings) == [
        AxisSegment(0, 0x7FFE0000, folded=False),
        AxisSegment(0x7FFE0000, 4 * GiB, folded=True),
        AxisSegment(4 * GiB, 14 * GiB, folded=False),
        AxisSegment(14 * GiB, TiB, folded=True),
    ]


def test_a_region_that_would_crowd_out_the_ram_is_folded() -> None:
    ram = [Row(0, 0, 4 * GiB, 1, "System RAM")]
    assert folded_axis([ram], [Span.sized(4 * GiB, 64 * GiB)])[-1].folded


def test_without_ram_everything_is_shown() -> None:
    assert folded_axis([[Row(0, 0x1000, 0x1000, 1, "UART")]]) == [AxisSegment(0x1000, 0x2000, folded=False)]
    assert folded_axis([]) == []


ram_listings = st.lists(st.tuples(st.integers(0, 1 << 36), st.integers(1, 1 << 34)), min_size=1, max_size=6).map(
    lambda gaps: [
        Row(0, sum(g + s for g, s in gaps[:i]) + gap, size, 1, "System RAM" if i % 2 else "PCI Bus 0000:00")
        for i, (gap, size) in enumerate(gaps)
    ]
)


@given(ram_listings)
def test_places_ascend_from_0_to_1_and_no_ram_is_folded(listing: list[Row]) -> None:
    segments = folded_axis([listing])
    axis = Axis(segments)
    assert all(a.stop == b.start for a, b in pairwise(segments))
    places = [axis.place(address) for row in listing for address in (row.start, row.stop)]
    assert places == sorted(places)
    assert places[0] == 0
    assert abs(places[-1] - 1) < 1e-9
    for row in listing:
        if row.name == "System RAM":
            assert any(s.start <= row.start and row.stop <= s.stop and not s.folded for s in segments)
    ticks = axis.ticks(0.05)
    assert ticks == sorted(ticks)
    assert len(ticks) < 30
