"""A sweep as bytes: for the workers that play its runs, and for the rows that say where they come from."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from virtiomem.errors import UsageError
from virtiomem.notation import NotationError, json_bytes, json_values
from virtiomem.sweep.parameters import Grid, Parameter, Setting
from virtiomem.sweep.rows import is_parquet, parquet_metadata
from virtiomem.sweep.sweep import Sweep, load
from virtiomem.sweep.trace import TracePoint

METADATA = b"virtiomem-sweep"
"""The key of a Parquet file's metadata that holds it."""


def dumps(sweep: Sweep) -> bytes:
    """Return a sweep as JSON, with everything in it except the listing or capture that its guest may start from."""
    all_of_it = {
        "title": sweep.title,
        "tables": sweep.tables,
        "parameters": [asdict(parameter) for parameter in sweep.grid.parameters],
        # All of them are a range, which says itself: a grid may have a million.
        "points": None if len(sweep.points) == sweep.grid.size else list(sweep.points),
        "seeds": sweep.seeds,
        "compare": sweep.compare,
        "traces": {name: [asdict(point) for point in points] for name, points in sweep.traces.items()},
        # Absolute: a worker may have been started elsewhere.
        "folder": str(sweep.folder.absolute()),
        "source": sweep.source,
    }
    return json_bytes(all_of_it)


def loads(text: bytes) -> Sweep:
    """Read what `dumps` returned. Raises UsageError."""
    try:
        raw: dict[str, Any] = json_values(text)
        grid = Grid(tuple(_parameter(one) for one in raw["parameters"]))
        return Sweep(
            title=raw["title"],
            tables=raw["tables"],
            grid=grid,
            points=range(grid.size) if raw["points"] is None else tuple(raw["points"]),
            seeds=raw["seeds"],
            compare=raw["compare"],
            traces={name: tuple(TracePoint(**point) for point in points) for name, points in raw["traces"].items()},
            folder=Path(raw["folder"]),
            source=raw["source"],
        )
    except (NotationError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"the sweep that the rows come from cannot be read: {error}") from None


def read(path: str | Path) -> Sweep:
    """Read the sweep that a file is, or whose rows it holds as Parquet. Raises UsageError."""
    if is_parquet(path):
        return loads(parquet_metadata(path, METADATA))
    return load(path)


def _parameter(raw: dict[str, Any]) -> Parameter:
    return Parameter(
        raw["name"],
        tuple(Setting(one["label"], tuple((path, value) for path, value in one["sets"])) for one in raw["settings"]),
    )
