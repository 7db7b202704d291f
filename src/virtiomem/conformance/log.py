"""Recorded request logs: what a real device was asked and what it answered, as JSON lines, gzipped or plain.

A log is either one recording (a header, then one operation per line) or a table of negotiations (what became of which
feature bits), one per line, each on a fresh device.
"""

import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta, Struct, field

from virtiomem.conformance.scripted_driver import ChainRequest
from virtiomem.device.board import MachineKind
from virtiomem.errors import UsageError
from virtiomem.files import read_bytes
from virtiomem.notation import NotationError, convert, json_values
from virtiomem.packed import lines
from virtiomem.units import MiB
from virtiomem.wire.mem import Config

Length = Annotated[int, Meta(ge=0, le=1 << 16)]
"""Of a descriptor, in bytes; no recorder makes longer ones."""


Descriptors = Annotated[int, Meta(ge=1, le=1 << 15)]
"""The size of a queue, within the specification's limit (2.7, Split Virtqueues)."""
Index = Annotated[int, Meta(ge=0, le=0xFFFF)]
"""A field of the available ring."""


class Observed(Struct, frozen=True, kw_only=True):
    """Registers of the device after an operation."""

    cfg: Config
    status: int
    isr: int
    gen: int
    size: int | None = None
    """What the VMM tells its user, in bytes."""


class Registers(TypedDict):
    """The fields of `Observed`, for what is made of them."""

    cfg: Config
    status: int
    isr: int
    gen: int
    size: int | None


class Sent(Struct, frozen=True, kw_only=True):
    """One chain and what came back in it; `out` and `data` are hexadecimal."""

    out: str
    out_lens: list[Length]
    in_lens: list[Length]
    data: str = field(name="in")
    used_len: int | None
    desc: str | None = None
    label: str | None = None

    def chain_request(self) -> ChainRequest:
        """Return what was sent; raises ValueError when `out` is not hexadecimal."""
        return ChainRequest(bytes.fromhex(self.out), tuple(self.out_lens), tuple(self.in_lens), self.desc)


class Header(Observed, frozen=True, kw_only=True, tag_field="op", tag="header"):
    """The device, before and after it was brought up."""

    before: Observed
    offered: int
    accepted: int
    features_ok: bool
    queue_size: Descriptors = 128
    """As the device proposes."""
    ring_size: Descriptors | None = None
    """As the driver made it, if that is something else."""
    qemu: str | None = None
    """The QEMU that answered; 7.2 when it is not said."""
    machine: MachineKind | None = None
    """Its machine; q35 when it is not said."""
    own_words: bool = False
    """It refuses in words of its own, not in QEMU's."""


class Batch(Observed, frozen=True, kw_only=True, tag_field="op", tag="batch"):
    """Chains made available together; `times`: a single one offered that often."""

    reqs: list[Sent]
    used: int
    times: Annotated[int, Meta(ge=1, le=1 << 15)] = 1
    order: list[int] | None = None
    """The order in which the device returned them, by number from 0; None: as they were made available."""

    def __post_init__(self) -> None:
        # It decides which answer belongs to which request, so that a wrong one would misplace them all.
        if self.order is not None and sorted(self.order) != list(range(len(self.reqs))):
            raise ValueError("`order` must name every chain of the batch once")

    @property
    def requests(self) -> int:
        """Number of requests: all chains, all times."""
        return len(self.reqs) * self.times


class QmpError(Struct, frozen=True, kw_only=True):
    """Why QEMU did not do it."""

    class_: str = field(name="class", default="GenericError")
    desc: str


class QmpReply(Struct, frozen=True, omit_defaults=True):
    """QMP's answer to a command: it returned, or it refused."""

    return_: dict[str, Any] | None = field(name="return", default=None)
    error: QmpError | None = None


class Qmp(Observed, frozen=True, kw_only=True, tag_field="op", tag="qmp"):
    """A property set by the owner."""

    name: Literal["requested-size"] = field(name="property")
    value: int
    result: QmpReply

    @property
    def refusal(self) -> str | None:
        """The words of a refusal; None when the property was set."""
        return None if self.result.error is None else self.result.error.desc


class DeviceReset(Observed, frozen=True, kw_only=True, tag_field="op", tag="device_reset"):
    """Status 0, then brought up again, with other features if `accepted` says so."""

    features_ok: bool = True
    accepted: int | None = None


class SystemReset(Observed, frozen=True, kw_only=True, tag_field="op", tag="system_reset"):
    """The machine's reset, then brought up again."""

    before_init: Observed
    features_ok: bool = True


class MigrateStart(Observed, frozen=True, kw_only=True, tag_field="op", tag="migrate_start"):
    """From here on the device is busy."""

    migration: str = "active"


class MigrateCancel(Observed, frozen=True, kw_only=True, tag_field="op", tag="migrate_cancel"):
    """No longer."""

    migration: str = "cancelled"


class AvailRing(Observed, frozen=True, kw_only=True, tag_field="op", tag="avail_ring"):
    """The driver says when it wants to be interrupted: the available ring's flags and event field."""

    flags: Index
    used_event: Index


class FinalStateSweep(Observed, frozen=True, kw_only=True, tag_field="op", tag="final_state_sweep"):
    """STATE of every usable block, as runs of [state, count], or of [count, state]."""

    state_runs_over_usable_blocks: list[tuple[int, int]]


class Negotiation(Observed, frozen=True, kw_only=True):
    """Result of a negotiation: what became of the feature bits a driver wanted."""

    inaccessible: str = field(name="unplugged-inaccessible")
    wanted: int
    offered: int
    accepted: int
    features_ok: bool


Operation = (
    Header | Batch | Qmp | DeviceReset | SystemReset | MigrateStart | MigrateCancel | AvailRing | FinalStateSweep
)
Line = Operation | Negotiation

MAX_LINE = 64 * MiB
"""Of a log, in bytes; a full queue of the longest chains is half as long."""
MAX_LINES = 2_000_000


class Writer:
    """A log in the making, gzipped."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        # Without a time, so that the same moves on the same device give the same file.
        self._file = gzip.GzipFile(fileobj=self._buffer, mode="wb", mtime=0)

    def write(self, line: Line) -> None:
        """Add a line."""
        self._file.write(msgspec.json.encode(line) + b"\n")

    def finish(self) -> bytes:
        """The file's content; nothing can be added afterwards."""
        self._file.close()
        return self._buffer.getvalue()


def dumps(operations: Iterable[Line]) -> bytes:
    """The content of a log file with these operations."""
    writer = Writer()
    for line in operations:
        writer.write(line)
    return writer.finish()


def read(path: str | Path) -> Iterator[tuple[int, Line]]:
    """The lines of a log with their numbers, from 1; raises UsageError that names file and line."""
    started = False
    raw = lines(read_bytes(path), source=str(path), longest=MAX_LINE, most=MAX_LINES)
    for number, line in enumerate(raw, 1):
        if not line.strip():
            continue
        operation = _decode(line, f"{path}:{number}")
        if isinstance(operation, Header):
            started = True
        elif not started and not isinstance(operation, Negotiation):
            raise UsageError(f"{path}:{number}: no header before the first operation")
        yield number, operation


def _decode(line: bytes, where: str) -> Line:
    try:
        values = json_values(line)
        # Lines of a table of negotiations have no `op`; what was wanted marks them.
        lone = isinstance(values, dict) and "wanted" in values and "op" not in values
        return convert(values, Negotiation) if lone else convert(values, Operation)  # type: ignore[arg-type]
    except NotationError as error:
        raise UsageError(f"{where}: not a line of a request log: {error}") from None
