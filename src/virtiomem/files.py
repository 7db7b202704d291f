"""Files, in and out: read whole, with a complaint fit for a person; written whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virtiomem.errors import BackendError, UsageError
from virtiomem.text import shown
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
        raise UsageError(f"{shown(path)}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > limit:
        raise UsageError(f"{shown(path)}: longer than {format_size(limit)}")
    return bytes(content)


def check_writable(path: str | Path) -> None:
    """Raise UsageError when a file could not be written there; before the work whose outcome it is to hold."""
    path = Path(path)
    with _writing(path):
        place = path if _is_special(path) else _target(path).parent
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        if not place.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")


def write_whole(path: str | Path, data: bytes) -> None:
    """Replace a file's content in one step, so that no reader ever sees half of it.

    A device or a pipe, such as /dev/stdout, is written to; a symbolic link keeps pointing where it does. Raises UsageError
    when no file can be of that name, BackendError when writing it fails, as on a full disk.
    """
    path = Path(path)
    with _writing(path):
        if _is_special(path):
            path.write_bytes(data)
        else:
            _replace(_target(path), data)


def cannot_write(path: str | Path, error: OSError) -> UsageError | BackendError:
    """What to raise when the system refuses to write: whose fault it is depends on what it says."""
    kind = UsageError if error.errno in _WRONG_NAMES else BackendError
    return kind(f"{shown(path)}: {error.strerror}")


_WRONG_NAMES = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,  # a socket
    errno.EPERM,
    errno.EROFS,
}
"""What the system says of a name under which nothing can be written; all else is the system's own trouble."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses into one line that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from None


def _target(path: Path) -> Path:
    """The file that symbolic links lead to, whether it is there yet or not; a loop of them is an OSError."""
    try:
        return Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        return Path(os.path.realpath(path))


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
