"""The summary of a sweep as a page: one HTML file with its pictures in it, which needs no script and no network."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from math import floor, log10
from xml.etree import ElementTree as ET

from virtiomem import __version__
from virtiomem.report.page import csp_hash
from virtiomem.report.svg import element, shortened
from virtiomem.sweep.median import Median
from virtiomem.sweep.parameters import Setting, label
from virtiomem.sweep.summary import MEASURES, Measure, PointSummary, Summary, comparison, interval
from virtiomem.sweep.sweep import Sweep
from virtiomem.text import sound

_DRAWN = 60
"""Combinations that a picture has room for."""
_COLORS = 8
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BELOW = 560, 190, 16, 20, 8, 26
_HIGH, _MARGIN, _HEAD = 260, 64, 40
_PICTURES = "/* what pictures need */"
_PER_CHARACTER = 6.6


def page(summary: Summary, sweep: Sweep) -> str:
    """A self-contained page about a sweep that was played."""
    import jinja2

    style = _asset("sweep.css")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    legend = [label(setting.label) for setting in _settings(sweep)]
    made = environment.from_string(_asset("sweep.html")).render(
        version=__version__,
        title=summary.title or sweep.source,
        style=style,
        style_hash=csp_hash(style),
        runs=summary.runs,
        failed=summary.failed,
        errors=summary.errors,
        seeds=sweep.seeds,
        comparison=comparison(summary),
        compare=summary.compare,
        legend=legend,
        left_out=len(summary.points) > _DRAWN,
        drawn=_DRAWN,
        pictures=[(measure.words, _text(_picture(measure, summary, legend))) for measure in _that_differ(summary)],
        parameters=summary.parameters,
        measures=MEASURES,
        points=[_cells(point) for point in summary.points],
        digest=sweep.digest,
        source=sweep.source,
    )
    return sound(made)


def standalone(measure: Measure, summary: Summary, sweep: Sweep) -> str:
    """One picture of the page as a file of its own, in the page's light colors, with a legend."""
    legend = [label(setting.label) for setting in _settings(sweep)]
    svg = _picture(measure, summary, legend)
    width, height = (float(number) for number in svg.attrib["viewBox"].split()[2:])
    svg.attrib |= {
        "viewBox": f"0 -{_HEAD} {width:g} {height + _HEAD:g}",
        "width": f"{width:g}",
        "height": f"{height + _HEAD:g}",
    }
    element(svg, "text", measure.words, x=8, y=-24, font_weight="600")
    x = 8.0
    for color, name in enumerate(legend):
        element(svg, "circle", class_=f"dot c{color % _COLORS}", cx=x + 4, cy=-10, r=4)
        element(svg, "text", name, x=x + 12, y=-6)
        x += 24 + len(name) * _PER_CHARACTER
    # Up to the first @media it has the light colors: a picture in a file of its own does not follow a reader's screen.
    css = _asset("sweep.css")
    style = element(svg, "style")
    style.text = f"{css.partition('@media')[0]}svg {{ background: var(--paper); font: 12px sans-serif; }}\n{css.partition(_PICTURES)[2]}"
    return f"{_text(svg)}\n"


def _text(svg: ET.Element) -> str:
    return ET.tostring(svg, encoding="unicode")


def _asset(name: str) -> str:
    return files("virtiomem.sweep").joinpath("assets", name).read_text(encoding="utf-8")


def _cells(point: PointSummary) -> dict[str, object]:
    return {
        "labels": [label(value) for value in point.labels.values()],
        "cells": [interval(measure, point.medians[measure.name]) for measure in MEASURES],
        "failed": point.failed,
        "left": point.left or "-",
    }


def _settings(sweep: Sweep) -> Sequence[Setting]:
    """The values of the parameter that is compared, each of which has a color."""
    return next((one.settings for one in sweep.grid.parameters if one.name == sweep.compare), ())


def _that_differ(summary: Summary) -> Iterator[Measure]:
    """The measures with more than one value: a picture of one value shows nothing."""
    for at, measure in enumerate(MEASURES):
        found = {middle for point in summary.points if (middle := point.medians[measure.name]) is not None}
        if len({(one.low, one.high) for one in found}) > 1 or (at == 0 and found):
            yield measure


def _picture(measure: Measure, summary: Summary, legend: Sequence[str]) -> ET.Element:
    """A measure of all combinations: lines over another parameter where there is exactly one, else a row for each."""
    others = [name for name in summary.parameters if name != summary.compare]
    if len(others) == 1 and len({point.labels[others[0]] for point in summary.points}) > 2:
        return _over(measure, summary, legend, others[0])
    return _rows(measure, summary, legend)


def _root(width: float, height: float, words: str) -> ET.Element:
    attributes = {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": words}
    return ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **attributes})


def _color(point: PointSummary, summary: Summary, legend: Sequence[str]) -> str:
    return f"c{legend.index(label(point.labels[summary.compare])) % _COLORS}" if summary.compare else "c0"


def _rows(measure: Measure, summary: Summary, legend: Sequence[str]) -> ET.Element:
    """A row for each combination: a dot for the median, a bar for the interval."""
    points = summary.points[:_DRAWN]
    scale = _ValueScale(measure, points, _LEFT, _WIDTH - _RIGHT)
    bottom = _TOP + _ROW * len(points)
    svg = _root(_WIDTH, bottom + _BELOW, measure.words)
    for at, words in scale.ticks():
        element(svg, "line", class_="grid", x1=at, x2=at, y1=_TOP, y2=bottom)
        element(svg, "text", words, class_="tick", x=at, y=bottom + 16, text_anchor="middle")
    for number, point in enumerate(points):
        y = _TOP + _ROW * (number + 0.5)
        name = ", ".join(label(value) for value in point.labels.values()) or "all runs"
        element(svg, "text", shortened(name, _LEFT - 12, _PER_CHARACTER), x=_LEFT - 10, y=y + 4, text_anchor="end")
        if (middle := point.medians[measure.name]) is not None:
            group = element(svg, "g", class_=_color(point, summary, legend))
            element(group, "title", f"{name}: {interval(measure, middle)}")
            element(group, "line", class_="bar", x1=scale(middle.low), x2=scale(middle.high), y1=y, y2=y)
            element(group, "circle", class_="dot", cx=scale(middle.value), cy=y, r=4)
    return svg


def _over(measure: Measure, summary: Summary, legend: Sequence[str], over: str) -> ET.Element:
    """Lines over the values of another parameter, a line for each value that is compared."""
    scale = _ValueScale(measure, summary.points, _HIGH, _TOP)
    places = list(dict.fromkeys(point.labels[over] for point in summary.points))
    gap = (_WIDTH - _MARGIN - _RIGHT) / len(places)
    svg = _root(_WIDTH, _HIGH + 44, f"{measure.words}, over {over}")
    for at, words in scale.ticks():
        element(svg, "line", class_="grid", x1=_MARGIN, x2=_WIDTH - _RIGHT, y1=at, y2=at)
        element(svg, "text", words, class_="tick", x=_MARGIN - 6, y=at + 4, text_anchor="end")
    # 56 pixels hold a label such as 1.25T: of more values, every second or third is named.
    shown = max(1, -(-len(places) * 56 // (_WIDTH - _MARGIN)))
    for number, place in enumerate(places):
        if number % shown == 0:
            x = _MARGIN + gap * (number + 0.5)
            element(svg, "text", label(place), class_="tick", x=x, y=_HIGH + 16, text_anchor="middle")
    element(svg, "text", over, class_="tick", x=(_MARGIN + _WIDTH) / 2, y=_HIGH + 36, text_anchor="middle")
    for color, compared in enumerate(legend or [""]):
        group = element(svg, "g", class_=f"c{color % _COLORS}")
        line: list[str] = []
        for point in summary.points:
            middle = point.medians[measure.name]
            if middle is None or (summary.compare and label(point.labels[summary.compare]) != compared):
                continue
            # Beside each other: intervals over the same value would hide one another.
            aside = (color - (len(legend) - 1) / 2) * min(6, gap / (len(legend) + 2))
            x = _MARGIN + gap * (places.index(point.labels[over]) + 0.5) + aside
            line.append(f"{x:.1f},{scale(middle.value):.1f}")
            element(group, "line", class_="bar", x1=x, x2=x, y1=scale(middle.low), y2=scale(middle.high))
            dot = element(group, "circle", class_="dot", cx=x, cy=scale(middle.value), r=3.5)
            element(dot, "title", f"{compared}, {label(point.labels[over])}: {interval(measure, middle)}")
        element(group, "polyline", class_="way", points=" ".join(line))
    return svg


class _ValueScale:
    """The place of a value between two ends of a picture; from 0 on where nothing is less."""

    def __init__(self, measure: Measure, points: Sequence[PointSummary], start: float, stop: float) -> None:
        found: list[Median] = [middle for point in points if (middle := point.medians[measure.name]) is not None]
        self._text = measure.text
        self._low = min([0.0, *(one.low for one in found)])
        high = max((one.high for one in found), default=0.0)
        self._step = _round_step(max((high - self._low) / 5, float(measure.counted)), binary=measure.binary)
        # At least one step: a scale on which all values are equal has a length, too.
        self._high = max(-(-(high - self._low) // self._step) * self._step + self._low, self._low + self._step)
        self._start, self._stop = start, stop

    def __call__(self, value: float) -> float:
        """Place of a value."""
        return self._start + (value - self._low) / (self._high - self._low) * (self._stop - self._start)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Places and words of round values."""
        at = self._low
        # A sum of steps is off in its last digits, and the uppermost tick must not be lost by that.
        while at <= self._high * 1.0001:
            yield self(at), self._text(at)
            at += self._step


def _round_step(least: float, *, binary: bool) -> float:
    """The next round number: 1, 2 or 5 times a power of ten, or for bytes a power of two."""
    if least <= 0:
        return 1.0
    if binary:
        return float(1 << max(round(least) - 1, 0).bit_length())
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
