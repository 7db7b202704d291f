"""QMP without a QEMU: a thread on the other end of a socket pair says what a QEMU would."""

import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from tests.waiting import PATIENCE
from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.guest.linux.devices import MemoryDevices
from virtiomem.qemu import qmp as qmp_module
from virtiomem.qemu.qmp import MAX_EVENTS, QmpSession
from virtiomem.qemu.validation import NUMBER
from virtiomem.units import MiB

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}
STAMP = {"seconds": 0, "microseconds": 0}


def serve(connection: socket.socket) -> None:
    """Answer every command, each of which comes alone; query-status after two events."""
    connection.sendall(json.dumps(GREETING).encode() + b"\n")
    while message := connection.recv(4096):
        command = json.loads(message)
        events = ("STOP", "RESET") if command["execute"] == "query-status" else ()
        said = [{"event": name, "timestamp": STAMP} for name in events]
        for line in (*said, {"return": {}, "id": command.get("id")}):
            connection.sendall(json.dumps(line).encode() + b"\n")


@pytest.fixture
def qmp() -> Iterator[QmpSession]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = Thread(target=serve, args=[theirs])
        server.start()
        session = QmpSession(ours, timeout=PATIENCE)
        yield session
        session.close()
        server.join(PATIENCE)


def test_event_not_taken_yet_is_there_without_waiting(qmp: QmpSession) -> None:
    qmp.execute("query-status")
    event = qmp.next_event("RESET", timeout=0)
    assert event is not None
    assert event.name == "RESET"
    assert qmp.next_event("RESET", timeout=0) is None


def test_forgotten_events_do_not_come(qmp: QmpSession) -> None:
    qmp.execute("query-status")
    qmp.forget_events()
    assert qmp.next_event("STOP", "RESET", timeout=0) is None


def test_a_version_of_another_shape_is_one_clear_line(qmp: QmpSession) -> None:
    with pytest.raises(ProtocolError, match=r"^QEMU's answer to query-version: it is \{\}, not an object with qemu$"):
        qmp.version()


def test_a_number_of_another_shape_is_one_clear_line(qmp: QmpSession) -> None:
    with pytest.raises(ProtocolError, match=r"^QEMU's answer to qom-get: it is \{\}, not a number from 0 to 2\^64-1$"):
        qmp.ask("qom-get", {"path": "/machine/peripheral/vm0", "property": "size"}, shape=NUMBER)


Say = Callable[[dict[str, object]], bytes]


@pytest.fixture
def hostile() -> Iterator[Callable[[Say], QmpSession]]:
    """A session with a peer that answers a command with any bytes; the greeting and the handshake are in order."""
    ours, theirs = socket.socketpair()

    def answer(say: Say) -> None:
        theirs.sendall(json.dumps(GREETING).encode() + b"\n")
        with suppress(OSError):
            while message := theirs.recv(4096):
                question = json.loads(message)
                sound = json.dumps({"return": {}, "id": question.get("id")}).encode() + b"\n"
                theirs.sendall(sound if question["execute"] == "qmp_capabilities" else say(question))

    sessions: list[QmpSession] = []
    threads: list[Thread] = []

    def start(say: Say) -> QmpSession:
        threads.append(Thread(target=answer, args=[say]))
        threads[0].start()
        sessions.append(QmpSession(ours, timeout=PATIENCE))
        return sessions[0]

    with ours, theirs:
        yield start
        sessions[0].close()
        theirs.shutdown(socket.SHUT_RDWR)
        threads[0].join(PATIENCE)


def answered(raw: str) -> Say:
    return lambda question: f'{{"return": {raw}, "id": "{question["id"]}"}}\n'.encode()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('"\\ud800"', r"it is '\\ud800', not a list"),
        ("[7]", r"\[0\] is 7, not an object"),
        ('[{"type": "dimm", "data": {"size": -1}}]', r"\[0\]\.data\.size is -1, not a number from 0 to 2\^64-1"),
        ('[{"type": "dimm", "data": {"id": "\\u001b"}}]', r"\[0\]\.data\.id is '\\x1b', not a name"),
        ('[{"type": "virtio-mem", "data": {"block-size": 3}}]', r"of which the block size, 3, is a power of two"),
        ("9" * 5000, "a number of thousands of digits"),
    ],
)
def test_memory_devices_that_cannot_be_are_one_clear_line(
    hostile: Callable[[Say], QmpSession], raw: str, words: str
) -> None:
    with pytest.raises(ProtocolError, match=f"^QEMU's answer to query-memory-devices: .*{words}"):
        MemoryDevices(hostile(answered(raw))).query()


def test_memory_device_that_we_did_not_start_is_refused(hostile: Callable[[Say], QmpSession]) -> None:
    qmp = hostile(answered('[{"type": "sgx-epc", "data": {"id": "a"}}]'))
    with pytest.raises(ProtocolError, match="a memory device that we did not start, of type 'sgx-epc'"):
        MemoryDevices(qmp).query()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"[1]\n", "QMP message is not a JSON object"),
        (b'{"error": 5}\n', "it says, unasked: 5"),
        (b"x" * (5 * MiB), "a message above 4 MiB"),
        (b'{"event": "STOP"}\n' * 5000, "more than 100 messages in a second"),
    ],
)
def test_monitor_that_talks_nonsense_is_distinguished_from_one_that_is_gone(
    hostile: Callable[[Say], QmpSession], said: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp_module, "BURST_LIMIT", 100)
    with pytest.raises(ProtocolError, match=words):
        hostile(lambda _: said).execute("query-status")


def test_events_without_end_are_kept_within_bounds(hostile: Callable[[Say], QmpSession]) -> None:
    many = b'{"event": "STOP", "data": {"n": 1}}\n' * (3 * MAX_EVENTS)
    qmp = hostile(lambda question: many + answered("{}")(question))
    qmp.execute("query-status")
    count = 0
    while qmp.next_event("STOP", timeout=0):
        count += 1
    assert count == MAX_EVENTS


def test_monitor_that_closes_is_a_qemu_that_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(BackendError, match=r"^QEMU closed its QMP connection while asked for the greeting$"):
            QmpSession(ours, timeout=PATIENCE)


def test_errors_say_what_was_under_way(hostile: Callable[[Say], QmpSession]) -> None:
    """A monitor that never answers, and then is gone: both times the step is named, and only within it."""
    qmp = hostile(lambda _: b"")
    qmp._timeout = 0.01
    with qmp.during("playing resize"), pytest.raises(BackendTimeout, match=r"^QEMU did not .* while playing resize$"):
        qmp.execute("stop")
    with pytest.raises(BackendTimeout, match=r"^QEMU did not answer stop within 0\.01 s$"):
        qmp.execute("stop")
    qmp._timeout = PATIENCE  # else a busy machine is too slow to see that it is gone
    qmp._connection.shutdown(socket.SHUT_RDWR)
    with qmp.during("playing resize"), pytest.raises(BackendError, match=r" while playing resize, asked for cont$"):
        qmp.execute("cont")


def test_event_that_comes_in_the_turn_in_which_time_is_up_is_there(
    qmp: QmpSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(waiting: Coroutine[Any, Any, object], *_: object, **__: object) -> None:
        waiting.close()
        qmp._on_event("RESET", {})
        raise BackendTimeout("time is up")

    with monkeypatch.context() as patched:
        patched.setattr(qmp, "_run", too_late)
        event = qmp.next_event("RESET", timeout=0)
    assert event is not None
