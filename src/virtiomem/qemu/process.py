"""A QEMU process: started without a shell, heard to the end, and never outliving us.

Nothing of it lies on a disk. Every socket is one end of a pair that QEMU inherits (``-chardev socket,fd=N``), every
file we make for it is anonymous memory (`MemoryFile`), so there is no directory to clean and no path to guess or steal.

The kernel kills QEMU when we die, however we die (PR_SET_PDEATHSIG): strictly, when the *thread* that started it ends.
"""

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from select import POLLIN, poll
from types import TracebackType
from typing import Any, Self

from virtiomem.errors import BackendError
from virtiomem.units import MiB

BINARY = "qemu-system-x86_64"
PACKAGES = {BINARY: "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm"}
"""Debian's packages of QEMU."""

_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec a lookup could wait for a lock that another thread held at the fork.
_prctl = ctypes.CDLL(None, use_errno=True).prctl

_LAST_MOMENTS = 30.0
"""Seconds for the end of a QEMU that has closed a connection; on a busy machine it takes some."""
_MESSAGE_LINES = 20
_MAX_OUTPUT = 64 * MiB
"""Output kept until it is taken: far more than any resize of a terabyte makes."""
_LINE_COST = 64
"""Bytes that a line takes in addition to its text."""
_MAX_LINE = 4096
_CHUNK = 1 << 16
"""What a pipe holds."""


def returncode_of(process: subprocess.Popen[Any]) -> int | None:
    """Return the return code of a child, which is not reaped by this; None while it runs, negative: the signal that killed it.

    Until it is reaped its number cannot be another process's, whom a kill by that number would meet.
    """
    try:
        # WNOWAIT leaves it unreaped.
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    # Reaped already by subprocess, which has kept the code.
    except ChildProcessError:
        return process.returncode
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def wait_for(process: subprocess.Popen[Any], seconds: float) -> int | None:
    """Wait at most `seconds` for a child to end; return its return code, or None if it still runs. It is not reaped by this."""
    until = time.monotonic() + seconds
    while (code := returncode_of(process)) is None and time.monotonic() < until:
        time.sleep(0.01)
    return code


class MemoryFile:
    """Bytes that a child reads or writes as a file, by `path`, without their ever being on a disk."""

    def __init__(self, name: str, data: bytes) -> None:
        # Closed in every child but those that ask for it (pass_fds).
        self._fd = os.memfd_create(name, os.MFD_CLOEXEC)
        # A duplicate, which the file object may close; position and content are shared.
        with os.fdopen(os.dup(self._fd), "wb") as file:
            file.write(data)

    @property
    def path(self) -> str:
        """The name by which a process that inherits the descriptor opens the file."""
        return f"/dev/fd/{self._fd}"

    def fileno(self) -> int:
        """The descriptor to hand on."""
        return self._fd

    def read(self, limit: int) -> bytes:
        """The first `limit` bytes of what is in it now: a child may have written."""
        # pread(), for the position stands behind what was written here.
        return os.pread(self._fd, limit, 0)

    def close(self) -> None:
        """Give the memory back (once every child has closed it, too)."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class QemuProcess:
    """One running QEMU.

    `sockets` names the character devices to make: each is given to QEMU as ``-chardev socket,id=NAME`` (to be used as
    ``-mon chardev=NAME``, ``-serial chardev:NAME``, ``-qtest chardev:NAME``), and `self.sockets[NAME]` is our end.

    Raises BackendError when the program cannot be started; what QEMU itself finds wrong shows as its death.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        binary: str = BINARY,
        sockets: Sequence[str] = (),
        files: Sequence[MemoryFile] = (),
    ) -> None:
        # A pair has no path: no other program can connect, and nothing is left behind when we die.
        pairs = {name: socket.socketpair() for name in sockets}
        self.sockets = {name: ours for name, (ours, _) in pairs.items()}
        self.command = [binary, *arguments]
        for name, (_, theirs) in pairs.items():
            self.command += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno() for _, theirs in pairs.values()] + [file.fileno() for file in files],
                start_new_session=True,  # a Ctrl-C is ours to answer
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 - one prctl(), nothing that takes a lock
            )
        except OSError as error:
            self._close_sockets()
            raise BackendError(_start_failure(binary, error)) from None
        finally:
            for _, theirs in pairs.values():
                # Also in the parent: while a copy of QEMU's end is open here, the end of QEMU would not show on ours.
                theirs.close()
        assert self._process.stderr is not None
        self._closed = False
        self.output = Output(self._process.stderr.fileno())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while QEMU runs; negative: the signal that killed it."""
        return returncode_of(self._process)

    def wait(self, seconds: float) -> int | None:
        """Wait at most `seconds` for QEMU to end; return its return code, or None if it still runs."""
        return wait_for(self._process, seconds)

    def lost(self, doing: str) -> BackendError:
        """Return the error that says how QEMU ended, for a caller whose socket has closed."""
        # A socket closes before the process has ended: without waiting its exit code would be unknown.
        code = self.wait(_LAST_MOMENTS)
        if code is None:
            return BackendError(f"QEMU closed its connection while {doing}, yet it runs (process {self.pid})")
        how = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        why = self._last_words(code)
        return BackendError(f"QEMU {how} while {doing}" + (f": {why}" if why else ""))

    def _last_words(self, code: int) -> str:
        """QEMU's last message, if it explains the exit; ignored when a signal killed QEMU."""
        # A QEMU that was killed had said whatever it said long before; one that aborts prints the assertion last.
        if code < 0 and code != -signal.SIGABRT:
            return ""
        # The last, for QEMU's first complaints are mostly warnings.
        if said := self.output.messages():
            return said[-1]
        silent = f"{self.command[0]} said nothing" if self.command[0] != BINARY else ""
        return (self.output.complaint() if code > 0 else "") or silent

    def close(self) -> None:
        """Kill QEMU, with what its program may have started, and reap it; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its session is its own: a script may wait for the QEMU it started
        # Only now: its number may belong to another process once it is reaped.
        self._process.wait()
        self.output.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._close_sockets()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _close_sockets(self) -> None:
        for ours in self.sockets.values():
            ours.close()


class Output:
    """What QEMU writes on standard error, line by line: its messages and its trace.

    A thread reads along so that QEMU never waits for us; `take` reads what is there first, so that a line written
    before an answer on another socket is never missed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # The lock is held while reading: a read that waited would keep `take` out.
        os.set_blocking(fd, False)
        self._lock = threading.Lock()
        self._partial = b""
        self._lines: list[str] = []
        self._messages: deque[str] = deque(maxlen=_MESSAGE_LINES)
        self._complaint = ""
        self._kept = 0
        self._overflow = False
        # Closing a descriptor does not end a poll() on it; a byte in this pipe does.
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._follow, name="qemu-output", daemon=True)
        self._thread.start()

    def take(self) -> list[str]:
        """All lines since the last call; BackendError when there were too many to keep."""
        with self._lock:
            self._read()
            if self._overflow:
                raise BackendError(f"QEMU wrote more than {_MAX_OUTPUT // MiB} MiB in one step")
            lines, self._lines, self._kept = self._lines, [], 0
        return lines

    def messages(self) -> list[str]:
        """QEMU's last own messages (``qemu-system-x86_64: …``), oldest first, without the program's name."""
        with self._lock:
            self._read()
            return list(self._messages)

    def complaint(self) -> str:
        """The last line of the form ``program: message``, of whatever program; empty when no line has it."""
        with self._lock:
            self._read()
            return self._complaint

    def close(self) -> None:
        """Stop reading."""
        if self._thread.is_alive():
            os.write(self._woken, b"x")
            self._thread.join()
        for fd in (self._wake, self._woken):
            if fd >= 0:
                os.close(fd)
        self._wake = self._woken = -1

    def _follow(self) -> None:
        waiting = poll()
        waiting.register(self._fd, POLLIN)
        waiting.register(self._wake, POLLIN)
        while self._wake not in dict(waiting.poll()):
            with self._lock:
                if not self._read():
                    return

    def _read(self) -> bool:
        """Read what is there; False at the end. What comes meanwhile is left: a program may write without end."""
        # A pipe holds one chunk; the second read takes what was written while the first was made.
        for _ in range(2):
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._add(data)
        return True

    def _add(self, data: bytes) -> None:
        *whole, rest = (self._partial + data).split(b"\n")
        # Cut as it grows: a line without an end must not be kept whole.
        self._partial = rest[:_MAX_LINE]
        for raw in whole:
            line = raw[:_MAX_LINE].decode(errors="replace")
            program, colon, message = line.partition(": ")
            if colon:
                self._complaint = line
            # QEMU begins each of its messages with the name of its program; its trace has no colon with a blank.
            if colon and "qemu" in program:
                self._messages.append(message)
            # An empty line costs memory as well: a million of them are 64 MB.
            self._kept += len(line) + _LINE_COST
            if self._kept > _MAX_OUTPUT:
                self._overflow = True
                # All at once: `take` refuses what has a gap, so what is left would never be read.
                self._lines, self._kept = [], 0
            self._lines.append(line)


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Return a function to run between fork and exec: it has the child killed when the parent ends, or exits if it has."""

    def ask() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before prctl() asked: then the signal never comes.
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _start_failure(binary: str, error: OSError) -> str:
    if Path(binary[max(binary.find("/"), 0) :]).is_socket():  # whatever stands in front of its path
        return f"{binary}: not a program: a QEMU of our own is started, and one that runs is left alone"
    if isinstance(error, FileNotFoundError):
        if binary in PACKAGES:
            return f"{binary}: not found (Debian package {PACKAGES[binary]})"
        return f"{binary}: {error.strerror} (Debian package {PACKAGES[BINARY]} has {BINARY})"
    return f"{binary}: {error.strerror}"
