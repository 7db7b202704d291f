"""A JSON peer on a socket (QMP or the guest agent), with bounds on everything it may do to us.

The qemu.qmp library speaks the protocol. Added here: a time limit on every exchange, a limit on the size of a message
and on unasked messages a second, checked shapes for every answer, and errors of one line that begin with the address.
A peer may be hostile: what it says is never shown unescaped, and no event of it is kept but as one bit.
"""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from qemu.qmp import QMPClient
from qemu.qmp.error import ProtocolError as PeerProtocolError
from qemu.qmp.error import QMPError
from qemu.qmp.message import Message
from qemu.qmp.protocol import ConnectError
from qemu.qmp.qmp_client import ExecuteError

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.units import MiB

MESSAGE_LIMIT = 4 * MiB
"""Bytes of one message: query-memory-devices of 256 devices is about 60 KiB."""
BURST_LIMIT = 2000
"""Messages a second that nobody asked for; QEMU throttles its frequent events to one a second each."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
CLOSE_SECONDS = 2.0
SYNC = "guest-sync-delimited"
DELIMITER = b"\xff"
"""What no JSON holds: before it lies what is not for us."""

Address = str | tuple[str, int]
"""A path of a unix socket, or host and port."""
Shape = TypeVar("Shape")

_SILENT = logging.getLogger("virtiomem.vm.silent")
"""Every failure is raised: the library's log would say it twice, and would write down what peers say."""
_SILENT.disabled = True


class Refused(Exception):  # noqa: N818 - an answer the caller decides on, not a failure of the peer
    """The peer understood a command and refused it."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        self.reason = reason
        super().__init__(reason)


def one_line(text: object, limit: int = 200) -> str:
    """A peer's text as one bounded line that cannot control a terminal."""
    line = " ".join(str(text).split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


class Peer:
    """A connected peer; `on_event` is called with an event's name, in the order they come."""

    def __init__(self, label: str, address: Address, *, on_event: Callable[[str], None] | None = None) -> None:
        self.label = label
        self._address = address
        self._client = _Client(on_event)
        self._failure: str | None = None

    @property
    def version(self) -> str:
        """What the greeting says: ``7.2.22``; empty when it says nothing of the kind."""
        greeting = self._client.greeting
        try:
            version: Any = greeting.QMP.version["qemu"] if greeting else None
            return ".".join(str(int(version[part])) for part in ("major", "minor", "micro")) if version else ""
        except (KeyError, TypeError, ValueError):
            return ""

    async def connect(self, *, greeting: bool = True, seconds: float | None = None) -> None:
        """Connect; with `greeting`, do QMP's handshake, else make sure that a guest agent hears us."""
        self._client.await_greeting = self._client.negotiate = greeting
        seconds = CONNECT_SECONDS if seconds is None else seconds
        try:
            await asyncio.wait_for(self._client.connect(self._address), seconds)
        except TimeoutError:
            raise BackendTimeout(f"{self.label}: {self._silence(seconds)}") from None
        except ConnectError as error:
            raise self._connect_error(error.exc) from None
        except AssertionError as error:  # the library's own check: it broke in the moment it stood
            raise await self._lost("", error) from None

    def _silence(self, seconds: float) -> str:
        """What a peer that let us connect did not say in time."""
        if not self._client.await_greeting:
            return f"no answer in {seconds:g} s: does qemu-ga run in the guest?"
        if self._client.greeting is not None:
            return f"no answer to qmp_capabilities in {seconds:g} s"
        return f"no greeting in {seconds:g} s: is another client connected? QEMU serves one per monitor"

    def _connect_error(self, cause: Exception) -> BackendError | ProtocolError:
        greeting = self._client.await_greeting
        if isinstance(cause, EOFError | BrokenPipeError | ConnectionResetError):
            return BackendError(
                f"{self.label}: it closed the connection before its {'greeting' if greeting else 'answer'}"
            )
        if isinstance(cause, OSError):
            return BackendError(f"{self.label}: cannot connect: {_why(cause)}")
        wrong = "does not speak QMP" if greeting else f"bad answer to {SYNC}"
        return ProtocolError(f"{self.label}: {wrong}: {one_line(_reason(cause))}")

    async def ask(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        shape: type[Shape],
        seconds: float | None = None,
    ) -> Shape:
        """Execute a command and return its answer as a `shape`.

        Raises Refused when the peer says no; BackendError, BackendTimeout or ProtocolError when it fails.
        """
        seconds = ANSWER_SECONDS if seconds is None else seconds
        try:
            answer = await asyncio.wait_for(self._client.execute(command, arguments), seconds)
        except TimeoutError:
            raise BackendTimeout(f"{self.label}: no answer to {command} in {seconds:g} s") from None
        except ExecuteError as error:
            raise Refused(error.error_class, one_line(error)) from None
        except (QMPError, OSError, EOFError) as error:
            raise await self._lost(command, error) from None
        try:
            return msgspec.convert(answer, shape)
        except msgspec.ValidationError as error:
            raise ProtocolError(f"{self.label}: bad answer to {command}: {one_line(error)}") from None

    async def _lost(self, command: str, error: Exception) -> BackendError | ProtocolError:
        """Why a command got no answer; the root cause comes out of the disconnect."""
        if isinstance(error, PeerProtocolError):
            return ProtocolError(f"{self.label}: bad answer to {command}: {one_line(error)}")
        if self._failure is None:
            cause = await _outcome(self._client.disconnect())
            self._failure = "it closed the connection" if cause is None else one_line(_reason(cause))
        return BackendError(f"{self.label}: connection lost: {self._failure}")

    async def close(self) -> None:
        """Disconnect; a peer that will not let go is dropped."""
        await _outcome(self._client.disconnect())
        self._failure = self._failure or "it is closed"


class _Client(QMPClient):
    """The library's client, with events reduced to their names and a limit on what nobody asked for."""

    def __init__(self, on_event: Callable[[str], None] | None) -> None:
        super().__init__(readbuflen=MESSAGE_LIMIT)
        self.logger = _SILENT
        self._on_event = on_event
        self._second = 0.0
        self._count = 0

    async def _establish_session(self) -> None:
        """Begin where both sides know to be: after QMP's handshake, or after an agent's answer to us."""
        if not self.await_greeting:
            await self._synchronise()
        await super()._establish_session()

    async def _synchronise(self) -> None:
        """Find a guest agent's answer to us behind whatever it had to say to an earlier client.

        The byte 0xFF makes the agent forget a command that was left half said (it complains of it, to nobody), and
        stands before the answer. Models: guest-sync-delimited in qga/qapi-schema.json (v7.2).
        """
        assert self._writer is not None
        token = secrets.randbelow(1 << 31)
        name = f"sync-{token}"
        question = {"execute": SYNC, "arguments": {"id": token}, "id": name}
        self._writer.write(DELIMITER + json.dumps(question).encode() + b"\n")
        await self._writer.drain()
        while (answer := _fields((await self._readline()).rpartition(DELIMITER)[2])).get("id") != name:
            self._meter()
        if "error" in answer:
            raise PeerProtocolError(f"refused: {_description(answer['error'])}")
        if answer.get("return") != token:
            raise PeerProtocolError("another number")

    def _cb_inbound(self, msg: Message) -> Message:
        """Log nothing; the library would format every message for that."""
        return msg

    _cb_outbound = _cb_inbound

    async def _on_message(self, msg: Message) -> None:
        """Take an event as its name; hand anything else to the library."""
        self._meter()
        name = msg.get("event")
        if name is None:
            await super()._on_message(msg)
        elif self._on_event is not None and isinstance(name, str):
            self._on_event(name)

    def _meter(self) -> None:
        """Count messages a second; too many are an endless stream."""
        now = asyncio.get_running_loop().time()
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        if self._count > BURST_LIMIT:
            raise PeerProtocolError(f"more than {BURST_LIMIT} messages in a second")


def _fields(line: bytes) -> dict[str, Any]:
    """The members of a JSON object; none when the line is anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _description(error: object) -> object:
    """The words of an error response; the response itself when it has none."""
    return error.get("desc", error) if isinstance(error, dict) else error


async def _outcome(disconnect: Awaitable[None]) -> Exception | None:
    """What a disconnect says of the connection's end; None for a clean one."""
    try:
        await asyncio.wait_for(disconnect, CLOSE_SECONDS)
    except (TimeoutError, EOFError):
        return None
    except Exception as error:  # noqa: BLE001 - the library re-raises whatever ended its reader task
        return error
    return None


def _why(cause: OSError) -> str:
    """The errno in words, which asyncio leaves out; as it stands when there is none (several addresses, a resolver's)."""
    if cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return cause.strerror or one_line(cause)


def _reason(error: BaseException) -> Any:
    """The words for an error that the library or json raised while reading."""
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "exc", None) or cause.__cause__, Exception):
        cause = inner
    with suppress(AttributeError):
        return cause.error_message  # type: ignore[attr-defined]
    match cause:
        case RecursionError():
            return "a message nested without end"
        case UnicodeDecodeError():
            return "bytes that are no text"
        case _ if "limit" in str(cause) and "chunk" in str(cause).lower():
            return f"a message above {MESSAGE_LIMIT // MiB} MiB"
        case _:
            return str(cause) or type(cause).__name__
