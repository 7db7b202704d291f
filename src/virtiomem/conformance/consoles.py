"""The console of a guest as a connection: a socket is one, a terminal device is made one."""

import os
import socket
import termios
import tty
from select import select

from virtiomem.errors import UsageError
from virtiomem.qemu.qtest import ByteChannel
from virtiomem.text import quoted


def read_console(text: str) -> tuple[str, str]:
    """Read ``unix:PATH`` or ``pty:PATH``; raises UsageError for anything else."""
    kind, _, path = text.partition(":")
    if kind not in {"unix", "pty"} or not path or "\0" in path:
        raise UsageError(f"--console: {quoted(text)} is not unix:PATH or pty:PATH")
    return kind, path


def open_console(kind: str, path: str) -> ByteChannel:
    """Open what `read_console` has read; raises OSError."""
    if kind == "pty":
        return Terminal(path)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


class Terminal:
    """A terminal device, such as the pseudo terminal that a VMM makes for a serial port."""

    def __init__(self, path: str) -> None:
        """Open it, raw; raises OSError."""
        # O_NOCTTY: it must not become our terminal, or a guest's Ctrl-C would be a signal to us.
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self._seconds: float | None = None
        try:
            tty.setraw(self._fd)
        # Not an OSError, which callers expect of a path that is wrong.
        except termios.error as error:
            os.close(self._fd)
            raise OSError(*error.args) from None

    def settimeout(self, value: float | None, /) -> None:
        """Seconds for each of the others."""
        self._seconds = value

    def sendall(self, data: bytes, /) -> None:
        """Write all of it."""
        while data:
            # A terminal that nothing reads takes a few kilobytes and then blocks the writer.
            if not select([], [self._fd], [], self._seconds)[1]:
                raise TimeoutError
            data = data[os.write(self._fd, data) :]

    def recv(self, size: int, /) -> bytes:
        """Read some."""
        if not select([self._fd], [], [], self._seconds)[0]:
            raise TimeoutError
        return os.read(self._fd, size)

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
