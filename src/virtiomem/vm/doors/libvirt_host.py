"""A connection to libvirt for asyncio: one for all machines of a URI, its calls bounded in time, its events in a thread.

Every call of libvirt blocks, some forever (a change while QEMU is stopped), so each runs in a daemon thread of its own,
which no caller waits for longer than its limit and which does not keep the program from ending. Events come on one more
thread and are handed over as an `Event`. The binding is imported when a connection is opened, and not before.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.text import one_line
from virtiomem.vm.doors.sent import COMMANDS
from virtiomem.vm.model import Event

OPEN_SECONDS = 30.0
"""A session daemon starts within this, and ssh logs in."""
ANSWER_SECONDS = 10.0
CLOSE_SECONDS = 2.0
VERSION_SECONDS = 2.0
"""For what is only shown."""
MAX_THREADS = 64
"""Calls under way at once, those that never end among them."""
MAX_WORDS = 300
"""Characters of libvirt's own words within a message."""
KEEP_ALIVE = (5, 3)
"""Seconds between two questions whether the daemon is there, and how many it may leave unanswered."""
MISSING = (
    "libvirt's Python binding is not installed: in the checkout, make libvirt; or Debian's python3-libvirt "
    "(which a virtual environment sees only with --system-site-packages)"
)

FROM_RPC = 7
"""The domain of libvirt's errors of its own connection (VIR_FROM_RPC)."""
SYSTEM_ERROR, RPC_ERROR = 38, 39
NO_DOMAIN, NO_SUPPORT, OPERATION_DENIED, OPERATION_TIMEOUT = 42, 3, 29, 68
LIFECYCLE, REBOOT, SIZE_CHANGE = (
    "VIR_DOMAIN_EVENT_ID_LIFECYCLE",
    "VIR_DOMAIN_EVENT_ID_REBOOT",
    ("VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE"),
)
STOPPED = 5
"""The lifecycle event of a domain that is gone (VIR_DOMAIN_EVENT_STOPPED)."""
ENDINGS = ("shut down", "was destroyed", "crashed", "migrated away", "was saved", "failed", "went back to a snapshot")
"""What its detail says (virDomainEventStoppedDetailType)."""

OnEvent = Callable[[Event, str | None], None]
"""Takes what happened to a domain and, when it has ended, how."""


class LibvirtRefused(Exception):  # noqa: N818 - an answer the caller decides on, not a failure of libvirt
    """Libvirt refused a call: its error code, and its words."""

    def __init__(self, code: int, words: str) -> None:
        self.code = code
        self.words = one_line(words, MAX_WORDS)
        super().__init__(self.words)


def binding(label: str) -> Any:
    """Return the module `libvirt`; BackendError when it is not installed."""
    try:
        import libvirt
    except ImportError:
        raise BackendError(MISSING, connection=label) from None
    return libvirt


class LibvirtHost:
    """A connection to one libvirt; `writes` opens it for changes, else it is read-only.

    Its methods raise BackendError when the connection is lost, BackendTimeout when libvirt does not answer in time, and
    LibvirtRefused for what libvirt refuses.
    """

    def __init__(self, uri: str | None, *, writes: bool, label: str) -> None:
        self.uri = uri
        self.writes = writes
        self.label = label
        self.users = 0
        self.lost: str | None = None
        """Why the connection can be used no more; it never comes back."""
        self._api: Any = None
        self._connection: Any = None
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Future[None] | None = None
        self._threads = 0
        self._listeners: dict[str, set[OnEvent]] = defaultdict(set)

    async def ready(self) -> None:
        """Wait until it is open; the first caller opens it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        # A caller that is interrupted must not take the opening away from the others that wait for it.
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        self._api = api = binding(self.label)
        # Else libvirt writes each error on standard error itself, in addition to raising it.
        api.registerErrorHandler(lambda _context, _error: None, None)
        # libvirt wants its event loop to be registered before the first connection is opened.
        _start_events(api)
        opening = api.open if self.writes else api.openReadOnly
        try:
            self._connection = await self.call("virConnectOpen", opening, self.uri, seconds=OPEN_SECONDS)
            await self.call("virConnectSetKeepAlive", self._connection.setKeepAlive, *KEEP_ALIVE)
        except LibvirtRefused as error:
            self.lost = f"cannot connect: {error.words}"
            raise BackendError(self.lost, connection=self.label) from None
        with suppress(LibvirtRefused):  # a driver without events is looked at all the same
            await self._listen()

    async def _listen(self) -> None:
        """Hear what happens to every domain, and to the connection."""
        api, connection = self._api, self._connection
        await self.call("virConnectRegisterCloseCallback", connection.registerCloseCallback, self._on_close, None)
        for name, handler in ((SIZE_CHANGE, self._on_size), (REBOOT, self._on_reboot), (LIFECYCLE, self._on_lifecycle)):
            # A binding older than libvirt 7.9 lacks the event of sizes; callers poll anyway.
            number = getattr(api, name, None)
            if number is not None:
                register = connection.domainEventRegisterAny
                await self.call("virConnectDomainEventRegisterAny", register, None, number, handler, None)

    async def domain(self, name: str) -> Any:
        """The domain of that name or UUID."""
        try:
            return await self.call("virDomainLookupByName", self._connection.lookupByName, name)
        except LibvirtRefused as error:
            with suppress(LibvirtRefused):
                # By name first, since a name may look like a UUID; the error that is shown is that of the name.
                return await self.call("virDomainLookupByUUID", self._connection.lookupByUUIDString, name)
            raise BackendError(error.words, connection=self.label) from None

    async def running(self) -> list[Any]:
        """Every running domain."""
        active: int = self._api.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        found = await self.call("virConnectListAllDomains", self._connection.listAllDomains, active)
        return list(found)

    async def versions(self) -> tuple[int, int]:
        """The hypervisor's and libvirt's, each 1000000 * major + 1000 * minor + micro."""
        return (
            await self.call("virConnectGetVersion", self._connection.getVersion, seconds=VERSION_SECONDS),
            await self.call("virConnectGetLibVersion", self._connection.getLibVersion, seconds=VERSION_SECONDS),
        )

    def listen(self, uuid: str, on_event: OnEvent) -> None:
        """Hear what happens to a domain."""
        self._listeners[uuid].add(on_event)

    def ignore(self, uuid: str, on_event: OnEvent) -> None:
        """Stop receiving its events."""
        self._listeners[uuid].discard(on_event)

    async def call(self, name: str, function: Callable[..., Any], *args: Any, seconds: float | None = None) -> Any:
        """Call a function of libvirt; `name` is its name in C, as in `sent.TABLE`.

        It is given `seconds`, then left to itself.
        """
        assert name in COMMANDS, name
        seconds = ANSWER_SECONDS if seconds is None else seconds
        if self.lost is not None:
            raise BackendError(self.lost, connection=self.label)
        # A call that never ends keeps its thread, and a QEMU that is stopped makes each change such a call.
        if self._threads >= MAX_THREADS:
            raise BackendTimeout(f"{self._threads} calls of libvirt have not ended", connection=self.label)
        answer: asyncio.Future[Any] = self._loop.create_future()

        def finish(result: Any, error: BaseException | None) -> None:
            self._threads -= 1
            # The result of a call that was given up must not reach a later one; the thread only ends its count.
            if answer.done():  # the caller stopped waiting
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = function(*args)
            except BaseException as raised:  # noqa: BLE001 - whatever it is, the waiting caller receives it
                error = raised
            with suppress(RuntimeError):  # the loop is closed: the program is at its end
                self._loop.call_soon_threadsafe(finish, result, error)

        self._threads += 1
        # Not a pool: it would wait for its threads when the program ends, thus for a QEMU that may never answer.
        threading.Thread(target=work, name=name, daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            text = f"no answer to {name} in {seconds:g} s: libvirt, or the QEMU behind it, does not act"
            raise BackendTimeout(text, connection=self.label) from None
        except self._api.libvirtError as error:
            raise self._failure(error) from None
        except UnicodeError:  # the binding itself reads what the library gives it
            raise ProtocolError(f"bad answer to {name}: no text", connection=self.label) from None

    def _failure(self, error: Any) -> BackendError | LibvirtRefused:
        """Translate an error of libvirt: the connection is lost, or the call is refused."""
        code, words = error.get_error_code() or 0, str(error)
        ours = error.get_error_domain() == FROM_RPC or code == RPC_ERROR
        if self._connection is None or not ours or code == NO_SUPPORT:
            return LibvirtRefused(code, words)
        self.lost = self.lost or f"connection lost: {one_line(words, MAX_WORDS)}"
        return BackendError(self.lost, connection=self.label)

    async def close(self) -> None:
        """Disconnect; a libvirt that does not answer is left."""
        # First, so that the close callback wakes no machine that is going away as well.
        self._listeners.clear()
        connection, self._connection = self._connection, None
        if connection is None or self.lost is not None:
            _KEPT.append(connection)
            return
        try:
            await self.call("virConnectClose", connection.close, seconds=CLOSE_SECONDS)
        except (LibvirtRefused, BackendError):
            _KEPT.append(connection)
        self.lost = "it is closed"

    def _on_size(self, _connection: Any, domain: Any, *_: Any) -> None:
        self._hand_over(domain, Event.SIZE)

    def _on_reboot(self, _connection: Any, domain: Any, *_: Any) -> None:
        self._hand_over(domain, Event.RESET)

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, *_: Any) -> None:
        if event == STOPPED:
            # A newer libvirt may have more endings than this table.
            ending = ENDINGS[detail] if 0 <= detail < len(ENDINGS) else "ended"
            # Only detail 0 is a shutdown by the guest; the rest makes callers look, and the look says how it ended.
            self._hand_over(domain, Event.SIZE if detail else Event.SHUTDOWN, ending)
        else:
            self._hand_over(domain, Event.SIZE)  # paused, resumed: look again

    def _hand_over(self, domain: Any, event: Event, ending: str | None = None) -> None:
        """From libvirt's thread to ours."""
        with suppress(RuntimeError):
            # The callback runs in libvirt's thread, where neither an asyncio.Event nor our sets may be touched.
            self._loop.call_soon_threadsafe(self._tell, domain.UUIDString(), event, ending)

    def _tell(self, uuid: str, event: Event, ending: str | None) -> None:
        for on_event in tuple(self._listeners.get(uuid, ())):
            on_event(event, ending)

    def _on_close(self, _connection: Any, _reason: int, _: Any) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._closed)

    def _closed(self) -> None:
        """The daemon is gone: every waiting caller looks again, and gets the error."""
        self.lost = self.lost or "connection lost: libvirt closed it"
        for uuid in tuple(self._listeners):
            self._tell(uuid, Event.SIZE, None)


_KEPT: list[Any] = []
"""Connections that did not close: the binding would wait for them once nothing refers to them."""
_hosts: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str | None, bool], LibvirtHost]] = WeakKeyDictionary()


async def acquire(uri: str | None, *, writes: bool, label: str) -> LibvirtHost:
    """Return the connection to a URI, which the first caller opens; it is given back by `release`."""
    # By event loop: a connection's futures belong to the loop that opened it, and a program may run several in turn.
    hosts = _hosts.setdefault(asyncio.get_running_loop(), {})
    host = hosts.get((uri, writes))
    # A lost connection never comes back: libvirt wants a new one, while the users of the old still hold it.
    if host is None or host.lost is not None:
        host = hosts[uri, writes] = LibvirtHost(uri, writes=writes, label=label)
    host.users += 1
    try:
        await host.ready()
    except BaseException as error:
        # Marked lost before it is given back, so that a caller who comes meanwhile opens a new one.
        host.lost = host.lost or str(error) or "it was not opened"
        await release(host)
        raise
    return host


async def release(host: LibvirtHost, *, keep: bool = False) -> None:
    """Give a connection back; the last one closes it, or leaves it open for the next caller with `keep`."""
    host.users -= 1
    if host.users == 0 and not keep:
        hosts = _hosts.get(asyncio.get_running_loop(), {})
        # Another may stand in its place already, opened after this one was lost.
        if hosts.get((host.uri, host.writes)) is host:
            del hosts[host.uri, host.writes]
        await host.close()


_events = threading.Lock()
_started = False


def _start_events(api: Any) -> None:
    """Run libvirt's event loop in a thread, once per process and before the first connection."""
    global _started  # noqa: PLW0603 - libvirt has one event loop for the process
    with _events:
        if _started:
            return
        _started = True
        api.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            # The loop serves every connection of the process: one bad turn must not end it.
            with suppress(api.libvirtError):
                api.virEventRunDefaultImpl()

    threading.Thread(target=turn, name="libvirt-events", daemon=True).start()
