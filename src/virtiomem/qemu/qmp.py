"""QMP for synchronous callers: the bounded client behind plain calls with a time limit, and checked answers.

The event loop lives in here and turns only while a call waits.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from qemu.qmp import ExecInterruptedError, ExecuteError, StateError

from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError
from virtiomem.qemu import validation
from virtiomem.qemu.client import Client, outcome, reason
from virtiomem.qemu.shapes import Version
from virtiomem.qemu.validation import Shape, ValueKind

TIMEOUT = 60.0
"""Seconds QEMU has for an answer; it is busy only while it handles something for the guest."""
MAX_EVENTS = 1000
"""Most events that are kept until they are taken; beyond that the oldest are dropped."""
BURST_LIMIT = 100_000
"""Unasked messages allowed per second: the loop only turns while a call waits, and events gather in between."""

_GONE = (EOFError, OSError, ExecInterruptedError, StateError, AssertionError)
"""What the library raises when the connection has closed; the last is its own check, when that is in the moment it stood."""

Result = TypeVar("Result")


class QmpEvent(NamedTuple):
    """An event of QEMU; `data` is empty if it is not an object."""

    name: str
    data: dict[str, Any]


class QmpSession:
    """A QMP session on a connected socket.

    Raises BackendTimeout when QEMU does not answer in time, BackendError when it is gone, and ProtocolError when it
    answers what no QEMU answers.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        timeout: float = TIMEOUT,
        lost: Callable[[str], BackendError] | None = None,
    ) -> None:
        """`lost` makes the error for a connection that closed while doing something: it may know how QEMU ended."""
        self._timeout = timeout
        self._lost = lost or (lambda doing: BackendError(f"QEMU closed its QMP connection while {doing}"))
        self._connection = connection
        self._during = ""
        self._runner = asyncio.Runner()
        self._client = Client(self._on_event, burst=BURST_LIMIT)
        self._events: deque[QmpEvent] = deque(maxlen=MAX_EVENTS)
        self._arrived = asyncio.Event()
        self._open = True
        try:
            self._run(self._client.connect(connection), "the greeting")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Name what is under way, such as ``playing resize``, in errors of a QEMU that is silent or gone."""
        self._during = doing
        try:
            yield
        finally:
            self._during = ""

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> None:
        """Run a command; DeviceError, in QEMU's words, when QEMU refuses it."""
        self._run(self._client.execute(command, arguments), command)

    def ask(
        self, command: str, arguments: dict[str, Any] | None = None, *, shape: type[Shape] | ValueKind[Shape]
    ) -> Shape:
        """Run a command and return its answer as a `shape`; ProtocolError when it does not fit."""
        answer = self._run(self._client.execute(command, arguments), command)
        try:
            return validation.read(answer, shape)
        except validation.Unsound as error:
            raise ProtocolError(f"QEMU's answer to {command}: {error}") from None

    def send_fd(self, name: str, fd: int) -> None:
        """Give QEMU a file descriptor, to be used as ``fd:NAME``; ours stays open."""
        # A descriptor rides on a byte; JSON allows a blank between two messages.
        socket.send_fds(self._connection, [b" "], [fd])
        self.execute("getfd", {"fdname": name})

    def version(self) -> str:
        """QEMU's version, such as ``7.2.22``."""
        return str(self.ask("query-version", shape=Version))

    def wait_for(self, *names: str, timeout: float) -> QmpEvent:
        """The next event with one of these names; BackendTimeout when none comes in time."""
        event = self.next_event(*names, timeout=timeout)
        if event is None:
            raise BackendTimeout(f"QEMU sent no event {' or '.join(names)} within {timeout:g} s")
        return event

    def next_event(self, *names: str, timeout: float) -> QmpEvent | None:
        """The next event with one of these names, one that was not taken yet included; None when none comes in time."""
        until = time.monotonic() + timeout
        late = False
        while True:
            while self._events:
                event = self._events.popleft()
                if event.name in names:
                    return event
            if late:
                return None
            # After the queue is empty and before waiting; the loop does not turn in between.
            self._arrived.clear()
            try:
                left = max(until - time.monotonic(), 0.0)
                self._run(self._arrived.wait(), f"with event {' or '.join(names)}", timeout=left)
            except BackendTimeout:
                late = True  # it may have come in the turn in which time was up

    def forget_events(self) -> None:
        """Drop the events that were not taken."""
        self._events.clear()

    def close(self) -> None:
        """Leave; harmless when QEMU is gone or when repeated."""
        if self._open:
            self._open = False
            # Even after a failure: the library's tasks would complain at the end of the program.
            self._runner.run(outcome(self._client.disconnect()))  # a QEMU that is gone is what we wanted
            self._runner.close()

    def _on_event(self, name: str, data: object) -> None:
        self._events.append(QmpEvent(name, data if isinstance(data, dict) else {}))
        self._arrived.set()

    def _run(self, call: Coroutine[Any, Any, Result], what: str, *, timeout: float | None = None) -> Result:
        limit = self._timeout if timeout is None else timeout

        async def limited() -> Result:
            async with asyncio.timeout(limit):
                return await call

        try:
            return self._runner.run(limited())
        except ExecuteError as error:
            raise DeviceError(str(error)) from None
        except TimeoutError:
            under_way = f" while {self._during}" if self._during else ""
            raise BackendTimeout(f"QEMU did not answer {what} within {limit:g} s{under_way}") from None
        except Exception as error:  # noqa: BLE001 - the library raises whatever ended its reader
            raise self._broken(error, what) from None
        finally:
            call.close()  # an interrupt may come before it began

    def _broken(self, error: Exception, what: str) -> BackendError | ProtocolError:
        """Return the error for a missing answer: QEMU is gone, or it broke the protocol."""
        # The library tells the cause to the first disconnect alone; the error at hand is often only "interrupted".
        cause = self._runner.run(outcome(self._client.disconnect())) or error
        if isinstance(getattr(cause, "exc", cause), _GONE):
            return self._lost(", ".join(filter(None, (self._during, f"asked for {what}"))))
        return ProtocolError(f"QEMU's answer to {what}: {reason(cause)}")
