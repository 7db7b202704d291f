"""A JSON peer on a socket (QMP or the guest agent), with bounds on everything it may do to us.

The qemu.qmp library speaks the protocol. Added here: a time limit on every exchange and on many of them together, a limit
on the size of a message and on unasked messages a second, checked shapes for every answer (`validation`), and errors of one
line that begin with the address. A peer may be hostile: what it says is never shown unescaped.
"""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from qemu.qmp.error import ProtocolError as PeerProtocolError
from qemu.qmp.error import QMPError
from qemu.qmp.protocol import ConnectError
from qemu.qmp.qmp_client import ExecuteError

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.qemu import validation
from virtiomem.qemu.client import SYNC, Client, OnEvent, outcome, reason
from virtiomem.qemu.shapes import Version
from virtiomem.qemu.validation import Shape, ValueKind
from virtiomem.text import one_line, shown
from virtiomem.vm.doors.address import Address
from virtiomem.vm.doors.sent import COMMANDS, why_not

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
MAX_WORDS = 200
"""Characters of a peer's own words within a message."""
LOOK_SECONDS = 30.0
"""For everything that belongs together, however many questions it takes: a peer may answer each just in time."""


RETRY_SECONDS = 0.1
"""Between two attempts to connect to a socket at which others wait."""
_NO_AGENT = "does qemu-ga run in the guest?"
_BUSY = (
    "is another client connected? QEMU serves one per monitor (a second one for it to listen on: "
    "-qmp unix:PATH,server=on,wait=off; a `virtiomem vm watch` lets others in with --yield). A guest agent's socket, which "
    "has no greeting, is for --agent"
)
_LIBVIRT = re.compile(r"/libvirt/qemu/(?:.*/)?(?:domain-)?\d+-(?P<name>[^/]+)/[^/]+")


LIBVIRT_NAME = 20
"""Characters of a domain's name in the names of its folders: of a longer name the first ones."""


class Refused(Exception):  # noqa: N818 - an answer the caller decides on, not a failure of the peer
    """The peer understood a command and refused it."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        self.reason = reason
        super().__init__(reason)


class Peer:
    """A connected peer; `on_event` hears of every event, in the order they come.

    It sends what `sent.TABLE` has and nothing else, and unstable commands only when `unstable` allows them.
    """

    def __init__(
        self,
        label: str,
        address: Address | socket.socket,
        *,
        on_event: OnEvent | None = None,
        unstable: bool = False,
    ) -> None:
        self.label = label
        self._unstable = unstable
        self._address = address
        self._client = Client(on_event)
        self._failure: str | None = None
        self._failing = asyncio.Lock()

    @property
    def version(self) -> str:
        """Version in the greeting: ``7.2.22``; empty when it has none."""
        greeting = self._client.greeting
        try:
            return str(validation.read(greeting.QMP.version, Version)) if greeting else ""
        except validation.Unsound:
            return ""

    async def connect(self, *, greeting: bool = True, seconds: float | None = None) -> None:
        """Connect; with `greeting`, do QMP's handshake, else make sure that a guest agent hears us."""
        # The library is made for QMP, where the server speaks first; an agent never does.
        self._client.await_greeting = self._client.negotiate = greeting
        seconds = CONNECT_SECONDS if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                await self._client.connect(await self._reached())
        except TimeoutError:
            raise BackendTimeout(self._silence(seconds), connection=self.label) from None
        except OSError as error:
            raise self._connect_error(error) from None
        except ConnectError as error:
            raise self._connect_error(error.exc) from None
        except AssertionError as error:  # the library's own check: it broke in the moment it stood
            raise await self._lost("", error) from None

    async def _reached(self) -> tuple[str, int] | socket.socket:
        """Return the TCP address to connect to, or a connected unix socket; connecting is retried while its backlog is full."""
        if not isinstance(self._address, str):
            return self._address
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            while True:
                try:
                    connection.connect(self._address)
                # EAGAIN from a unix socket means that its backlog is full, and the kernel does not tell when there is
                # room again.
                except BlockingIOError:
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return connection
        except BaseException:
            connection.close()
            raise

    def _silence(self, seconds: float) -> str:
        """Describe a peer that let us connect and did not answer in time, and how to reach it if another client holds it."""
        held = held_by_libvirt(self._address)
        if not self._client.await_greeting:
            cure = f"libvirt holds it: give --agent libvirt, and {held} as the machine" if held else _NO_AGENT
            return f"no answer in {seconds:g} s: {cure}"
        if self._client.greeting is not None:
            return f"no answer to qmp_capabilities in {seconds:g} s"
        # QEMU accepts a second client and does not serve it before the first has gone: connecting succeeds, and nothing
        # follows.
        return f"no greeting in {seconds:g} s: {f'libvirt holds this monitor: write {held}' if held else _BUSY}"

    def _connect_error(self, cause: Exception) -> BackendError | ProtocolError:
        greeting = self._client.await_greeting
        # A peer that closes at once is there and busy or going away: other words than for a socket where nothing
        # listens.
        if isinstance(cause, EOFError | BrokenPipeError | ConnectionResetError):
            return BackendError(
                f"it closed the connection before its {'greeting' if greeting else 'answer'}", connection=self.label
            )
        if isinstance(cause, OSError):
            return BackendError(f"cannot connect: {_why(cause)}", connection=self.label)
        wrong = "does not speak QMP" if greeting else f"bad answer to {SYNC}"
        return ProtocolError(f"{wrong}: {one_line(str(reason(cause)), MAX_WORDS)}", connection=self.label)

    async def ask(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        shape: type[Shape] | ValueKind[Shape],
        seconds: float | None = None,
    ) -> Shape:
        """Execute a command of `sent.TABLE` and return its answer as a `shape`.

        Raises Refused when the peer says no, or when the command is not sent since it might do harm; BackendError,
        BackendTimeout or ProtocolError when it fails; KeyError for a command that is not in the table.
        """
        # Decided where everything passes, so that no caller can send one by mistake: x-query-virtio-status ends QEMU
        # 11.1.
        if not COMMANDS[command].stable and (not self._unstable or why_not(command, self.version)):
            raise Refused("Unstable", f"{command} is not sent")
        seconds = ANSWER_SECONDS if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.execute(command, arguments)
        except TimeoutError:
            raise BackendTimeout(f"no answer to {command} in {seconds:g} s", connection=self.label) from None
        except ExecuteError as error:
            raise Refused(error.error_class, one_line(str(error), MAX_WORDS)) from None
        except (QMPError, OSError, EOFError) as error:
            raise await self._lost(command, error) from None
        try:
            return validation.read(answer, shape)
        except validation.Unsound as error:
            raise self.bad_answer(command, error) from None

    def bad_answer(self, command: str, why: object) -> ProtocolError:
        """The error for an impossible answer."""
        return ProtocolError(f"bad answer to {command}: {one_line(str(why), MAX_WORDS)}", connection=self.label)

    @asynccontextmanager
    async def deadline(self, seconds: float | None = None) -> AsyncIterator[None]:
        """One time limit for all questions asked in here; BackendTimeout when they take longer."""
        seconds = LOOK_SECONDS if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise BackendTimeout(f"it has not answered everything in {seconds:g} s", connection=self.label) from None

    async def _lost(self, command: str, error: Exception) -> BackendError | ProtocolError:
        """Return the error for a command without an answer; its root cause is what disconnect() reports."""
        # The peer is to blame and the library still connected; every other error means that the connection has ended.
        if isinstance(error, PeerProtocolError):
            return self.bad_answer(command, error)
        async with self._failing:
            # Once: the library tells the cause to the first disconnect() alone, and several questions may fail at a time.
            if self._failure is None:
                cause = await outcome(self._client.disconnect())
                self._failure = "it closed the connection" if cause is None else one_line(str(reason(cause)), MAX_WORDS)
        return BackendError(f"connection lost: {self._failure}", connection=self.label)

    async def close(self) -> None:
        """Disconnect; a peer that will not let go is dropped."""
        async with self._failing:
            # Under the lock, so that it does not take away the cause that a question is just asking for.
            await outcome(self._client.disconnect())
            self._failure = self._failure or "it is closed"


def held_by_libvirt(address: Address | socket.socket) -> str | None:
    """Name the libvirt machine that made this socket, going by its path; None for any other socket."""
    match = _LIBVIRT.search(address) if isinstance(address, str) else None
    if match is None:
        return None
    name = match["name"]
    # A name of that length may have been cut by libvirt, and would name no domain.
    return f"libvirt:{name if len(name) < LIBVIRT_NAME else 'DOMAIN'}"


def _why(cause: OSError) -> str:
    """The errno in words, which asyncio leaves out; unchanged when it has no errno (several addresses, a resolver's)."""
    # A resolver's numbers are negative (EAI_NONAME …) and mean nothing to strerror().
    if cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return cause.strerror or shown(cause)
