"""QEMU's qtest protocol: poke a stopped machine's ports, memory and devices over a socket.

Lines of text both ways. A command is answered by ``OK``, perhaps with a value, or by an error; between answers QEMU may
say that an interrupt line was raised or lowered. `Decoder` is the protocol without a socket, `QTest` the socket around
it; a batch of commands is sent at once, so that it costs one round trip.

Any accelerator will do: distributions do not package the qtest accelerator, but ``-accel tcg -S`` serves as well.
Models: softmmu/qtest.c (v7.2).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError

TIMEOUT = 30.0
"""Seconds QEMU has for the answers to a batch."""

ARGUMENTS = ("-accel", "tcg", "-S", "-object", "qtest,id=qtest0,chardev=qtest")
"""What makes a `QemuProcess` with a socket named ``qtest`` speak this protocol."""

_CHUNK = 1 << 15
"""Bytes of commands under way at once: less than a socket holds, so that neither side waits for the other."""
_RECEIVE = 1 << 16
# 32 MiB of memory in hexadecimal: far above any read here, and an end to a line without one.
_MAX_LINE = 1 << 26
_MAX_IRQ_DIGITS = 4
"""An interrupt controller's inputs; the levels of all that were heard of are kept."""


class ByteChannel(Protocol):
    """The part of a socket's interface that is used; raises TimeoutError and OSError as a socket does."""

    def settimeout(self, value: float | None, /) -> None:
        """Seconds for each of the others."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""

    def recv(self, size: int, /) -> bytes:
        """Receive some; empty at the end."""

    def close(self) -> None:
        """Let go of it."""


class QtestCommand(NamedTuple):
    """One line to send, and how to read what follows ``OK``."""

    line: str
    value: Callable[[str], Any]


def no_value(text: str) -> None:
    """Reads the answer that has no value; raises ValueError for one that has."""
    if text:
        raise ValueError(text)


def number(width: int) -> Callable[[str], int]:
    """Return a reader of a number of `width` bytes."""

    def read_number(text: str) -> int:
        value = int(text, 16)
        if not 0 <= value < 1 << 8 * width:
            raise ValueError(text)
        return value

    return read_number


def _bytes(size: int) -> Callable[[str], bytes]:
    """Return a reader of `size` bytes."""

    def read_bytes(text: str) -> bytes:
        # The length first: bytes.fromhex() skips blanks and would take a shorter answer.
        if not text.startswith("0x") or len(text) != 2 + 2 * size:
            raise ValueError(text)
        return bytes.fromhex(text[2:])

    return read_bytes


_BYTE, _WORD, _LONG = map(number, (1, 2, 4))


def outb(port: int, value: int) -> QtestCommand:
    """Write a byte to an I/O port."""
    return QtestCommand(f"outb {port:#x} {value:#x}", no_value)


def outw(port: int, value: int) -> QtestCommand:
    """Write 16 bits to an I/O port."""
    return QtestCommand(f"outw {port:#x} {value:#x}", no_value)


def outl(port: int, value: int) -> QtestCommand:
    """Write 32 bits to an I/O port."""
    return QtestCommand(f"outl {port:#x} {value:#x}", no_value)


def inl(port: int) -> QtestCommand:
    """Read 32 bits from an I/O port."""
    return QtestCommand(f"inl {port:#x}", _LONG)


def readb(addr: int) -> QtestCommand:
    """Read a byte."""
    return QtestCommand(f"readb {addr:#x}", _BYTE)


def readw(addr: int) -> QtestCommand:
    """Read 16 bits."""
    return QtestCommand(f"readw {addr:#x}", _WORD)


def readl(addr: int) -> QtestCommand:
    """Read 32 bits."""
    return QtestCommand(f"readl {addr:#x}", _LONG)


def writeb(addr: int, value: int) -> QtestCommand:
    """Write a byte."""
    return QtestCommand(f"writeb {addr:#x} {value:#x}", no_value)


def writew(addr: int, value: int) -> QtestCommand:
    """Write 16 bits."""
    return QtestCommand(f"writew {addr:#x} {value:#x}", no_value)


def writel(addr: int, value: int) -> QtestCommand:
    """Write 32 bits."""
    return QtestCommand(f"writel {addr:#x} {value:#x}", no_value)


def read(addr: int, size: int) -> QtestCommand:
    """Read `size` bytes, at least one."""
    return QtestCommand(f"read {addr:#x} {size:#x}", _bytes(size))


def write(addr: int, data: bytes) -> QtestCommand:
    """Write bytes, at least one."""
    return QtestCommand(f"write {addr:#x} {len(data):#x} 0x{data.hex()}", no_value)


def irq_intercept_in(path: str) -> QtestCommand:
    """Have QEMU report the interrupt lines that lead into the device at a QOM path, such as ``ioapic``."""
    return QtestCommand(f"irq_intercept_in {path}", no_value)


class Irq(NamedTuple):
    """An interrupt line changed."""

    line: int
    raised: bool


class Decoder:
    """What QEMU says, without the socket: bytes in, answers (text) and `Irq` out."""

    def __init__(self, who: str = "QEMU") -> None:
        """`who` speaks, for messages."""
        self._who = who
        self._partial = bytearray()

    def feed(self, data: bytes) -> Iterator[str | Irq]:
        """Take bytes and yield what they complete; raises ProtocolError for what is not a qtest line."""
        # A bytearray that grows, and is only searched once a line ends: a long line would otherwise cost the square of
        # its length.
        self._partial += data
        lines: list[bytearray] = []
        if b"\n" in data:  # else the line goes on, and is not looked at again
            *lines, self._partial = self._partial.split(b"\n")
        if len(self._partial) > _MAX_LINE:
            raise ProtocolError(f"qtest: a line of more than {_MAX_LINE} bytes")
        for line in lines:
            yield self._decode(line)

    def _decode(self, raw: bytearray) -> str | Irq:
        line = raw.decode("ascii", "backslashreplace").rstrip("\r")
        match line.split(" "):
            case ["IRQ", "raise" | "lower" as change, number] if number.isdecimal() and len(number) <= _MAX_IRQ_DIGITS:
                return Irq(int(number), change == "raise")
            # A refusal is an answer too, kept in order; `_value` makes an error of it.
            case ["OK" | "ERR" | "FAIL", *_]:
                return line
        raise ProtocolError(f"qtest: {self._who} said {line[:80]!r}")


class QTest:
    """A qtest session on a connected socket.

    `irqs` holds the level of each interrupt line that changed, `raised` how often each rose.
    """

    def __init__(
        self,
        connection: ByteChannel,
        *,
        timeout: float = TIMEOUT,
        lost: Callable[[str], BackendError] | None = None,
        who: str = "QEMU",
    ) -> None:
        """Talk over `connection` with `who`, for messages; `lost` makes the error for a connection that closed."""
        self._socket = connection
        self._timeout = timeout
        self._lost = lost or (lambda doing: BackendError(f"{who} closed its qtest connection while {doing}"))
        self._who = who
        self._decoder = Decoder(who)
        self._heard: list[str] = []
        self.irqs: dict[int, bool] = {}
        self.raised: dict[int, int] = {}

    def do(self, command: QtestCommand) -> Any:
        """Run one command and return its value."""
        return self.run([command])[0]

    def run(self, commands: Sequence[QtestCommand]) -> list[Any]:
        """Run commands in order and return their values.

        Raises BackendError when QEMU is gone, BackendTimeout when it is silent, ProtocolError when it answers what no
        QEMU answers or does not know a command.
        """
        values: list[Any] = []
        for chunk in _chunks(commands):
            answers = self._converse("".join(f"{command.line}\n" for command in chunk).encode("ascii"), len(chunk))
            values += [_value(command, answer) for command, answer in zip(chunk, answers, strict=True)]
        return values

    def _converse(self, data: bytes, expected: int) -> list[str]:
        until = time.monotonic() + self._timeout
        try:
            # For sending as well: a QEMU that reads nothing would hold us up in sendall().
            self._socket.settimeout(self._timeout)
            self._socket.sendall(data)
            while len(self._heard) < expected:
                # Again for each read: a peer that drips bytes would otherwise have the whole time for each of them.
                self._socket.settimeout(_left(until))
                self._hear(self._socket.recv(_RECEIVE))
        except TimeoutError:
            raise BackendTimeout(f"{self._who} did not answer qtest within {self._timeout:g} s") from None
        except OSError:
            raise self._lost("answering qtest") from None
        # What goes beyond stays for the next batch, where it would show as a wrong answer.
        answers, self._heard = self._heard[:expected], self._heard[expected:]
        return answers

    def _hear(self, data: bytes) -> None:
        if not data:
            raise self._lost("answering qtest")
        for said in self._decoder.feed(data):
            if isinstance(said, Irq):
                self._note(said)
            else:
                self._heard.append(said)

    def _note(self, irq: Irq) -> None:
        # QEMU may say that a line is up which is up already: only an edge is an interrupt.
        if irq.raised and not self.irqs.get(irq.line):
            self.raised[irq.line] = self.raised.get(irq.line, 0) + 1
        self.irqs[irq.line] = irq.raised


def _left(until: float) -> float:
    """The seconds left; TimeoutError when no time is left, however much there is to read."""
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _chunks(commands: Sequence[QtestCommand]) -> Iterator[Sequence[QtestCommand]]:
    """Cut commands into pieces of about `_CHUNK` bytes."""
    start = size = 0
    for number, command in enumerate(commands):
        # A single longer command goes alone: `size` is 0 then.
        if size and size + len(command.line) >= _CHUNK:
            yield commands[start:number]
            start, size = number, 0
        size += len(command.line) + 1
    if start < len(commands):
        yield commands[start:]


def _value(command: QtestCommand, answer: str) -> Any:
    status, _, rest = answer.partition(" ")
    if status != "OK":
        raise ProtocolError(f"qtest: {command.line[:80]!r} was refused: {answer[:80]}")
    try:
        return command.value(rest)
    except ValueError:
        raise ProtocolError(f"qtest: {command.line[:80]!r} was answered {answer[:80]!r}") from None
