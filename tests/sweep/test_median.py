from itertools import product
from random import Random

import pytest

from virtiomem.sweep.median import median


def drawn_medians(values: list[float], middle: int) -> list[float]:
    """The medians of every draw with replacement that there is: the value at that place, of two in the middle one or the other."""
    return sorted(sorted(draw)[middle] for draw in product(values, repeat=len(values)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_interval_is_that_of_every_possible_draw(count: int, confidence: float) -> None:
    values = [float(value * value) for value in range(count)]
    lower, upper = drawn_medians(values, (count - 1) // 2), drawn_medians(values, count // 2)
    least = (1 - confidence) / 2 * len(lower) * (1 - 1e-12)
    low = next(value for value in values if sum(one <= value for one in lower) >= least)
    high = next(value for value in reversed(values) if sum(one >= value for one in upper) >= least)
    found = median(values, confidence)
    assert found is not None
    assert (found.low, found.high) == (low, high)


def test_large_samples_agree_with_drawing() -> None:
    chance = Random(1)
    values = [chance.gauss(0, 1) for _ in range(400)]
    medians = sorted(sorted(chance.choices(values, k=400))[199] for _ in range(2000))
    found = median(values)
    assert found is not None
    assert abs(found.low - medians[50]) < 0.03
    assert abs(found.high - medians[1949]) < 0.03


def test_normal_approximation_takes_over_smoothly() -> None:
    exact, approximate = median(list(range(2000))), median(list(range(2001)))
    assert exact is not None
    assert approximate is not None
    assert abs(exact.low - approximate.low) <= 2
    assert abs(exact.high - approximate.high) <= 2


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_values_turned_over_have_the_median_turned_over(count: int) -> None:
    values = [float(value**3) for value in range(count)]
    one, other = median(values), median([-value for value in values])
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)


def test_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    found = median([30.0, 37.0])
    assert found is not None
    assert found.value == 33.5


def test_nothing_has_no_median() -> None:
    assert median([]) is None


def test_interval_covers_the_true_median_as_often_as_it_says() -> None:
    chance = Random(7)
    covered = 0
    for _ in range(400):
        found = median([chance.expovariate(1) for _ in range(30)])
        assert found is not None
        covered += found.low <= 0.6931 <= found.high
    assert 0.92 <= covered / 400 <= 0.99
