"""Recorded request logs: what a real device was asked and what it answered, as JSON lines, gzipped or plain.

A log is either one recording (a header, then one operation a line) or a table of negotiations (what became of which
feature bits), one to a line and each on a fresh device.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from virtiomem.errors import UsageError
from virtiomem.wire.mem import Config

Length = Annotated[int, Meta(ge=0, le=1 << 16)]
"""Of a descriptor, in bytes; no recorder makes longer ones."""


class Seen(Struct, frozen=True, kw_only=True):
    """What the registers said after an operation."""

    cfg: Config
    status: int
    isr: int
    gen: int


class Sent(Struct, frozen=True, kw_only=True):
    """One chain and what came back in it; `out` and `data` are hexadecimal."""

    out: str
    out_lens: list[Length]
    in_lens: list[Length]
    data: str = field(name="in")
    used_len: int | None
    desc: str | None = None
    label: str | None = None


class Header(Seen, frozen=True, kw_only=True, tag_field="op", tag="header"):
    """The device, before and after it was brought up."""

    before: Seen
    offered: int
    accepted: int
    features_ok: bool
    queue_size: int = 128


class Batch(Seen, frozen=True, kw_only=True, tag_field="op", tag="batch"):
    """Chains made available together."""

    reqs: list[Sent]
    used: int


class Qmp(Seen, frozen=True, kw_only=True, tag_field="op", tag="qmp"):
    """A property set by the owner."""

    property: Literal["requested-size"]
    value: int
    result: dict[str, Any]


class DeviceReset(Seen, frozen=True, kw_only=True, tag_field="op", tag="device_reset"):
    """Status 0, then brought up again."""

    features_ok: bool = True


class SystemReset(Seen, frozen=True, kw_only=True, tag_field="op", tag="system_reset"):
    """The machine's reset, then brought up again."""

    before_init: Seen
    features_ok: bool = True


class MigrateStart(Seen, frozen=True, kw_only=True, tag_field="op", tag="migrate_start"):
    """From here on the device is busy."""

    migration: str = "active"


class MigrateCancel(Seen, frozen=True, kw_only=True, tag_field="op", tag="migrate_cancel"):
    """No longer."""

    migration: str = "cancelled"


class Sweep(Seen, frozen=True, kw_only=True, tag_field="op", tag="final_state_sweep"):
    """STATE of every usable block, as runs of [state, count], or of [count, state]."""

    state_runs_over_usable_blocks: list[tuple[int, int]]


class Negotiation(Seen, frozen=True, kw_only=True):
    """What became of the feature bits a driver wanted."""

    inaccessible: str = field(name="unplugged-inaccessible")
    wanted: int
    offered: int
    accepted: int
    features_ok: bool


Operation = Header | Batch | Qmp | DeviceReset | SystemReset | MigrateStart | MigrateCancel | Sweep
Line = Operation | Negotiation

_GZIP = b"\x1f\x8b"
_DECODER = msgspec.json.Decoder(Operation)
_NEGOTIATION = msgspec.json.Decoder(Negotiation)


def read(path: str | Path) -> Iterator[tuple[int, Line]]:
    """The lines of a log with their numbers, from 1; raises UsageError that names file and line."""
    started = False
    for number, line in enumerate(_lines(Path(path)), 1):
        if not line.strip():
            continue
        operation = _decode(line, f"{path}:{number}")
        if isinstance(operation, Header):
            started = True
        elif not started and not isinstance(operation, Negotiation):
            raise UsageError(f"{path}:{number}: no header before the first operation")
        yield number, operation


def _lines(path: Path) -> list[bytes]:
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return data.split(b"\n")


def _decode(line: bytes, where: str) -> Line:
    try:
        return (_NEGOTIATION if b'"wanted"' in line and b'"op"' not in line else _DECODER).decode(line)
    except msgspec.DecodeError as error:
        raise UsageError(f"{where}: no line of a request log: {error}") from None
