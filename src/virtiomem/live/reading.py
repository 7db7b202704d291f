"""Read a file that describes a Linux for what it is; what only one kind needs is imported when there is one."""

import codecs
import os
from typing import TYPE_CHECKING, NamedTuple

from virtiomem.errors import UsageError
from virtiomem.files import MAX_LISTING, StrPath, is_directory, read_bytes, read_stdin
from virtiomem.live.capture import MAX_SIZE, Capture, Section, loads
from virtiomem.live.kinds.table import (
    CAPTURE,
    LACKING,
    LISTING,
    RECORDING,
    TAKEN,
    Kind,
    known,
    named,
    recognise,
    recognise_in_place,
)
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.packed import unpack
from virtiomem.text import shown
from virtiomem.units import format_size

if TYPE_CHECKING:
    from virtiomem.recording.values import Recording

_TELLING = 32
"""Bytes that tell a file that is read in place."""
_PLAIN = (CAPTURE, RECORDING, LISTING)
"""The usual kinds: that they were recognised need not be mentioned."""


class Input(NamedTuple):
    """Input that was read, and the kind it was recognised as."""

    kind: Kind
    capture: Capture
    """Empty for a recording: which of its snapshots is meant is the reader's business."""
    facts: tuple[Fact, ...] = ()
    recording: "Recording | None" = None


def source_of(path: StrPath) -> str:
    """Return the name of a file in messages; ``-`` is standard input."""
    return "standard input" if str(path) == "-" else str(path)


def load_any(path: StrPath, *, verb: str = "read", kind: str | None = None, step: int | None = None) -> Capture:
    """Read a file that describes a Linux's memory, as `read_any` does; a recording gives what its last snapshot holds.

    `verb` is the command that needs it, `step` the last one of a recording that counts (0: boot). Raises UsageError for
    a kind that has nothing for it, which says which command takes it, and for text of no kind that is known.
    """
    found = read_any(path, verb=verb, kind=kind)
    source = source_of(path)
    if found.recording is None:
        if step is not None:
            raise UsageError(f"--step {step}: {shown(source)} is not a recording")
        return usable(found, verb, source)
    from virtiomem.live.load import from_recording

    return from_recording(up_to(found.recording, step, source), source=source)


def up_to(recording: "Recording", step: int | None, source: str) -> "Recording":
    """Return a recording without what comes after a step; all of it for None. Raises UsageError for a step that it does
    not have.
    """
    from msgspec.structs import replace

    last = len(recording.steps)
    if step is not None and not 0 <= step <= last:
        raise UsageError(f"{source}: no step {step}, there are 0 (boot) to {last}")
    return recording if step is None else replace(recording, steps=recording.steps[:step])


def usable(found: Input, verb: str, source: str) -> Capture:
    """Return the input if the command can use its kind; raises UsageError that names a command which can."""
    kind, needs = found.kind, TAKEN.get(verb, ())
    if kind.gives and set(needs) <= set(kind.gives):
        return found.capture
    missing = " and ".join(LACKING[heading] for heading in needs) or "nothing of a capture"
    raise UsageError(f"{shown(source)} is {kind.words}{'' if kind.instead else f': {missing} in it'}; {kind.takers}")


def check_words(path: StrPath, wanted: str, *also: str) -> None:
    """Refuse a file that is surely of another kind than is `wanted`, or `also` read, in the words of `Kind`.

    Raises UsageError, which says what it is.
    """
    # What is not a file was read already, and is gone. Not Path.is_file(), which raises for a name that is too long.
    if not os.path.isfile(path):  # noqa: PTH113
        return
    kind = known(_unpacked(read_bytes(path), str(path)))
    if kind is not None and kind.words not in (wanted, *also):
        raise UsageError(f"{shown(path)} is {kind.words}, and not {wanted}; {kind.takers}")


def read_any(path: StrPath, *, verb: str = "read", kind: str | None = None) -> Input:
    """Read a file, or a folder, that describes a Linux's memory for what it is; ``-`` is standard input.

    `kind` says what it is; else its beginning does, and of several that it may be, the one that `verb` can use. Where
    `verb` needs a map, a text that nothing recognises is taken for a listing of /proc/iomem; that is the capture's only
    section, unread and byte for byte. Raises UsageError for a file that is damaged, or cannot be read.
    """
    source = source_of(path)
    # Before anything is read whole: a vmcore may be larger than memory, and a folder has no bytes.
    chosen = named(kind) if kind else _in_place(path)
    if chosen is not None and chosen.in_place:
        return _read_in_place(path, chosen)
    data = read_stdin() if str(path) == "-" else read_bytes(path)
    data = _unpacked(data, source)
    chosen = chosen or recognise(data, TAKEN.get(verb, ()))
    # Left for standard input and for packed files: the reader has to seek, or to open a folder.
    if chosen.in_place:
        raise UsageError(
            f"{shown(source)} is {chosen.words}: it is read from a file, unpacked, and not from {shown(source)}"
        )
    return _read(data, chosen, source)


def _unpacked(data: bytes, source: str) -> bytes:
    """Decode what gzip packed, or Windows wrote as UTF-16."""
    data = unpack(data, source=source, limit=MAX_SIZE)
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data
    try:
        return data.decode("utf-16").encode()
    except UnicodeError as error:
        raise UsageError(f"{shown(source)}: not UTF-16, though it begins so: {error}") from None


def _in_place(path: StrPath) -> Kind | None:
    """The kind of what is not read as a whole: a folder, a file that may be larger than memory."""
    if str(path) == "-":
        return None
    if is_directory(path):
        return named("folder")
    try:
        with open(os.fspath(path), "rb") as file:  # noqa: PTH123 - see StrPath
            # Of a pipe, the bytes that are looked at here would be lost to its reader.
            if not file.seekable():
                return None
            return recognise_in_place(file.read(_TELLING))
    except (OSError, ValueError):  # the reader reports it
        return None


def _read_in_place(path: StrPath, kind: Kind) -> Input:
    if (kind.magic and is_directory(path)) or (not kind.magic and not is_directory(path)):
        raise UsageError(f"{shown(path)} is {'a file' if not kind.magic else 'a folder'}, and not {kind.words}")
    found = kind.reader()(path)
    capture = Capture(
        found.sections, source=source_of(path), told=_told(kind, found, source_of(path)), at_least=found.at_least
    )
    return Input(kind, capture, found.facts)


def _told(kind: Kind, found: Brought, source: str) -> tuple[str, ...]:
    return tuple(f"{shown(source)}: {words}" for words in (f"read as {kind.words}", *found.remarks))


def _read(data: bytes, kind: Kind, source: str) -> Input:
    """Read what is in memory."""
    if kind.instead:
        return Input(kind, Capture({}, source=source))
    if kind is CAPTURE:
        return Input(kind, loads(data, source=source))
    if kind is RECORDING:
        from virtiomem.recording import json_file

        return Input(kind, Capture({}, source=source), (), json_file.loads(data, source=source))
    if len(data) > MAX_LISTING:
        raise UsageError(f"{shown(source)}: longer than {format_size(MAX_LISTING)}: no {kind.words.removeprefix('a ')}")
    text = data.decode("utf-8", "surrogateescape")
    # Byte for byte, also with Windows' line ends: the listing's own reader says with its line what is damaged.
    if kind is LISTING:
        return Input(kind, Capture({"proc/iomem": Section(text)}, source=source))
    found = kind.reader()(text.replace("\r\n", "\n").removeprefix("\ufeff"), source)
    return Input(kind, Capture(found.sections, source=source, told=_told(kind, found, source)), found.facts)
