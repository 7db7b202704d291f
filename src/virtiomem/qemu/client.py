"""The qemu.qmp library's client with bounds: on message size, on messages that were not asked for, on disconnecting."""

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from ssl import SSLContext
from typing import Any

from qemu.qmp import QMPClient
from qemu.qmp.error import ProtocolError as PeerProtocolError
from qemu.qmp.message import Message

from virtiomem.text import shown
from virtiomem.units import MiB

MESSAGE_LIMIT = 4 * MiB
"""Bytes of one message: query-memory-devices of 256 devices is about 60 KiB."""
BURST_LIMIT = 2000
"""Messages a second that were not asked for; QEMU throttles its frequent events to one a second each."""
CLOSE_SECONDS = 2.0
SYNC = "guest-sync-delimited"
DELIMITER = b"\xff"
"""A byte that occurs in no JSON; everything before it belongs to an earlier client."""

OnEvent = Callable[[str, object], None]
"""Takes an event's name and its data, which may be anything."""

_SILENT = logging.getLogger("virtiomem.qemu.silent")
"""Every failure is raised: the library's log would say it twice, and would write down what peers say."""
_SILENT.disabled = True


class Client(QMPClient):
    """The library's client; an event is handed on at once, and what was not asked for is limited."""

    def __init__(self, on_event: OnEvent | None, *, burst: int | None = None) -> None:
        super().__init__(readbuflen=MESSAGE_LIMIT)
        self.logger = _SILENT
        self._on_event = on_event
        self._burst = BURST_LIMIT if burst is None else burst
        self._second = 0.0
        self._count = 0

    async def _do_connect(self, address: Any, ssl: SSLContext | None = None) -> None:
        """Connect; a socket that was given to us is closed where an interrupt came before a stream took it."""
        try:
            await super()._do_connect(address, ssl)
        except BaseException:
            # The library owns a socket only once its stream does: until then closing is left to us.
            if isinstance(address, socket.socket):
                address.close()
            raise

    async def _establish_session(self) -> None:
        """Begin the session after QMP's handshake, or after a guest agent's answer to our synchronisation."""
        # Here, since a loop is running for certain and the library's reader has not started.
        asyncio.get_running_loop().set_exception_handler(_handle)
        if not self.await_greeting:
            # Before the library's reader runs: an agent that speaks first, or closes at once, is then an error of one
            # line and not one of the library's assertions.
            await self._synchronise()
        await super()._establish_session()

    async def _synchronise(self) -> None:
        """Find a guest agent's answer to us behind whatever it had to say to an earlier client.

        The byte 0xFF makes the agent discard an incomplete command (the error that it returns for that is skipped), and
        precedes the answer. Models: guest-sync-delimited in qga/qapi-schema.json (v7.2).
        """
        assert self._writer is not None
        # At random, so that an answer to an earlier client is not taken for ours.
        token = secrets.randbelow(1 << 31)
        name = f"sync-{token}"
        question = {"execute": SYNC, "arguments": {"id": token}, "id": name}
        self._writer.write(DELIMITER + json.dumps(question).encode() + b"\n")
        await self._writer.drain()
        # The agent serves one client after another on the same channel: answers to an earlier one may still be in it.
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

    async def _negotiate(self) -> None:
        """Leave QMP's negotiation mode; unlike the library's method, raise an error with words for a wrong answer."""
        await self._send(self.make_execute_msg("qmp_capabilities"))
        reply = await self._recv()
        if "error" in reply:
            raise PeerProtocolError(f"qmp_capabilities was refused: {_description(reply['error'])}")
        if "return" not in reply:
            raise PeerProtocolError(f"it answered qmp_capabilities with {shown(dict(reply))}")

    async def _on_message(self, msg: Message) -> None:
        """Pass an awaited answer to the library and an event to the listener; count everything that was not awaited."""
        name, number = msg.get("event"), msg.get("id")
        # Whatever else comes is counted and not handed on: the library keeps every event in a queue without a limit.
        if name is None and isinstance(number, str) and number in self._pending:
            await super()._on_message(msg)
            return
        self._meter()
        if self._on_event is not None and isinstance(name, str):
            self._on_event(name, msg.get("data"))
        elif "error" in msg and "id" not in msg:  # it could not read what we said
            raise PeerProtocolError(f"it says, unasked: {_description(msg['error'])}")

    def _meter(self) -> None:
        """Count messages per second; raise when there are more than `burst`."""
        now = asyncio.get_running_loop().time()
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        # A peer that never stops would keep the event loop from everything else.
        if self._count > self._burst:
            raise PeerProtocolError(f"more than {self._burst} messages in a second")


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore the exceptions of the library's tasks after an interrupted disconnect; our own tasks are all awaited."""
    # By its words, as there is no other mark: the library gathers its tasks, and a disconnect that was cut short leaves
    # that future with an exception.
    if not context["message"].startswith("_GatheringFuture exception was never retrieved"):
        loop.default_exception_handler(context)


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


async def outcome(disconnect: Coroutine[Any, Any, None]) -> Exception | None:
    """Return the error of a disconnect; None for a clean one, and for one that takes too long.

    A cancellation waits for it, too: the library's tasks would complain of what they ended with.
    """
    # As a task of its own: awaited directly, a cancellation would cut the disconnect short.
    leaving = asyncio.create_task(disconnect)
    try:
        await asyncio.wait([leaving], timeout=CLOSE_SECONDS)
    except asyncio.CancelledError:
        await asyncio.wait([leaving], timeout=CLOSE_SECONDS)
        raise
    finally:
        error = taken(leaving)
    return error


def taken(task: asyncio.Task[Any]) -> Exception | None:
    """Return the exception that ended a task; a task that is still running is cancelled."""
    # cancel() is False for a task that has ended: only then there is an exception to take.
    if task.cancel() or task.cancelled():
        return None
    error = task.exception()
    # EOFError is how the reader learns that the peer has closed, which is no failure while leaving.
    return error if isinstance(error, Exception) and not isinstance(error, EOFError) else None


def reason(error: BaseException) -> Any:
    """The words for an error that the library or json raised while reading."""
    cause: BaseException = error
    # The library wraps the cause in `exc` or chains it, depending on where it was raised.
    while isinstance(inner := getattr(cause, "exc", None) or cause.__cause__, Exception):
        cause = inner
    with suppress(AttributeError):
        return cause.error_message  # type: ignore[attr-defined]
    match cause:
        case RecursionError():
            return "a message nested without end"
        case UnicodeDecodeError():
            return "bytes that are not text"
        # Python's own refusal of a number of more than 4300 digits, whose words advise a setting that no user has.
        case ValueError() if "int_max_str_digits" in str(cause):
            return "a number of thousands of digits"
        case _ if "limit" in str(cause) and "chunk" in str(cause).lower():
            return f"a message above {MESSAGE_LIMIT // MiB} MiB"
        case _:
            return str(cause) or type(cause).__name__
