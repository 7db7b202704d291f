"""Files, in and out: read whole, with a complaint fit for a person; written whole or not at all."""

import os
from pathlib import Path

from virtiomem.errors import UsageError
from virtiomem.units import GiB, MiB, format_size

MAX_SIZE = GiB
"""What comes up is shorter: a recording takes a fifth of it for each snapshot of a million memory blocks."""

_CHUNK = MiB


def read_bytes(path: str | Path, *, limit: int = MAX_SIZE) -> bytes:
    """A file's content.

    Raises UsageError when it cannot be read, or has more than `limit` bytes, as what never ends (/dev/zero) has.
    """
    content = bytearray()
    try:
        with Path(path).open("rb") as file:
            while len(content) <= limit and (chunk := file.read(_CHUNK)):
                content += chunk
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > limit:
        raise UsageError(f"{path}: longer than {format_size(limit)}")
    return bytes(content)


def check_writable(path: str | Path) -> None:
    """Raise UsageError when a file could not be written there; before the work whose outcome it is to hold."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path}: Is a directory")
    place = path if _is_special(path) else path.resolve().parent
    if not place.exists():
        raise UsageError(f"{path}: No such file or directory")
    if not os.access(place, os.W_OK):
        raise UsageError(f"{path}: Permission denied")


def write_whole(path: str | Path, data: bytes) -> None:
    """Replace a file's content in one step, so that no reader ever sees half of it; UsageError when it cannot be.

    A device or a pipe, such as /dev/stdout, is written to; a symbolic link keeps pointing where it does.
    """
    path = Path(path)
    try:
        if _is_special(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _is_special(path: Path) -> bool:
    """True for what is there and is neither a file nor a directory."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _replace(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same directory, then rename it."""
    import tempfile  # not above: it takes a tenth of every command's start, and most write nothing

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
