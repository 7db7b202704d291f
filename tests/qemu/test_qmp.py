"""QMP without a QEMU: a thread on the other end of a socket pair says what a QEMU would."""

import json
import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from virtiomem.errors import ProtocolError
from virtiomem.qemu.qmp import Qmp

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
def qmp() -> Iterator[Qmp]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = Thread(target=serve, args=[theirs])
        server.start()
        session = Qmp(ours, timeout=5)
        yield session
        session.close()
        server.join(5)


def test_event_that_nobody_took_is_there_without_waiting(qmp: Qmp) -> None:
    qmp.execute("query-status")
    event = qmp.next_event("RESET", timeout=0)
    assert event is not None
    assert event["event"] == "RESET"
    assert qmp.next_event("RESET", timeout=0) is None


def test_forgotten_events_do_not_come(qmp: Qmp) -> None:
    qmp.execute("query-status")
    qmp.forget_events()
    assert qmp.next_event("STOP", "RESET", timeout=0.01) is None


def test_a_version_of_another_shape_is_one_clear_line(qmp: Qmp) -> None:
    with pytest.raises(ProtocolError, match=r"^QEMU answered query-version with \{\}$"):
        qmp.version()


def test_a_number_of_another_shape_is_one_clear_line(qmp: Qmp) -> None:
    with pytest.raises(ProtocolError, match=r"^QEMU answered qom-get with \{\}$"):
        qmp.number("qom-get", {"path": "/machine/peripheral/vm0", "property": "size"})
