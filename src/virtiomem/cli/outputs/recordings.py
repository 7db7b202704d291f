"""The outputs of `report`, `compare` and `test`; that of `run` is a recording."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from virtiomem.cli.outputs.base import Count, Hex, Natural, Printed
from virtiomem.recording.compare import RecordingDifference
from virtiomem.recording.values import CrashSyscall, DeviceInfo, ZonePages
from virtiomem.scenario.golden import GoldenOutcome
from virtiomem.sweep.summary import Judgement

Entry = Natural
"""Where in `names`, or in `block-looks`, a thing is."""


class LookOutput(Printed, kw_only=True):
    """Name and appearance of a kind of thing."""

    word: str
    symbol: str
    color: str


class LookTables(Printed, kw_only=True):
    """Looks, by the names of the kinds."""

    resources: dict[str, LookOutput]
    blocks: dict[str, LookOutput]
    changes: dict[str, LookOutput]
    responses: dict[str, LookOutput]


class ResourceCounts(Printed, kw_only=True):
    """Lines of the listing; of them System RAM, were virtio-mem's merged, and were none merged."""

    resources: Natural
    ram: Natural
    merged: Natural
    unmerged: Natural


class CrashCounts(Printed, kw_only=True):
    """Ranges that one loader of crash kernels would dump."""

    loader: str
    ranges: Natural
    size: Natural
    entries: Natural
    limit: Natural | None
    lost: Natural
    refused: bool
    unmerged: Natural


class CrashHeaderCounts(Printed, kw_only=True):
    """The crash header in memory."""

    syscall: CrashSyscall
    kept: bool
    ranges: Natural
    size: Natural
    missing: Natural
    gone: Natural


class PageStep(Printed, kw_only=True):
    """The guest at rest after a step, boot first, and what the step did; rows as docs/report.md says."""

    title: str
    settled: bool | None
    error: str | None
    rows: list[tuple[Natural, Hex, Hex, Count, Entry]]
    blocks: list[tuple[Natural, Count, Entry]]
    plugged: dict[str, list[Natural] | None]
    devices: list[DeviceInfo]
    zones: dict[str, dict[str, ZonePages]]
    facts: ResourceCounts
    crash: list[CrashCounts]
    crash_header: CrashHeaderCounts | UnsetType = UNSET
    requests: list[tuple[str, str, str, Hex | None, Natural | None, int, Count]]
    trace: dict[str, list[tuple[Natural, int]]]
    changes: list[tuple[str, Natural, Hex, Hex, Entry]]
    block_changes: list[tuple[Natural, Count, Entry | None, Entry | None]]
    uses: list[tuple[str, Natural, str]]
    in_use: list[tuple[Natural, Natural, str]]
    held_up: list[str] | UnsetType = UNSET
    log: list[str] | UnsetType = UNSET
    retry_in: float | UnsetType = UNSET
    retry: str | UnsetType = UNSET
    elapsed: float | UnsetType = UNSET


class PageRecording(Printed, kw_only=True):
    """One recording of a page, and the tables that its rows refer to."""

    source: str
    title: str
    guest: dict[str, Any]
    recorded: str | None
    block_size: Count
    page_size: Count
    names: list[tuple[str, str]]
    block_looks: list[tuple[str, str, str, list[Natural]]]
    steps: list[PageStep]


class PageDifference(Printed, kw_only=True):
    """Differences of two recordings at a step: how many, and the first of each kind: what, in the one, in the other."""

    times: Count
    shown: list[tuple[str, str, str]]


class PageOutput(Printed, kw_only=True):
    """Contents of a page, of one recording or two; differences are by step."""

    format: Literal["virtiomem-report/1"]
    looks: LookTables
    axis: list[tuple[Hex, Hex, bool]]
    recordings: list[PageRecording]
    differences: dict[str, PageDifference]


class SetApart(Printed, kw_only=True):
    """Lines of the two maps that were not compared."""

    a: list[str]
    b: list[str]


Both = tuple[Natural, Natural]
"""A number for either recording."""


class ComparisonOutput(Printed, kw_only=True):
    """Result of comparing two recordings: the same, or the first difference."""

    same: bool
    difference: RecordingDifference | None
    not_compared: str | UnsetType = UNSET
    set_apart: SetApart | UnsetType = UNSET
    steps: Both
    refused: Both
    stopped_short: Both
    guests: tuple[dict[str, Any], dict[str, Any]] | UnsetType = UNSET


class GuestsOutput(Printed, kw_only=True):
    """Guest of the golden recording (`golden`) and guest of the run (`played`); null for a missing one."""

    golden: dict[str, Any] | None
    played: dict[str, Any] | None


class TestOutput(Printed, kw_only=True):
    """Result of one scenario."""

    scenario: str
    golden: str
    outcome: GoldenOutcome
    what: str
    difference: RecordingDifference | None
    notes: list[str]
    complaints: list[str]
    guests: GuestsOutput
    seconds: float


class TestsOutput(Printed, kw_only=True):
    """Results of all scenarios."""

    passed: bool
    counts: dict[str, Count]
    tests: list[TestOutput]


class MedianOutput(Printed, kw_only=True):
    """A median, the interval that a bootstrap gives it, and of how many values it is."""

    value: float
    low: float
    high: float
    values: Natural


class PointOutput(Printed, kw_only=True):
    """One combination of a sweep's parameters, over its seeds.

    `left`: the memory blocks that stayed in at least half of the runs.
    """

    labels: dict[str, str | int | float | bool]
    runs: Count
    failed: Natural
    medians: dict[str, MedianOutput | None]
    left: str


class DifferenceOutput(Printed, kw_only=True):
    """A value of the compared parameter against the first, in one measure, under the other parameters, or all of them."""

    measure: str
    labels: dict[str, str | int | float | bool]
    value: str | int | float | bool
    than: str | int | float | bool
    judgement: Judgement
    difference: MedianOutput | None


class SweepOutput(Printed, kw_only=True):
    """Summary of a sweep. `rows`: the file with a row for each run."""

    title: str
    rows: str
    sweep: Hex
    parameters: list[str]
    compare: str
    runs: Natural
    failed: Natural
    errors: dict[str, Count]
    points: list[PointOutput]
    differences: list[DifferenceOutput]
