"""Summary of a sweep: medians of each combination of parameters, and the differences between choices that were seen.

Two values of a parameter are compared pair by pair: runs that differ only in that value have the same seed, and saw the
same processes at the same times. The median of the differences is reported, with its interval; where the interval holds
0, no difference was seen. That is done for each combination of the other parameters, since a choice may matter under
one of them and not under another; with few seeds, or very many combinations, for all together. Each interval of a
measure is made wider, so that all of them together hold with 95 % (Bonferroni).
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import isnan, nan
from typing import NamedTuple

from virtiomem.recording.describe import numbers, numbers_in
from virtiomem.sweep.median import CONFIDENCE, Median, median
from virtiomem.sweep.parameters import Label, label
from virtiomem.sweep.rows import Outcome, Rows, SweepRow, read
from virtiomem.sweep.sweep import Sweep
from virtiomem.units import format_approx

MOST_APART = 40
"""Combinations of the other parameters that are compared each for itself."""
LEAST_PAIRS = 6
"""Of fewer values, or pairs, an interval says nothing: five from the lowest to the highest hold the median with 94 %."""


class Measure(NamedTuple):
    """A number of a run that did not fail, or None where it does not apply."""

    name: str
    heading: str
    """Of its column."""
    words: str
    of: Callable[[Outcome], float | None]
    text: Callable[[float], str]
    binary: bool = False
    """Whether its round numbers are powers of two: bytes."""
    counted: bool = False
    """Whether it is a whole number, between which an axis has nothing to say."""


def _came_back(one: Outcome) -> float | None:
    return 100 * one.came_back / one.asked_back if one.asked_back else None


def _tenths(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _size(value: float) -> str:
    return f"{'-' if value < 0 else ''}{format_approx(abs(round(value)))}"


MEASURES = (
    Measure("came-back", "back %", "came back of what the shrinks asked for, in percent", _came_back, _tenths),
    Measure("plugged", "plugged", "plugged at the end", lambda one: one.plugged, _size, binary=True),
    Measure(
        "out-of-memory",
        "no memory",
        "uses of memory that found no room",
        lambda one: one.out_of_memory,
        _tenths,
        counted=True,
    ),
    Measure("settle", "settle s", "longest time to settle, in seconds", lambda one: one.settle_seconds, _tenths),
    Measure("memmap", "memmap", "struct pages at the peak", lambda one: one.memmap, _size, binary=True),
    Measure("requests", "requests", "requests to the device", lambda one: one.requests, _tenths, counted=True),
    Measure("crash-ranges", "ranges", "ranges in a crash header", lambda one: one.crash_ranges, _tenths, counted=True),
)
"""In the order in which they matter."""


@dataclass(frozen=True, slots=True)
class PointSummary:
    """One combination of parameters, over its seeds."""

    labels: dict[str, Label]
    runs: int
    failed: int
    medians: dict[str, Median | None]
    """Of each measure; None where no run has it."""
    left: str = ""
    """The memory blocks that stayed in half of the runs, or in more: ``40-43, 47``."""


class Judgement(StrEnum):
    """Outcome of a comparison."""

    MORE = "more"
    LESS = "less"
    NONE = "no difference seen"
    TOO_FEW = "too few pairs to say"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of the compared parameter against the first, in one measure."""

    measure: str
    labels: dict[str, Label]
    """The other parameters; empty for all combinations of them together."""
    value: Label
    than: Label
    judgement: Judgement
    difference: Median | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A sweep in numbers."""

    title: str
    parameters: tuple[str, ...]
    compare: str
    runs: int
    failed: int
    errors: dict[str, int]
    """Why runs failed, and how many did so: the commonest."""
    points: tuple[PointSummary, ...]
    differences: tuple[Difference, ...]


MOST_ERRORS = 10


def summarize(rows: Rows) -> Summary:
    """Summarize the rows of a sweep. Raises UsageError for a file that does not hold them."""
    return summary_of(rows.sweep, read(rows.path, rows.sweep))


def summary_of(sweep: Sweep, rows: Iterable[SweepRow]) -> Summary:
    """Summarize rows, all that the sweep has, in order."""
    # Eight bytes for each run and measure: a list of two million numbers would take four times that.
    values = {measure.name: array("d", [nan]) * sweep.runs for measure in MEASURES}
    failed = bytearray(sweep.runs)
    errors: dict[str, int] = {}
    left, staying = [""] * len(sweep.points), Counter[int]()
    for row in rows:
        place, seed = divmod(row.run, sweep.seeds)
        staying.update(numbers_in(row.outcome.left_blocks or ""))
        # Rows come in the order of the runs: with the last seed all of a combination are there.
        if seed == sweep.seeds - 1:
            left[place] = numbers(block for block, runs in staying.items() if 2 * runs >= sweep.seeds)
            staying.clear()
        if (error := row.outcome.error) is not None:
            failed[row.run] = 1
            # Without the number of the run, or a thousand runs that fail alike would be a thousand errors.
            words = error.partition(f"(run {row.run})")[2].removeprefix(": ") or error
            if words in errors or len(errors) < MOST_ERRORS:
                errors[words] = errors.get(words, 0) + 1
            continue
        for measure in MEASURES:
            if (value := measure.of(row.outcome)) is not None:
                values[measure.name][row.run] = value
    return Summary(
        title=sweep.title,
        parameters=tuple(sweep.names),
        compare=sweep.compare,
        runs=sweep.runs,
        failed=sum(failed),
        errors=dict(sorted(errors.items(), key=lambda item: -item[1])),
        points=tuple(_points(sweep, values, failed, left)),
        differences=tuple(_differences(sweep, values)),
    )


def _points(
    sweep: Sweep, values: dict[str, "array[float]"], failed: bytearray, left: list[str]
) -> Iterator[PointSummary]:
    for place in range(len(sweep.points)):
        runs = slice(place * sweep.seeds, (place + 1) * sweep.seeds)
        medians = {name: median(_there(found[runs])) for name, found in values.items()}
        yield PointSummary(sweep.labels(runs.start), sweep.seeds, sum(failed[runs]), medians, left[place])


def _there(values: Iterable[float]) -> list[float]:
    # An array of numbers has no None: nan stands for a run without a value, such as one that failed.
    return [value for value in values if not isnan(value)]


def _differences(sweep: Sweep, values: dict[str, "array[float]"]) -> Iterator[Difference]:
    """Every value of the compared parameter against its first, measure by measure."""
    if not sweep.compare:
        return
    at = sweep.names.index(sweep.compare)
    settings = sweep.grid.parameters[at].settings
    groups = _groups(sweep, at)
    if not any(groups.values()):
        return
    apart = sweep.seeds >= LEAST_PAIRS and len(groups) <= MOST_APART
    parts = [{first: alike} for first, alike in groups.items()] if apart else [groups]
    # Bonferroni's correction: of twenty comparisons at 95 %, one would differ by chance.
    confidence = 1 - (1 - CONFIDENCE) / ((len(settings) - 1) * len(parts))
    for measure in MEASURES:
        for part in parts:
            labels = _others(sweep, next(iter(part))) if apart else {}
            for digit in range(1, len(settings)):
                pairs = _there(_paired(sweep, values[measure.name], part, digit))
                between = median(pairs, confidence)
                judgement = _judged(pairs, between)
                yield Difference(measure.name, labels, settings[digit].label, settings[0].label, judgement, between)


def pairs_of(sweep: Sweep) -> int:
    """Return how many pairs of runs differ in the compared parameter alone, for each of its values; 0 where none is
    compared.
    """
    return sweep.seeds * len(_groups(sweep, sweep.names.index(sweep.compare))) if sweep.compare else 0


def _groups(sweep: Sweep, parameter: int) -> dict[int, dict[int, int]]:
    """Places of the combinations that differ in one parameter only: by the one with its first value, then by the value."""
    groups: dict[int, dict[int, int]] = {}
    for place, point in enumerate(sweep.points):
        first = sweep.grid.with_value(point, parameter, 0)
        groups.setdefault(first, {})[sweep.grid.digits(point)[parameter]] = place
    return {first: alike for first, alike in groups.items() if 0 in alike}


def _others(sweep: Sweep, point: int) -> dict[str, Label]:
    """The parameters of a combination that are not compared."""
    found = sweep.grid.settings(point).items()
    return {name: setting.label for name, setting in found if name != sweep.compare}


def _paired(sweep: Sweep, found: "array[float]", groups: dict[int, dict[int, int]], digit: int) -> Iterator[float]:
    """Yield the differences between runs with one value of the compared parameter and those with its first, seed by seed."""
    for alike in groups.values():
        if digit in alike:
            one, first = alike[digit] * sweep.seeds, alike[0] * sweep.seeds
            yield from (found[one + seed] - found[first + seed] for seed in range(sweep.seeds))


def _judged(pairs: list[float], between: Median | None) -> Judgement:
    if between is None or len(pairs) < LEAST_PAIRS:
        return Judgement.TOO_FEW
    if between.low <= 0 <= between.high:
        return Judgement.NONE
    return Judgement.MORE if between.low > 0 else Judgement.LESS


def interval(measure: Measure, found: Median | None) -> str:
    """A median with its interval, where that is more than a point, and of enough values: ``81.5 [79, 84]``."""
    if found is None:
        return "-"
    middle, low, high = map(measure.text, (found.value, found.low, found.high))
    return middle if found.values < LEAST_PAIRS or low == middle == high else f"{middle} [{low}, {high}]"


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """The differences as a table, and remarks on what is not in it."""

    heading: list[str]
    rows: list[list[str]]
    remarks: list[str]


def comparison(summary: Summary) -> ComparisonTable:
    """The differences in words: a row for each measure and combination in which any was seen, a column for each value."""
    values = list(dict.fromkeys(label(one.value) for one in summary.differences))
    first = next((label(one.than) for one in summary.differences), "")
    others = list(summary.differences[0].labels) if summary.differences else []
    rows: dict[tuple[str, ...], list[str]] = {}
    seen: set[str] = set()
    for measure in MEASURES:
        mine = [one for one in summary.differences if one.measure == measure.name]
        if any(one.judgement in (Judgement.MORE, Judgement.LESS) for one in mine):
            seen.add(measure.name)
            for one in mine:
                row = rows.setdefault((measure.heading, *map(label, one.labels.values())), [])
                row.append(_cell(measure, one))
    alike = [measure.words for measure in MEASURES if measure.name not in seen]
    few = all(one.judgement is Judgement.TOO_FEW for one in summary.differences)
    word = Judgement.TOO_FEW if few else Judgement.NONE
    return ComparisonTable(
        [f"against {first}", *(name.rpartition(".")[2] for name in others), *values],
        [[*head, *cells] for head, cells in rows.items()],
        [f"{word} in: {'; '.join(alike)}"] if alike and values else [],
    )


def _cell(measure: Measure, one: Difference) -> str:
    """A difference with its sign and its interval, or the judgement."""
    if one.difference is None or one.judgement not in (Judgement.MORE, Judgement.LESS):
        return str(one.judgement).removesuffix(" seen").removesuffix(" pairs to say")
    found = one.difference
    middle, low, high = (
        f"{'+' if value > 0 else '-' if value < 0 else ''}{measure.text(abs(value))}"
        for value in (found.value, found.low, found.high)
    )
    return middle if low == middle == high else f"{middle} [{low}, {high}]"
