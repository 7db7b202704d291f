"""A sweep file read: which runs there are, and the scenario that each of them plays."""

import copy
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import json, structs

from virtiomem import __version__, border
from virtiomem.errors import ArgumentValueError, ScenarioError
from virtiomem.files import read_bytes
from virtiomem.guest.base import DeviceConfig
from virtiomem.recording.values import Load, Resize, Step, Use
from virtiomem.scenario.complaints import line_of, none_of
from virtiomem.scenario.toml_file import MAX_FILE, complete, convert, parse
from virtiomem.scenario.values import Scenario
from virtiomem.sweep import parameters, trace, workload
from virtiomem.sweep.parameters import Grid, Label, Setting, label, put
from virtiomem.sweep.trace import TracePoint
from virtiomem.sweep.values import SweepFile, Workload, WorkloadFile

MAX_RUNS = 2_000_000
"""A summary keeps 50 bytes of each."""
MAX_SEEDS = 1_000_000
_TABLES = ("guest", "driver", "device", "step", "workload")


@dataclass(frozen=True)
class Sweep:
    """Runs, numbered from 0: every point (a combination of parameters) with every seed, the seed changing first."""

    title: str
    tables: dict[str, Any]
    """The scenario that is varied, and its workload, as plain values."""
    grid: Grid
    points: Sequence[int]
    """The combinations that are played: all of the grid, or those drawn, ascending."""
    seeds: int
    compare: str
    """The parameter whose values are compared; empty where there is no parameter."""
    traces: dict[str, tuple[TracePoint, ...]]
    """The traces that workloads name, read."""
    folder: Path
    source: str
    files: tuple[Path, ...] = ()
    """The files that it was read from, and those that its guests start from: none of them may be written over."""

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.points) * self.seeds

    def __len__(self) -> int:
        return self.runs

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        return [parameter.name for parameter in self.grid.parameters]

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the sweep: all that its rows come from, this version of virtiomem included."""
        all_of_it = [
            __version__,
            self.tables,
            [asdict(parameter) for parameter in self.grid.parameters],
            # A whole grid by its size: it may have millions of combinations.
            self.points if len(self.points) < self.grid.size else self.grid.size,
            self.seeds,
            {name: [asdict(point) for point in points] for name, points in self.traces.items()},
        ]
        # Sorted: tables whose keys stand in another order are the same sweep.
        return hashlib.sha256(json.encode(all_of_it, order="sorted")).hexdigest()[:12]

    def point(self, run: int) -> int:
        """The combination of parameters that a run has. Raises ArgumentValueError for a run that is not there."""
        border.integer("run", run)
        if run >= self.runs:
            raise ArgumentValueError(f"run {run} is not there: {self.source} has runs 0 to {self.runs - 1}")
        return self.points[run // self.seeds]

    def seed(self, run: int) -> int:
        """The seed of a run."""
        return run % self.seeds

    def labels(self, run: int) -> dict[str, Label]:
        """The parameters of a run, as they are called."""
        return {name: setting.label for name, setting in self.grid.settings(self.point(run)).items()}

    def scenario(self, run: int) -> Scenario:
        """The scenario that a run plays. Raises ScenarioError for an impossible one, UsageError for a listing that
        cannot be read.
        """
        seed, settings = self.seed(run), self.grid.settings(self.point(run))
        varied = [*(f"{name} {label(setting.label)}" for name, setting in settings.items()), f"seed {seed}"]
        try:
            return structs.replace(
                self._scenario(settings, seed), title=f"{self.title or self.source} (run {run}: {', '.join(varied)})"
            )
        except ScenarioError as error:
            raise error.of(f"{self.source} (run {run})") from None

    def _scenario(self, settings: dict[str, Setting], seed: int) -> Scenario:
        # A copy: `put` changes it, and every run starts from what the file says.
        tables = copy.deepcopy(self.tables)
        for setting in settings.values():
            for path, value in setting.sets:
                put(tables, path, value)
        file = convert(tables, WorkloadFile)
        # Read without the workload first, which begins where these devices and steps end.
        played = complete(file, self.folder, self.source)
        if file.workload is None:
            return structs.replace(played, steps=_seeded(played.steps, seed))
        more = self._workload(file.workload, played, seed)
        both = structs.replace(file, step=[*_seeded(file.step, seed), *more])
        return complete(both, self.folder, self.source)

    def _workload(self, of: Workload, played: Scenario, seed: int) -> list[Step]:
        """The steps of the workload that goes on from the scenario's own."""
        return workload.steps(
            of,
            _after(played.devices, played.steps),
            seed,
            pageblock=played.guest.architecture.pageblock_size,
            trace=() if of.trace is None else self.traces[of.trace],
            loaded=any(isinstance(step, Load) for step in played.steps),
        )


def _after(devices: Sequence[DeviceConfig], steps: Sequence[Step]) -> list[DeviceConfig]:
    """The devices with the sizes that the last steps ask for."""
    wanted = {step.device: step.requested_size for step in steps if isinstance(step, Resize)}
    return [structs.replace(one, requested_size=wanted.get(one.id, one.requested_size)) for one in devices]


def _seeded(steps: Sequence[Step], seed: int) -> list[Step]:
    """The steps, with memory somewhere else for each seed; seed 0 leaves them as they are written."""
    if not seed:
        return list(steps)
    # Shifted above the numbers that files have for seeds: no use meets another's under another seed of the sweep.
    return [structs.replace(step, seed=step.seed + (seed << 32)) if isinstance(step, Use) else step for step in steps]


def load(path: str | Path) -> Sweep:
    """Read a sweep file (docs/sweep.md).

    Raises ScenarioError, one line with file, line and key, for an impossible sweep; UsageError when a file cannot be read.
    """
    border.instance("path", path, str, Path)
    return loads(read_bytes(path, limit=MAX_FILE), source=str(path), folder=Path(path).parent)


def loads(text: str | bytes, *, source: str = "sweep", folder: str | Path = ".") -> Sweep:
    """Read a sweep from a text; files that it names are looked for from `folder` on. See `load`."""
    border.instance("text", text, str, bytes)
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        made = _sweep(convert(parse(data), SweepFile), Path(folder), source)
        _try_all(made)
    except ScenarioError as error:
        if error.source is not None:
            raise
        raise error.of(source, line_of(error.where, data)) from None
    return made


def _sweep(file: SweepFile, folder: Path, source: str) -> Sweep:
    tables, tables_folder = _tables(file, folder)
    grid = Grid(parameters.read(file.parameters))
    names = [parameter.name for parameter in grid.parameters]
    compare = file.compare if file.compare is not None else next(iter(names), "")
    if compare and compare not in names:
        raise ScenarioError(none_of(compare, names) if names else "there are no parameters", where="compare")
    if not 1 <= file.seeds <= MAX_SEEDS:
        raise ScenarioError(f"{file.seeds} is not in 1..{MAX_SEEDS}", where="seeds")
    return Sweep(
        title=file.title,
        tables=tables,
        grid=grid,
        points=_points(file, grid),
        seeds=file.seeds,
        compare=compare,
        traces={name: trace.load(tables_folder / name) for name in _named(_TRACE, tables, grid)},
        folder=tables_folder,
        source=source,
        files=tuple(_files(file, folder, tables_folder, tables, grid, source)),
    )


def _files(
    file: SweepFile, folder: Path, tables_folder: Path, tables: dict[str, Any], grid: Grid, source: str
) -> Iterator[Path]:
    """The sweep file, its scenario, and what both name."""
    yield Path(source)
    if file.scenario is not None:
        yield folder / file.scenario
    for path in _FILE_KEYS:
        yield from (tables_folder / name for name in _named(path, tables, grid))


def _tables(file: SweepFile, folder: Path) -> tuple[dict[str, Any], Path]:
    """The tables that are varied, and what paths in them are relative to: the file's own, or those of the scenario it names."""
    own = {name: value for name in _TABLES if (value := getattr(file, name)) is not None}
    if file.scenario is None:
        return own, folder
    if both := [name for name in own if name != "workload"]:
        raise ScenarioError(f"{file.scenario} is the scenario: [{both[0]}] cannot stand next to it", where="scenario")
    path = folder / file.scenario
    data = read_bytes(path, limit=MAX_FILE)
    try:
        written = parse(data)
        convert(written, WorkloadFile)
    except ScenarioError as error:
        raise error.of(str(path), line_of(error.where, data)) from None
    return written | own, path.parent


def _points(file: SweepFile, grid: Grid) -> Sequence[int]:
    """The combinations to be played. Raises ScenarioError for more runs than there may be."""
    drawn = grid.size if file.sample is None else file.sample
    where = "parameters" if file.sample is None else "sample"
    if drawn < 1 or drawn > grid.size:
        raise ScenarioError(f"{drawn} combinations, and there are 1 to {grid.size}", where="sample")
    if drawn * file.seeds > MAX_RUNS:
        counts = " x ".join(str(len(parameter.settings)) for parameter in grid.parameters) or "1"
        total = f"{counts} combinations" if file.sample is None else f"{drawn} combinations"
        raise ScenarioError(
            f"{total} x {file.seeds} seeds are {drawn * file.seeds} runs, and at most {MAX_RUNS} are played: fewer values or "
            "seeds, or a sample of the combinations (sample = 1000)",
            where=where,
        )
    if drawn == grid.size:
        return range(grid.size)
    # range() of more has no len(), which sample() needs.
    if grid.size <= 1 << 62:
        # Always the same draw: --resume and the digest go by the combinations.
        return tuple(sorted(random.Random(0).sample(range(grid.size), drawn)))
    raise ScenarioError(f"{grid.size} combinations are more than a sample is drawn from, {1 << 62}", where="parameters")


_TRACE = "workload.trace"
_FILE_KEYS = (_TRACE, "guest.iomem", "guest.capture")
"""Keys that name a file."""


def _named(path: str, tables: dict[str, Any], grid: Grid) -> list[str]:
    """The texts that a key has, in the tables or by a parameter."""
    table, _, key = path.partition(".")
    settings = (setting for parameter in grid.parameters for setting in parameter.settings)
    values = [tables.get(table, {}).get(key), *(value for one in settings for at, value in one.sets if at == path)]
    return [value for value in dict.fromkeys(values) if isinstance(value, str)]


def _try_all(made: Sweep) -> None:
    """Refuse a key that no scenario has, and a value that it cannot have: each is set once, alone."""
    convert(made.tables, WorkloadFile)  # else a fault of the scenario would be taken for the first parameter's
    for parameter in made.grid.parameters:
        for setting in parameter.settings[:_TRIED]:
            tables = copy.deepcopy(made.tables)
            try:
                for path, value in setting.sets:
                    put(tables, path, value)
                convert(tables, WorkloadFile)
            except ScenarioError as error:
                told = ": ".join(filter(None, [error.where, error.reason]))
                raise ScenarioError(told, where=f"parameters.{parameter.name}") from None
    # The first combination, beyond its keys: sizes that do not fit one another show before anything is played.
    first = made._scenario(made.grid.settings(made.points[0]), 0)  # also where nothing is varied
    if not first.steps:
        raise ScenarioError("nothing is done: there is neither a step nor a workload", where="")


_TRIED = 1000
"""Values of a parameter: a range has more, which are alike."""
