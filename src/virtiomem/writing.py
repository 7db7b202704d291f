"""Files that are written: whole, or not at all."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from virtiomem.errors import BackendError, UsageError
from virtiomem.files import StrPath, refuse_empty
from virtiomem.text import shown


def check_writable(path: StrPath, *, inputs: Iterable[StrPath] = ()) -> None:
    """Check, before the work, that its outcome can be written there. Raises UsageError.

    `inputs` are the files and directories that are read, ``-`` for standard input: none of them may be overwritten.
    """
    refuse_empty(path)
    path = Path(path)
    with _writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        if _is_special(path):
            # Asked without opening it: opening a pipe would wait for its reader, and closing it again would end that
            # reader.
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied")
            return
        target = _target(path)
        for source in inputs:
            if _holds(source, target):
                raise UsageError(f"{shown(path)}: would overwrite {shown(source)}; give another name")
        # A file is made and taken away again: only that shows that the directory may be written and the disk has room.
        _temporary(target).unlink()


def _holds(source: StrPath, target: Path) -> bool:
    """Return whether a source is this file under any name, or a directory that holds it."""
    try:
        # A shell's `< FILE` leaves no name: only the descriptor tells which file is read.
        if str(source) == "-":
            return os.path.samestat(os.fstat(sys.stdin.fileno()), target.stat())
        real = Path(os.path.realpath(source))
        # samefile() comes last: it finds hard links, and raises where the target does not exist yet.
        return target == real or (real.is_dir() and real in target.parents) or target.samefile(real)
    except (OSError, ValueError):  # nothing is there
        return False


def write_whole(path: StrPath, data: bytes) -> None:
    """Replace a file's content in one step, so that no reader ever sees half of it.

    A device or a pipe, such as /dev/stdout, is written to; a symbolic link keeps pointing where it does. Raises UsageError
    when no file can be of that name, BackendError when writing it fails, as on a full disk.
    """
    write_all({path: data})


def write_all(outputs: Mapping[StrPath, bytes]) -> None:
    """Write several files as `write_whole` does: all of them, or none."""
    staged: list[tuple[Path, Path]] = []
    try:
        for path, data in outputs.items():
            refuse_empty(path)
            with _writing(Path(path)):
                # A device or a pipe cannot be replaced by a file that was written next to it.
                if _is_special(Path(path)):
                    Path(path).write_bytes(data)
                else:
                    staged.append((temporary := _temporary(target := _target(Path(path))), target))
                    temporary.write_bytes(data)
        # Only now that all are written: a full disk leaves every old file as it was.
        for temporary, target in staged:
            with _writing(target):
                # mkstemp() lets only the owner read: it gets its rights before readers can find it.
                temporary.chmod(_mode(target))
                temporary.replace(target)
    finally:
        for temporary, _ in staged:
            # A file that was put in place has left this name.
            temporary.unlink(missing_ok=True)


@contextmanager
def written_whole(path: StrPath) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` when all is written, and is nowhere when that fails. See
    `write_whole`.
    """
    refuse_empty(path)
    path = Path(path)
    with _writing(path):
        if _is_special(path):
            with path.open("wb") as file:
                yield file
            return
        temporary = _temporary(target := _target(path))
        try:
            with temporary.open("wb") as file:
                yield file
            temporary.chmod(_mode(target))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def cannot_write(path: StrPath, error: OSError) -> UsageError | BackendError:
    """Return the exception for a failed write: UsageError for a name that cannot be written to, else BackendError."""
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
"""Errors that mean a wrong name. All others mean that the system could not write."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses into one line that names the file."""
    try:
        yield
    except BrokenPipeError:
        # Not the file's fault: the reader of a pipe is gone, which ends the command as it does for stdout.
        raise
    except OSError as error:
        raise cannot_write(path, error) from None


def _target(path: Path) -> Path:
    """Follow symbolic links to the file, which need not exist yet. Raises OSError for a loop of links."""
    try:
        # Strict at first: otherwise realpath() returns something for a loop of links, too.
        return Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """True for what is there and is neither a file nor a directory."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _temporary(path: Path) -> Path:
    """Make an empty file next to this one. Its name is short, because `path` may have the longest name there can be."""
    import tempfile  # not above: it takes a tenth of every command's start, and most write nothing

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".virtiomem-")
    os.close(handle)
    return Path(name)


def _mode(target: Path) -> int:
    """Rights of the file that is written: those of the one that it takes the place of, else a new file's."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
