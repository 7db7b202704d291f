"""QMP for synchronous callers: the qemu.qmp library behind plain calls with a time limit.

The event loop lives in here and turns only while a call waits.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from qemu.qmp import EventListener, ExecuteError, QMPClient

from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError

TIMEOUT = 60.0
"""Seconds QEMU has for an answer; it is busy only while it handles something for the guest."""

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())  # a lost connection is told once: by our exception


class Qmp:
    """A QMP session on a connected socket.

    Raises BackendTimeout when QEMU does not answer in time and BackendError when it is gone.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        timeout: float = TIMEOUT,
        lost: Callable[[str], BackendError] | None = None,
    ) -> None:
        """`lost` makes the error for a connection that broke while doing something: it may know how QEMU ended."""
        self._timeout = timeout
        self._lost = lost
        self._connection = connection
        self._runner = asyncio.Runner()
        self._client = QMPClient()
        self._events = EventListener()
        self._open = True
        self._client.register_listener(self._events)
        try:
            self._run(self._client.connect(connection), "the greeting")
        except BaseException:
            self.close()
            raise

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Run a command and return its result; DeviceError, in QEMU's words, when QEMU refuses it."""
        return self._run(self._client.execute(command, arguments), command)

    def number(self, command: str, arguments: dict[str, Any] | None = None) -> int:
        """Run a command whose answer is a number; ProtocolError when it is anything else."""
        answer = self.execute(command, arguments)
        if type(answer) is not int:
            raise _bad_answer(command, answer)
        return answer

    def send_fd(self, name: str, fd: int) -> None:
        """Give QEMU a file descriptor, to be used as ``fd:NAME``; ours stays open."""
        socket.send_fds(self._connection, [b" "], [fd])
        self.execute("getfd", {"fdname": name})

    def version(self) -> str:
        """QEMU's version, such as ``7.2.22``; ProtocolError when the answer holds none."""
        match self.execute("query-version"):
            case {"qemu": {"major": int(major), "minor": int(minor), "micro": int(micro)}}:
                return f"{major}.{minor}.{micro}"
            case other:
                raise _bad_answer("query-version", other)

    def wait_for(self, *names: str, timeout: float) -> dict[str, Any]:
        """The next event with one of these names; BackendTimeout when none comes in time."""
        event = self.next_event(*names, timeout=timeout)
        if event is None:
            raise BackendTimeout(f"QEMU sent no event {' or '.join(names)} within {timeout:g} s")
        return event

    def next_event(self, *names: str, timeout: float) -> dict[str, Any] | None:
        """The next event with one of these names, one that nobody took yet included; None when none comes in time."""
        until = time.monotonic() + timeout
        while True:
            left = max(until - time.monotonic(), 0.0) if self._events.empty() else self._timeout
            try:
                event = self._run(self._events.get(), f"with event {' or '.join(names)}", timeout=left)
            except BackendTimeout:
                return None
            if event["event"] in names:
                return dict(event)

    def forget_events(self) -> None:
        """Drop the events nobody took."""
        self._events.clear()

    def close(self) -> None:
        """Leave; harmless when QEMU is gone or when repeated."""
        if self._open:
            self._open = False
            with suppress(BackendError):  # it is gone, which is what we wanted
                self._run(self._client.disconnect(), "the farewell", timeout=5)
            self._runner.close()

    def _run(self, call: Coroutine[Any, Any, Any], what: str, *, timeout: float | None = None) -> Any:
        limit = self._timeout if timeout is None else timeout

        async def limited() -> Any:
            return await asyncio.wait_for(call, limit)

        try:
            return self._runner.run(limited())
        except ExecuteError as error:
            raise DeviceError(str(error)) from None
        except TimeoutError:
            raise BackendTimeout(f"QEMU did not answer {what} within {limit:g} s") from None
        except Exception as error:  # noqa: BLE001 - the library raises whatever ended its reader
            if self._lost is not None and self._open:
                raise self._lost(f"asked for {what}") from None
            raise BackendError(f"QEMU's QMP connection broke at {what}: {error or type(error).__name__}") from None
        finally:
            call.close()  # an interrupt may come before it began


def _bad_answer(command: str, answer: object) -> ProtocolError:
    return ProtocolError(f"QEMU answered {command} with {repr(answer)[:80]}")
