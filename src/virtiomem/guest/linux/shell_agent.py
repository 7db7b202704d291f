"""Our end of the line to the agent (agent.sh): one line out, one bounded answer in.

What comes back is untrusted: it must be framed with the number of the question, it has a time and a size limit, and
no part is interpreted here.
"""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from select import POLLIN, poll

from virtiomem import border
from virtiomem.errors import ArgumentError, BackendError, BackendTimeout, KernelPanic, ProtocolError
from virtiomem.guest.linux.serial_console import Console
from virtiomem.qemu import QemuProcess

REPLY_LIMIT = 16 * 1024 * 1024
"""Bytes an answer may have: a listing of a thousand resources and ten thousand memory blocks has a tenth of it."""
VERSION = 2

_HELLO = re.compile(rb"hello (\d{1,9}) ([\w.+~-]{1,64}) (\d{1,9})\n")
_END = re.compile(rb">(\d{1,9}) (\d{1,3})\n")
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Reply:
    """Output of a verb, whole lines, and its exit status."""

    text: str
    status: int


class ShellAgent:
    """The agent of one guest, with its console, which is read along.

    Raises BackendError when QEMU is gone, the kernel panics or the agent floods the line, BackendTimeout (with the
    console's last lines) when it does not answer, ProtocolError for an answer out of shape.
    """

    def __init__(self, qemu: QemuProcess, console: Console) -> None:
        self._qemu = qemu
        self._console = console
        self._line = qemu.sockets["agent"]
        self._terminal = qemu.sockets["console"]
        self._sequence = 0
        self._received = bytearray()
        self._poll = poll()
        for connection in (self._line, self._terminal):
            connection.setblocking(False)
            self._poll.register(connection, POLLIN)

    def wait_for_hello(self, timeout: float) -> tuple[str, int]:
        """Wait until the agent of a freshly started kernel speaks; returns the kernel's release and its page size."""
        self._received.clear()
        match = self._await_line(_HELLO, "booting", timeout)
        if int(match[1]) != VERSION:
            raise ProtocolError(f"the guest's agent speaks version {int(match[1])}, not {VERSION}")
        try:
            return match[2].decode(), border.page_size(int(match[3]))
        except ArgumentError as error:
            raise ProtocolError(f"the guest's agent: {error}") from None

    def ask(
        self, verb: str, *arguments: str, doing: str, timeout: float, each_second: Callable[[], None] = lambda: None
    ) -> Reply:
        """Let the agent run a verb and return its reply; `doing` names the action in error messages.

        `each_second` is called while there is no answer.
        """
        self._sequence += 1
        # An answer that came after its time-out must not be taken for this one's.
        self._received.clear()
        question = " ".join((str(self._sequence), verb, *arguments))
        if "\n" in question:
            raise ValueError(f"a question is one line: {question!r}")
        self._send(question.encode() + b"\n", doing)
        match = self._await_line(_END, doing, timeout, each_second)
        head = b"<%d\n" % self._sequence
        # Framed on both sides: a verb that prints a line like the end mark does not know the number.
        if int(match[1]) != self._sequence or not self._received.startswith(head):
            raise ProtocolError(
                f"the guest's agent answered out of order while {doing}: {bytes(self._received[:60])!r}"
            )
        text = self._received[len(head) : -len(match[0])].decode(errors="replace")
        return Reply(text if text != "\n" else "", int(match[2]))

    def nudge(self) -> None:
        """Wake up a sleeping guest by an empty line, which is not a question."""
        self._send(b"\n", "waking up")

    def follow(self, seconds: float, doing: str) -> None:
        """Let time pass while reading along."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left, doing)

    def _send(self, data: bytes, doing: str) -> None:
        # A question is sent whole: half a line would be answered by nothing.
        self._line.setblocking(True)
        try:
            self._line.sendall(data)
        except OSError:
            raise self._qemu.lost(doing) from None
        finally:
            self._line.setblocking(False)

    def _await_line(
        self, pattern: re.Pattern[bytes], doing: str, timeout: float, each_second: Callable[[], None] = lambda: None
    ) -> re.Match[bytes]:
        """Receive until the last line is whole and fits the pattern."""
        now = time.monotonic()
        until, next_call = now + timeout, now + 1
        while True:
            # Only the last line is looked at: to search all of it for each piece took minutes for a long answer.
            start = self._received.rfind(b"\n", 0, -1) + 1
            if match := pattern.fullmatch(self._received, start):
                return match
            left = until - time.monotonic()
            if left <= 0:
                raise BackendTimeout(
                    f"the guest did not answer within {timeout:g} s while {doing};"
                    f" the console's last lines: {self._console.last_words()}",
                    said=self._console.lines(),
                )
            # A second at most, so that `each_second` is called while the guest is silent.
            self._read(min(left, 1), doing)
            if time.monotonic() >= next_call:
                each_second()
                next_call = time.monotonic() + 1

    def _read(self, seconds: float, doing: str) -> None:
        """Wait for something to arrive, and take it."""
        for fd, _ in self._poll.poll(seconds * 1000):
            connection = self._line if fd == self._line.fileno() else self._terminal
            data = self._take(connection, doing)
            if connection is self._terminal:
                self._console.add(data)
            else:
                self._received += data
        if self._console.panicked:
            self._collect_panic()
            words = f"the guest's kernel panicked while {doing}: {self._console.last_words()}"
            raise KernelPanic(words, said=self._console.lines())
        # Looked at with each piece that arrives, so that a flood ends before it fills memory.
        if len(self._received) > REPLY_LIMIT:
            raise BackendError(f"the guest's agent sent more than {REPLY_LIMIT} bytes while {doing}")

    def _take(self, connection: socket.socket, doing: str) -> bytes:
        try:
            data = connection.recv(_CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            raise self._qemu.lost(doing)
        return data

    def _collect_panic(self) -> None:
        """Take the rest of what a panicking kernel prints: until it is silent, or for a second."""
        # Only the console is of interest now, and a closed line would end every poll at once.
        self._poll.unregister(self._line)
        until = time.monotonic() + 1.0
        while time.monotonic() < until and self._poll.poll(200):
            self._console.add(self._take(self._terminal, "panicking"))
