"""The rows of a sweep: their columns, written to CSV or Parquet, and read again."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec
from msgspec import Struct, structs

from virtiomem.errors import UsageError
from virtiomem.text import shown

if TYPE_CHECKING:
    import pyarrow as pa

    from virtiomem.sweep.sweep import Sweep

_FIRST = ("sweep", "run", "seed")
"""The columns in front."""

Cell = str | int | float | bool | None
_GROUP = 65_536
"""Rows that are written to Parquet together."""


class Outcome(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Outcome of a run. Sizes in bytes, times in virtual seconds, the rest counts; of a run that failed only `error`
    means something.
    """

    release: str | None = None
    """The release of Linux that was modelled."""
    asked_back: int = 0
    """What the shrinks asked for: from where a device stood when it was first asked to shrink to where it was last asked to."""
    came_back: int = 0
    """What of it was unplugged before the device was asked to grow again, or the run ended."""
    peak: int = 0
    """The most that the devices had plugged at a time."""
    plugged: int = 0
    """What they have at the end."""
    wanted: int = 0
    """What they should have at the end."""
    settle_seconds: float = 0.0
    """The longest time from a resize until its device had that size. Requests take no virtual time: it is the driver's
    waits."""
    unsettled: int = 0
    """Resizes that were never reached, before the next or at all."""
    requests: int = 0
    """Requests that the drivers sent."""
    refused: int = 0
    """Steps that the guest or the device refused."""
    out_of_memory: int = 0
    """Uses of memory that the guest had no room for."""
    left_unmovable: int = 0
    """Memory blocks that stayed at the end since they hold what does not move."""
    left_no_room: int = 0
    """Those whose contents had nowhere to go."""
    left_refused: int = 0
    """Those that Linux refused to take offline for another reason."""
    left_blocks: str | None = None
    """Which ones all these are, by their numbers: ``40-43, 47``."""
    memmap: int = 0
    """What struct pages and the like cost at the peak."""
    crash_ranges: int = 0
    """Ranges of RAM in a crash header made at the end."""
    crash_header: int = 0
    """Bytes of that header."""
    error: str | None = None
    """Why the run failed."""


OUTCOMES = tuple(Outcome.__struct_encode_fields__)
_TYPES: dict[str, type] = {
    field.encode_name: str
    if field.name in ("release", "left_blocks", "error")
    else float
    if field.name.endswith("seconds")
    else int
    for field in structs.fields(Outcome)
}


def outcome_of(cells: Sequence[Cell]) -> Outcome:
    """An outcome of its cells, in the order of `OUTCOMES`."""
    return msgspec.convert(dict(zip(OUTCOMES, cells, strict=True)), Outcome)


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One run: its number, its seed, its parameters as they are called, what came of it."""

    run: int
    seed: int
    labels: tuple[Cell, ...]
    outcome: Outcome

    def cells(self, digest: str) -> list[Cell]:
        """The row as `Heading` has it."""
        return [digest, self.run, self.seed, *self.labels, *structs.astuple(self.outcome)]


@dataclass(frozen=True, slots=True)
class Heading:
    """The columns of a sweep's rows."""

    parameters: tuple[str, ...]
    types: tuple[type, ...]
    """Of the parameters' cells."""

    @classmethod
    def of(cls, sweep: "Sweep") -> Self:
        """The columns that a sweep's rows have."""
        found = []
        for parameter in sweep.grid.parameters:
            kinds = {type(setting.label) for setting in parameter.settings}
            # A column has one type: labels of several kinds are text, except that whole numbers go with others.
            kind = next(iter(kinds)) if len(kinds) == 1 else float if kinds == {int, float} else str
            found.append(kind)
        return cls(tuple(sweep.names), tuple(found))

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [*_FIRST, *self.parameters, *OUTCOMES]

    @property
    def kinds(self) -> list[type]:
        """Types of the columns, in order."""
        return [str, int, int, *self.types, *_TYPES.values()]


def is_parquet(path: str | Path) -> bool:
    """Return whether a file of that name holds Parquet, else CSV."""
    return Path(path).suffix.lower() in (".parquet", ".pq")


def refuse_other(path: Path) -> None:
    """Refuse to write over a file that does not begin as rows do: the default name may be that of another table. Raises
    UsageError.
    """
    begins = b"PAR1" if is_parquet(path) else ",".join(_FIRST).encode()
    # An empty file holds nothing that could be lost, and is written over.
    if path.is_file() and (head := _head(path, len(begins))) and head != begins:
        raise UsageError(f"{shown(path)}: something else than the rows of a sweep; give another name (--rows)")


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise UsageError(f"{shown(path)}: {error.strerror}") from None


def need_pyarrow() -> None:
    """Raise UsageError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'virtiomem[sweep]', or write CSV") from None


def write(file: IO[bytes], rows: Iterable[SweepRow], sweep: "Sweep", *, parquet: bool) -> None:
    """Write rows in order: the same rows are the same bytes, on every engine."""
    heading = Heading.of(sweep)
    cells = (row.cells(sweep.digest) for row in rows)
    if parquet:
        _write_parquet(file, cells, heading, sweep)
        return
    # newline="": else the module csv's own line ends would become others on some systems.
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    out = csv.writer(text, lineterminator="\n")
    out.writerow(heading.names)
    out.writerows(["" if cell is None else _plain(cell) for cell in row] for row in cells)
    text.detach()  # the file stays open: the caller closes it


def _plain(cell: Cell) -> Cell:
    """A cell as CSV has it: true and false as TOML writes them."""
    return str(cell).lower() if isinstance(cell, bool) else cell


def arrow_schema(heading: Heading) -> "pa.Schema":
    """The columns as Arrow's types."""
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return pa.schema([pa.field(name, types[kind]) for name, kind in zip(heading.names, heading.kinds, strict=True)])


def arrow_batch(rows: Sequence[Sequence[Cell]], heading: Heading) -> "pa.RecordBatch":
    """Rows as Arrow has them."""
    import pyarrow as pa

    columns = zip(*rows, strict=True) if rows else [[] for _ in heading.names]
    cast = [
        pa.array([None if cell is None else kind(cell) for cell in column], field.type)
        for column, kind, field in zip(columns, heading.kinds, arrow_schema(heading), strict=True)
    ]
    return pa.record_batch(cast, schema=arrow_schema(heading))


def _write_parquet(file: IO[bytes], rows: Iterator[Sequence[Cell]], heading: Heading, sweep: "Sweep") -> None:
    """Rows, and the sweep that they come from, which `run --from-sweep` plays again."""
    import pyarrow.parquet as pq

    from virtiomem.sweep.definition import METADATA, dumps

    schema = arrow_schema(heading).with_metadata({METADATA: dumps(sweep)})
    # By groups: a million rows are never in memory together.
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(rows, _GROUP)):
            writer.write_batch(arrow_batch(some, heading).replace_schema_metadata(schema.metadata))


class Rows:
    """The rows of a sweep that was played, in the order of its runs; kept in a file, read when they are asked for."""

    def __init__(self, path: Path, sweep: "Sweep") -> None:
        self.path = path
        self.sweep = sweep

    def __len__(self) -> int:
        return self.sweep.runs

    def __repr__(self) -> str:
        return f"<Rows: {len(self)} of {self.sweep.source}, in {self.path}>"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every row as a dictionary by column. Raises UsageError for a file that does not hold this sweep's rows."""
        heading = Heading.of(self.sweep)
        for row in read(self.path, self.sweep):
            yield dict(zip(heading.names, row.cells(self.sweep.digest), strict=True))

    def table(self) -> "pa.Table":
        """All rows as an Arrow table. Raises UsageError without pyarrow."""
        need_pyarrow()
        import pyarrow as pa

        heading = Heading.of(self.sweep)
        rows = (row.cells(self.sweep.digest) for row in read(self.path, self.sweep))
        batches = iter(lambda: list(islice(rows, _GROUP)), [])
        return pa.Table.from_batches([arrow_batch(some, heading) for some in batches], schema=arrow_schema(heading))


def read(path: str | Path, sweep: "Sweep") -> Iterator[SweepRow]:
    """The rows of a file, in order. Raises UsageError for a file that does not hold exactly the rows of this sweep."""
    heading = Heading.of(sweep)
    source = _parquet_cells(path, heading) if is_parquet(path) else _csv_cells(path, heading)
    count = 0
    for cells in source:
        row = _row(cells, path)
        # The digest covers the sweep and this version; number and parameters find rows that were moved or edited.
        if cells[0] != sweep.digest or row.run != count or list(row.labels) != list(sweep.labels(count).values()):
            raise UsageError(
                f"{shown(path)}: row {count} is of another sweep, or played by another version of virtiomem"
            )
        count += 1
        yield row
    if count != sweep.runs:
        raise UsageError(f"{shown(path)}: {count} rows, and the sweep has {sweep.runs} runs")


def _row(cells: Sequence[Cell], path: str | Path) -> SweepRow:
    """A row of a file's cells."""
    _, run, seed, *rest = cells
    labels, outcome = rest[: -len(OUTCOMES)], rest[-len(OUTCOMES) :]
    assert isinstance(run, int)
    assert isinstance(seed, int), path
    return SweepRow(run, seed, tuple(labels), outcome_of(outcome))


def _csv_cells(path: str | Path, heading: Heading) -> Iterator[list[Cell]]:
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, strict=True)
            if next(lines, None) != heading.names:
                raise UsageError(f"{shown(path)}: its columns are not those of this sweep's rows")
            for number, line in enumerate(lines):
                try:
                    yield [_typed(text, kind) for text, kind in zip(line, heading.kinds, strict=True)]
                except ValueError:
                    raise UsageError(f"{shown(path)}: row {number} is damaged") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{shown(path)}: {getattr(error, 'strerror', None) or error}") from None


def _typed(text: str, kind: type) -> Cell:
    if kind is bool:
        return {"true": True, "false": False}[text] if text in ("true", "false") else text
    if not text and kind is str:
        return None
    value: Cell = kind(text)
    return value


def parquet_metadata(path: str | Path, key: bytes) -> bytes:
    """Metadata of a Parquet file under a key. Raises UsageError."""
    need_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found: bytes | None = (pq.read_schema(path).metadata or {}).get(key)
    except OSError as error:
        raise UsageError(f"{shown(path)}: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise UsageError(f"{shown(path)}: not Parquet: {error}") from None
    if found is None:
        raise UsageError(f"{shown(path)}: no sweep wrote it")
    return found


def _parquet_cells(path: str | Path, heading: Heading) -> Iterator[list[Cell]]:
    need_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != heading.names:
                raise UsageError(f"{shown(path)}: its columns are not those of this sweep's rows")
            for batch in file.iter_batches():
                columns = [column.to_pylist() for column in batch.columns]
                yield from map(list, zip(*columns, strict=True))
    except OSError as error:
        raise UsageError(f"{shown(path)}: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise UsageError(f"{shown(path)}: not Parquet: {error}") from None
