"""The guest's console: kept for the reader, searched for a panic."""

import re
from contextlib import suppress
from typing import BinaryIO

from virtiomem.errors import BackendError, UsageError

KEPT = 64 * 1024
"""Bytes of the console that are remembered."""
FILE_LIMIT = 64 * 1024 * 1024
"""Bytes of the console that go to a file; a guest that prints forever must not fill a disk."""
SHOWN = 3
"""Lines of the console that an error message quotes."""
TRACE = 100
"""Lines of it that are kept with an error."""

_PANIC = b"Kernel panic - not syncing"
_STARVED = re.compile(
    rb"Out of memory: Killed process|Out of memory and no killable|vmemmap alloc failure|deadlocked on memory"
)
"""Messages of a kernel that is out of memory."""
_PREFIX = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")
"""The time, and with CONFIG_PRINTK_CALLER who prints."""
_CUT = b"\n[virtiomem: the console was cut here, after %d bytes]\n" % FILE_LIMIT


class Console:
    """Output of the guest; `file` receives a copy."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._room = FILE_LIMIT
        self._panicked = False
        self._new = b""
        """What was printed in this step: since the last `take`."""

    @property
    def starved(self) -> bool:
        """The kernel ran out of memory in this step."""
        return _STARVED.search(self._new) is not None

    @property
    def panicked(self) -> bool:
        """The kernel gave up."""
        return self._panicked

    def add(self, data: bytes) -> None:
        """Take what the guest printed."""
        # With the end of what came before: the words may arrive in two pieces.
        self._panicked = self._panicked or _PANIC in self._new[-len(_PANIC) :] + data
        # The end is kept: a panic stands there, and a guest may print without end.
        self._new = (self._new + data)[-KEPT:]
        if self._file is not None:
            self._copy(self._file, data)

    def take(self) -> list[str]:
        """The whole lines printed since the last call, of those still remembered; see `_readable`."""
        whole, newline, self._new = self._new.rpartition(b"\n")
        return _readable(whole + newline)

    def lines(self) -> list[str]:
        """The last lines of this step's output, a trace's worth."""
        return _readable(self._new)[-TRACE:]

    def last_words(self) -> str:
        """Return the output to quote in an error: the panic and the lines before it, or the last lines."""
        lines = _readable(self._new)
        panic = next((number for number, line in enumerate(lines) if _PANIC.decode() in line), len(lines) - 1)
        shown = lines[max(panic - SHOWN + 1, 0) : panic + 1]
        return " | ".join(shown) if shown else "nothing"

    def _copy(self, file: BinaryIO, data: bytes) -> None:
        if self._room <= 0:
            return
        data, self._room = data[: self._room], self._room - len(data)
        try:
            file.write(data if self._room > 0 else data + _CUT)
            file.flush()
        except OSError as error:
            # Dropped before it is said: a full disk is one error, not one for each piece that the guest prints.
            self._file = None
            with suppress(OSError):
                file.close()
            name = getattr(file, "name", "console")
            raise BackendError(f"{name}: {error.strerror}; the guest's console cannot be kept") from None


def _readable(data: bytes) -> list[str]:
    """Return the lines that are not blank, without time stamps and with unprintable characters replaced."""
    text = data.decode(errors="replace").replace("\r", "")
    clean = ("".join(c if c.isprintable() else "?" for c in _PREFIX.sub("", line)) for line in text.split("\n"))
    return [line for line in clean if line.strip()]


def open_file(path: str) -> BinaryIO:
    """The file that `Console` copies to; UsageError when it cannot be written."""
    try:
        return open(path, "wb", buffering=0)  # noqa: PTH123 - the console owns it
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
