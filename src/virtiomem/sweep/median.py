"""Medians, with the interval that a bootstrap gives them.

A bootstrap draws as many values as there are, with replacement, again and again, and takes the median of each draw; the
interval holds the middle 95 % of those medians. For a median it need not be drawn: the median of a draw is at most the k-th
smallest value if more than half of the draw are among the k smallest, and how many are is binomial. So the interval
is what drawing forever would come to, and the same every time. Of a draw of an even number, its low end goes by the lower of
the two values in the middle, its high end by the upper.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, exp, lgamma, log, sqrt

CONFIDENCE = 0.95
_EXACT = 2000
"""Values; of more the binomial distribution is as good as normal."""


_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Median:
    """A median, and the interval that it may well lie in."""

    value: float
    low: float
    high: float
    values: int
    """How many it is of."""


def median(values: Sequence[float], confidence: float = CONFIDENCE) -> Median | None:
    """The median of values, of an even number the mean of the two in the middle, and its interval; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    count = len(ordered)
    low = _rank(count, (1 - confidence) / 2)
    # As far from the top: the interval of differences is that of the same ones the other way round, turned over.
    return Median(statistics.median(ordered), ordered[low], ordered[count - 1 - low], count)


def _rank(count: int, share: float) -> int:
    """The place, from 0, of the smallest value that the lower median of a draw does not exceed with that probability."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        # Sums of logarithms are off in the last digits: a rank that is exactly enough must not be missed.
        if _at_most(middle + 1, count) >= share - _ROUNDING:
            high = middle
        else:
            low = middle + 1
    return low


def _at_most(k: int, count: int) -> float:
    """The probability that the lower median of a draw is among the k smallest values."""
    if k == count:
        return 1.0
    # With that many of a draw among the k smallest, its lower median is one of them.
    need = (count - 1) // 2 + 1
    p = k / count
    if count > _EXACT:
        # The half is the correction for a count in place of a measure.
        return 0.5 * erfc((need - 0.5 - count * p) / sqrt(2 * count * p * (1 - p)))
    of = lgamma(count + 1)
    terms = (
        # By logarithms: the binomial coefficients of a thousand have three hundred digits.
        exp(of - lgamma(i + 1) - lgamma(count - i + 1) + i * log(p) + (count - i) * log(1 - p))
        for i in range(need, count + 1)
    )
    return sum(terms)
