"""A child process of the user's: a device, or a VMM. It is killed with its own children, and its last words are kept."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO

from virtiomem.errors import BackendError
from virtiomem.qemu.process import returncode_of, wait_for
from virtiomem.text import one_line, shown
from virtiomem.units import MiB

_LAST_WORDS = MiB
"""Bytes at the end of its output that are searched."""
LAST_LINES = 20
"""Lines that are kept of those."""
_REASON = re.compile(r" panicked at |ERROR: \w+Sanitizer|[Aa]ssertion .*failed")
"""First line of a failure report, as Rust, the sanitizers and C's assert() print it; details follow."""


class Child:
    """A program that runs in a session of its own, with what it says on standard error."""

    def __init__(self, words: list[str], *, stdin: int, stdout: int | None) -> None:
        """Start it; `stdin` and `stdout` as subprocess takes them, a `stdout` of None joins standard error.

        Raises BackendError when it cannot be started.
        """
        self.name = shown(words[0])
        # A file and not a pipe: it holds what is said however long nothing reads it, and the child never waits.
        self._said: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed with the child
        try:
            self.process = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                words,
                stdin=stdin,
                stdout=self._said if stdout is None else stdout,
                stderr=self._said,
                start_new_session=True,  # a Ctrl-C is ours to answer
            )
        except OSError as error:
            self._said.close()
            raise BackendError(f"{self.name}: {error.strerror}") from None

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that killed it."""
        return returncode_of(self.process)

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self.returncode is None

    def close(self) -> None:
        """Kill it and its children; harmless when repeated."""
        # It is reaped here alone: until then no other process can have its number.
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(
                    self.process.pid, signal.SIGKILL
                )  # its session is its own: a script may wait for what it started
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._said):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def end(self, seconds: float) -> str:
        """Say in words how the process ended, within a grace period; empty when it still runs."""
        code = wait_for(self.process, seconds)
        if code is None:
            return ""
        return f"died of signal {-code}" if code < 0 else f"exited with code {code}"

    def last_lines(self) -> list[str]:
        """At most `LAST_LINES` lines of what it said, each printable and clipped: from the reason on, if one shows,
        else the last.
        """
        end = self._said.seek(0, os.SEEK_END)
        # From the end, and by pread(), since the child writes at the position that a read would move.
        said = os.pread(self._said.fileno(), _LAST_WORDS, max(end - _LAST_WORDS, 0))
        lines = said.decode(errors="replace").strip().splitlines()
        start = next(
            (number for number, line in enumerate(lines) if _REASON.search(line)), max(len(lines) - LAST_LINES, 0)
        )
        return [one_line(line) for line in lines[start : start + LAST_LINES]]

    def last_words(self) -> str:
        """Return the reason or the last line that it printed; empty when it printed nothing."""
        lines = self.last_lines()
        if not lines or not _REASON.search(lines[0]):
            return lines[-1] if lines else ""
        return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
