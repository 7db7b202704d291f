"""A VMM's HTTP API on a unix socket, with bounds on everything it may do to us; and a backend that has to poll it."""

import asyncio
import json
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError, VirtiomemError
from virtiomem.qemu import validation
from virtiomem.qemu.validation import Shape, ValueKind
from virtiomem.text import one_line, shown
from virtiomem.units import MiB
from virtiomem.vm.doors.base import Connection, MachineTarget
from virtiomem.vm.doors.guest_agent import socket_agent
from virtiomem.vm.doors.peer import Refused
from virtiomem.vm.doors.sent import COMMANDS
from virtiomem.vm.model import Backend, Event, Machine, Vm

ANSWER_SECONDS = 10.0
MAX_BODY = 4 * MiB
MAX_WORDS = 300
"""Characters of a VMM's own words within a message."""
# Against a resize that takes seconds; each look costs the VMM one or two requests.
POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ApiTarget(MachineTarget):
    """An API socket, and the constructor (path, label) of the backend for the VMM that listens there."""

    scheme: str
    path: str
    backend: Callable[[str, str], "PollingBackend"]

    @property
    def name(self) -> str:
        """The socket's file without its suffix."""
        return Path(self.path).stem

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"

    async def open(self, connection: Connection) -> Vm:
        """Connect to the API."""
        agent = socket_agent(connection)
        backend = self.backend(self.path, connection.label)
        try:
            await backend.open()
        except BaseException:
            await backend.close()
            raise
        return Vm(connection.name, backend, agent)


class HttpPeer:
    """The API of one VMM; it sends what `sent.TABLE` has and nothing else.

    Raises BackendError where no server listens, BackendTimeout where it does not answer in time, ProtocolError for what is no
    such API, and `peer.Refused` for a status other than 2xx, with the VMM's words.
    """

    def __init__(self, path: str, label: str, *, prefix: str = "") -> None:
        """`prefix` stands before every path of the API."""
        # Imported with the first API socket: the other doors start without the time that this takes.
        import httpx

        self.label = label
        self._http = httpx
        # A unix socket has no TLS; httpx would read every certificate of the system for it.
        transport = httpx.AsyncHTTPTransport(uds=path, verify=False)
        # The environment's proxies are meant for the network, not for a socket of this host.
        self._client = httpx.AsyncClient(transport=transport, base_url=f"http://localhost{prefix}", trust_env=False)

    async def ask(self, request: str, *, shape: type[Shape] | ValueKind[Shape]) -> Shape:
        """The answer to a request such as ``GET /vm.info``, as a `shape`."""
        _, text = await self._exchange(request, None)
        try:
            answer = json.loads(text)
        # json.loads() recurses: a body of brackets alone raises RecursionError.
        except (ValueError, RecursionError):
            raise self.bad_answer(request, "no JSON") from None
        try:
            return validation.read(answer, shape)
        except validation.Unsound as error:
            raise self.bad_answer(request, error) from None

    async def tell(self, request: str, body: dict[str, object]) -> None:
        """Make a request that has no answer."""
        await self._exchange(request, body)

    async def _exchange(self, request: str, body: dict[str, object] | None) -> tuple[int, bytes]:
        assert request in COMMANDS, request
        method, path = request.split(" ")
        try:
            async with (
                # One limit for the whole exchange: httpx's own count each read, so a server that drips would never
                # exceed one.
                asyncio.timeout(ANSWER_SECONDS),
                # Not compressed on the wire, and read raw: a small body could unpack beyond any bound.
                self._client.stream(
                    method, path, json=body, headers={"Accept-Encoding": "identity"}, timeout=None
                ) as answer,
            ):
                text = b""
                async for chunk in answer.aiter_raw():
                    text += chunk
                    # Looked at with each piece, before the next one is taken.
                    if len(text) > MAX_BODY:
                        raise self.bad_answer(request, f"more than {MAX_BODY // MiB} MiB")
        except TimeoutError:
            raise BackendTimeout(f"no answer to {request} in {ANSWER_SECONDS:g} s", connection=self.label) from None
        except self._http.ConnectError as error:
            raise BackendError(f"cannot connect: {_why(error)}", connection=self.label) from None
        except self._http.RemoteProtocolError as error:
            raise ProtocolError(
                f"it does not speak HTTP: {one_line(str(error), MAX_WORDS)}", connection=self.label
            ) from None
        except (self._http.HTTPError, OSError) as error:
            why = str(error) or type(error).__name__
            raise BackendError(f"connection lost: {one_line(why, MAX_WORDS)}", connection=self.label) from None
        if answer.status_code // 100 != 2:
            raise Refused(str(answer.status_code), one_line(_words(text), MAX_WORDS))
        return answer.status_code, text

    def bad_answer(self, request: str, why: object) -> ProtocolError:
        """The error for an impossible answer."""
        return ProtocolError(f"bad answer to {request}: {one_line(str(why), MAX_WORDS)}", connection=self.label)

    async def close(self) -> None:
        """Disconnect."""
        # A lost connection may fail to close; nothing is left to close then.
        with suppress(Exception):
            await self._client.aclose()


def _why(error: Exception) -> str:
    """Return the words of the errno at the end of the chain of causes."""
    cause: BaseException = error
    # httpx wraps httpcore's error, which wraps the system's: only the last one has an errno.
    while isinstance(inner := cause.__cause__ or cause.__context__, Exception):
        cause = inner
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else shown(error)


def _words(body: bytes) -> str:
    """Return the message in a VMM's error: Firecracker's fault_message, the last two of Cloud Hypervisor's list, or
    plain text.
    """
    text = body.decode(errors="replace")
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(said, dict) and isinstance(said.get("fault_message"), str):
        return str(said["fault_message"])
    # Cloud Hypervisor lists the outermost error first: the last two say what was refused, and why.
    if isinstance(said, list) and said and all(isinstance(part, str) for part in said):
        return ": ".join(said[-2:])
    return text


class PollingBackend(Backend, Protocol):
    """A `Backend` of a VMM without events: it is looked at again and again while a caller waits."""

    _last: Machine | None

    @abstractmethod
    async def open(self) -> None:
        """Learn what never changes; raises BackendError where no such VMM answers."""

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return asyncio.get_running_loop().time()

    async def wait(self, seconds: float) -> frozenset[Event]:
        """Look every quarter of a second; a machine that looks different has had an event."""
        until = self.now() + max(seconds, 0)
        before = self._last
        while (left := until - self.now()) > 0:
            await asyncio.sleep(min(left, POLL_SECONDS))
            try:
                # Whatever differs counts as a size: callers look again in any case.
                if await self.look() != before:
                    return frozenset({Event.SIZE})
            except VirtiomemError:  # the next look says so
                return frozenset()
        return frozenset()
