"""The tables of a sweep file: those of a scenario, a workload, and what is varied."""

from typing import Any, Literal

from msgspec import Struct, field

from virtiomem.recording.values import UseKind
from virtiomem.scenario.values import ScenarioFile
from virtiomem.units import Size

Order = Literal["even", "first", "last"]

SCATTER = 0.0
LEFT_BEHIND = 0.03
"""Fitted by `virtiomem calibrate` to guests that had just booted (docs/workload.md)."""


class _SweepTable(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A table of a sweep file."""


class Processes(_SweepTable, frozen=True, kw_only=True):
    """Processes of one kind; times in seconds, `size` and `lifetime` the means of exponential distributions."""

    name: str
    kind: UseKind = "movable"
    size: Size
    per_hour: float
    """How many arrive in an hour on average, independently of one another."""
    lifetime: float
    start: float = 0.0
    """The first may arrive then."""
    stop: float | None = None
    """None arrives from then on."""


class WantedSize(_SweepTable, frozen=True, kw_only=True):
    """From `at` on, in seconds, all devices together shall have `size`."""

    at: float
    size: Size


class Workload(_SweepTable, frozen=True, kw_only=True):
    """Processes of a guest, and the memory that it is to have over time."""

    seconds: float
    """How long it lasts."""
    scatter: float = SCATTER
    """Share of memory that lands anywhere in a zone; the rest fills the lowest free places."""
    left_behind: float = LEFT_BEHIND
    """Share of a process' unmovable memory that stays when it is gone."""
    resize_step: Size = Size(0)
    """The largest change of the wanted size at a time; 0: all at once."""
    step_seconds: float = 60.0
    """The time between two such changes."""
    order: Order = "even"
    """Who grows first where there are several devices, and shrinks last: all alike, or the first or the last device."""
    trace: str | None = None
    """A CSV file with what is wanted and used over time."""
    processes: list[Processes] = field(default_factory=list)
    wanted: list[WantedSize] = field(default_factory=list)


class WorkloadFile(ScenarioFile, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A scenario, and a workload that goes on from its last step."""

    workload: Workload | None = None


class SweepFile(_SweepTable, frozen=True, kw_only=True):
    """A sweep file as written."""

    title: str = ""
    scenario: str | None = None
    """A scenario file, instead of the tables of one here."""
    seeds: int = 1
    """Every combination of parameters is played with that many seeds, 0, 1, …"""
    sample: int | None = None
    """That many combinations, drawn at random, instead of all."""
    compare: str | None = None
    """The parameter whose values are compared with one another; None: the first."""
    parameters: dict[str, Any] = field(default_factory=dict)
    workload: dict[str, Any] | None = None
    guest: dict[str, Any] | None = None
    driver: dict[str, Any] | None = None
    device: list[dict[str, Any]] | None = None
    step: list[dict[str, Any]] | None = None
