"""Files that are read: whole, with a complaint fit for a person. See `writing` for those that are written."""

import os
import sys
from typing import IO

from virtiomem.errors import UsageError
from virtiomem.text import shown
from virtiomem.units import GiB, MiB, format_size

MAX_SIZE = GiB
"""Limit for input files. A recording takes about 200 MiB per snapshot of a million memory blocks."""
MAX_LISTING = 64 * MiB
"""Limit for one listing: a million resources fit."""

_CHUNK = MiB

# Not pathlib's Path, which takes a tenth of the start of a command that only reads.
StrPath = str | os.PathLike[str]
"""The name of a file or directory."""


def read_bytes(path: StrPath, *, limit: int = MAX_SIZE) -> bytes:
    """A file's content.

    Raises UsageError when it cannot be read, or has more than `limit` bytes, as what never ends (/dev/zero) has.
    """
    refuse_empty(path)
    try:
        # Not `path` itself: open() would take a number for a file that is open already, and close it.
        with open(os.fspath(path), "rb") as file:  # noqa: PTH123 - see StrPath
            return _read(file, shown(path), limit)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise UsageError(f"{shown(path)}: {getattr(error, 'strerror', None) or error}") from None


def read_stdin(*, limit: int = MAX_SIZE) -> bytes:
    """Read all of standard input. Raises UsageError as `read_bytes` does."""
    try:
        return _read(sys.stdin.buffer, "standard input", limit)
    except OSError as error:
        raise UsageError(f"standard input: {error.strerror}") from None


def _read(file: IO[bytes], name: str, limit: int) -> bytes:
    """All of an open file that keeps the limit."""
    content = bytearray()
    # Not by the size that the system gives: it is 0 for files of /proc, for pipes and for /dev/zero.
    while len(content) <= limit and (chunk := file.read(_CHUNK)):
        content += chunk
    if len(content) > limit:
        raise UsageError(f"{name}: longer than {format_size(limit)}")
    return bytes(content)


def folder_of(path: StrPath) -> str:
    """Return the folder part of a path, or an empty string."""
    return os.path.dirname(os.fsdecode(path))  # noqa: PTH120 - see StrPath


def within(folder: StrPath, name: str) -> str:
    """The path of a file that is named from a folder on."""
    return os.path.join(os.fsdecode(folder), name)  # noqa: PTH118 - see StrPath


def refuse_empty(path: StrPath) -> None:
    """Raise UsageError for the name that Python takes for the current directory, and a shell makes of an unset variable."""
    if not str(path):
        raise UsageError("an empty file name")


def is_directory(path: StrPath) -> bool:
    """Return whether a directory exists; False for an impossible name."""
    return os.path.isdir(path)  # noqa: PTH112 - pathlib raises for a name that is too long


def is_there(path: StrPath) -> bool:
    """Return whether a file or directory exists; False for an impossible name."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib raises for a name that is too long
