from hypothesis import given
from hypothesis import strategies as st

from virtiomem.report.spans import SpanSet
from virtiomem.units import Span

spans = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: Span.sized(*pair))


@given(st.lists(st.tuples(st.booleans(), spans), max_size=12), spans)
def test_holds_the_addresses_that_a_plain_set_would(work: list[tuple[bool, Span]], asked: Span) -> None:
    ours, plain = SpanSet(), set[int]()
    for put_in, span in work:
        if put_in:
            ours.add(span)
            plain |= set(range(*span))
        else:
            ours.remove(span)
            plain -= set(range(*span))
        ours.check()
    assert {address for span in ours for address in range(*span)} == plain
    assert ours.size == len(plain)
    assert ours.covered(asked) == len(plain & set(range(*asked)))
    assert ours.copy() == ours
    assert bool(ours) == bool(plain)


def test_touching_spans_become_one() -> None:
    assert list(SpanSet([Span(0, 4), Span(8, 12), Span(4, 8)])) == [Span(0, 12)]
