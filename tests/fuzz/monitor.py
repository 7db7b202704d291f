"""Answers of a monitor and of a guest agent: whatever they say, and however, each verb ends in time and says what it is."""

import base64
import copy
import gc
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from tests.fuzz.promise import ODD_TEXTS, Ran, odd_value, run, spoil_values, spoiled
from virtiomem.qemu import client
from virtiomem.vm import resize, watch
from virtiomem.vm.doors import agent_files, peer

MAX_SECONDS = 30.0
"""Far more than a verb takes with the limits below, on a machine that is busy with other things as well."""
LIMITS = (
    *((peer, "CONNECT_SECONDS", 0.4), (peer, "ANSWER_SECONDS", 0.3), (peer, "LOOK_SECONDS", 0.8)),
    *((agent_files, "ANSWER_SECONDS", 0.3), (client, "CLOSE_SECONDS", 0.3), (watch, "FIRST_RETRY_SECONDS", 0.05)),
    *((resize, "LAST_LOOK_SECONDS", 0.3), (resize, "ROLLBACK_SECONDS", 0.3)),
)
VERBS = (
    *(["list"], ["list", "-b", "-o", "+address,driver"], ["list", "-J"]),
    *(["status", "-A"], ["status", "-A", "-J"], ["explain", "-A"], ["explain", "vm0", "-A", "-J"]),
    *(["status", "--unstable-monitor-commands"], ["explain", "-A", "--unstable-monitor-commands"]),
    *(["watch", "--for", "0.3", "--interval", "0.05"], ["watch", "-J", "--for", "0.2", "--interval", "0.01"]),
    *(["resize", "vm0", "64M"], ["resize", "vm1", "+2M", "-A"], ["resize", "vm*", "0", "-J", "-A"]),
    *(["resize", "all", "1G", "--plugged", "--round"], ["resize", "all", "3G", "--total", "--spread", "pack"]),
    *(["resize", "vm0", "2G", "--no-wait"], ["resize", "vm0", "1G", "--dry-run", "-J"]),
    *(["resize", "vm0", "64M", "--on-timeout", "rollback", "-A"], ["resize", "all", "1G", "--plugged", "-k", "-J"]),
)
MIB = 1 << 20


class Peer:
    """A monitor and an agent on one socket: sound answers about a machine, said in some `manner`."""

    def __init__(self, path: Path, random: Random, manner: str) -> None:
        self.random = random
        self.manner = manner
        self.is_monitor = path.name == "monitor"
        self.patience = random.choice((0, 1, 3, 8, 20, 60))
        self.greeting: Any = {
            "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}
        }
        self.devices = [_device(f"vm{number}", number, random) for number in range(random.choice((1, 2, 2, 5)))]
        self.table = {
            "query-memory-size-summary": {"base-memory": 1 << 30, "plugged-memory": 0},
            "query-status": {"status": random.choice(("running", "paused")), "running": True},
            "query-migrate": random.choice(({}, {"status": "active"}, {"status": "completed"})),
            "qom-list": [
                {"name": "device[0]", "type": "child<virtio-mem-pci>"},
                {"name": "v", "type": "child<vfio-pci>"},
            ],
            "qom-get": 0,
            "x-query-virtio-status": {"status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: ready"]}, "broken": False},
            "guest-get-memory-block-info": {"size": 128 * MIB},
            "guest-get-memory-blocks": [{"phys-index": n, "online": n % 3 > 0, "can-offline": True} for n in range(40)],
            "guest-file-open": 7,
            "guest-file-read": _chunk(random),
        }
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End every conversation; the listener first, so that no other begins."""
        self._end(self._open[:1], self._threads[:1])
        self._end(self._open[1:], self._threads[1:])

    def _end(self, connections: list[socket.socket], threads: list[threading.Thread]) -> None:
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(MAX_SECONDS)
            assert not thread.is_alive(), "the fake peer hangs"
        for connection in connections:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._open.append(connection)
                random = Random(self.random.random())
                thread = threading.Thread(target=self._converse, args=[connection, random], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _converse(self, connection: socket.socket, random: Random) -> None:
        with suppress(OSError):
            for said, question in enumerate(_questions(connection)):
                if said > self.patience and self.manner in {"leaves", "falls silent"}:
                    if self.manner == "leaves":
                        connection.shutdown(socket.SHUT_RDWR)
                    return
                self._send(connection, random, self._reply(random, question) if question else self._greet(random))

    def _greet(self, random: Random) -> bytes:
        return json.dumps(self._said(random, self.greeting)).encode() + b"\n" if self.is_monitor else b""

    def _send(self, connection: socket.socket, random: Random, data: bytes) -> None:
        """Send an answer as this peer does."""
        match self.manner:
            case "stammers" if random.random() < 0.2:
                data = spoiled(random, data)
            case "chatters" if random.random() < 0.5:
                data = _unasked(random) * random.choice((1, 1, 3, 500, 2500)) + data
            case "repeats":
                data *= random.choice((1, 1, 2, 3))
            case "drips":
                for byte in data[:40]:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.002)
                data = data[40:]
            case "is slow":
                time.sleep(random.choice((0.0, 0.0, 0.02, 0.1)))
            case "has news":
                event = {"event": "MEMORY_DEVICE_SIZE_CHANGE", "data": {"id": "vm0", "size": 0}, "timestamp": {}}
                data += json.dumps(event).encode() * random.choice((0, 1, 5)) + b"\n"
        connection.sendall(data)

    def _reply(self, random: Random, question: dict[str, Any]) -> bytes:
        command, arguments = question.get("execute"), question.get("arguments") or {}
        number = question.get("id")
        if self.manner == "mixes up" and random.random() < 0.1:
            number = random.choice((None, number, [number], {}, "sync-1", 7, "__qmp#00001"))
        if self.manner == "refuses" and random.random() < 0.3:
            error = {"class": random.choice(ODD_TEXTS), "desc": random.choice(ODD_TEXTS) * random.choice((1, 99))}
            return json.dumps({"error": self._said(random, error), "id": number}).encode() + b"\n"
        if command == "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": arguments.get("id"), "id": number}).encode() + b"\n"
        if command == "qom-set":
            for device in self.devices:
                if arguments.get("path", "").endswith(device["data"].get("id", "device[0]")):
                    device["data"]["requested-size"] = arguments.get("value")
                    device["data"]["size"] = random.choice((device["data"]["size"], arguments.get("value")))
        answer = self.devices if command == "query-memory-devices" else self.table.get(str(command), {})
        return json.dumps({"return": self._said(random, answer), "id": number}).encode() + b"\n"

    def _said(self, random: Random, answer: Any) -> Any:
        """An answer, or what a liar says in its place."""
        if self.manner != "lies" or random.random() > 0.15:
            return answer
        if random.random() < 0.2:
            return odd_value(random)
        box = [copy.deepcopy(answer)]
        spoil_values(random, box)
        return box[0] if box else None


MANNERS = (
    *(
        "is sound",
        "lies",
        "lies",
        "lies",
        "stammers",
        "stammers",
        "chatters",
        "repeats",
        "drips",
        "is slow",
        "has news",
    ),
    *("mixes up", "refuses", "leaves", "falls silent"),
)


def _device(name: str, number: int, random: Random) -> dict[str, Any]:
    size = random.choice((0, 2 * MIB, 64 * MIB, 1 << 30))
    data = {"memaddr": (4 + 4 * number) << 30, "requested-size": random.choice((size, 0, 1 << 30)), "size": size}
    data |= {"max-size": 2 << 30, "block-size": 2 * MIB, "node": number % 2}
    return {"type": "virtio-mem", "data": data if random.random() < 0.1 else data | {"id": name}}


def _chunk(random: Random) -> dict[str, Any]:
    text = (
        b"MemTotal: 4019888 kB\nMemFree: 100 kB\nNode 0, zone Normal\n  pages free 1\n   present 100\n   managed 90\n"
    )
    claim = b"140000000-33fffffff : virtio0\n  140000000-147ffffff : System RAM (virtio_mem)\n"
    text = random.choice(
        (text, claim, b"0xf\n", b"Movable\n", b"online_movable\n", random.randbytes(100), b"x" * 60_000, b"")
    )
    return {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": random.random() < 0.9}


def _unasked(random: Random) -> bytes:
    """A message that was not asked for."""
    odd = odd_value(random)
    message = random.choice(
        (
            *({"event": "RESET", "data": odd, "timestamp": {}}, {"event": odd}, {"return": odd, "id": "nobody"}),
            *({"return": odd, "id": odd}, {"error": odd}, {"error": {"class": "x", "desc": odd}}, {"QMP": odd}, odd),
        )
    )
    return json.dumps(message).encode() + b"\n"


def _questions(connection: socket.socket) -> Iterator[dict[str, Any] | None]:
    """None when it has connected, then what is asked; QEMU needs nothing between two questions, 0xFF forgets a half one."""
    decoder, text = json.JSONDecoder(), ""
    yield None
    while data := connection.recv(1 << 16):
        *cut, data = data.split(b"\xff")
        text = ("" if cut else text) + data.decode()
        while text := text.lstrip():
            try:
                question, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break
            text = text[end:]
            yield question


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What asyncio has to complain of: exceptions that were not awaited."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield found
        gc.collect()
    finally:
        logger.removeHandler(handler)


def trial(random: Random) -> None:
    """Ask a monitor, and perhaps an agent, of some manner with some verb."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for module, name, seconds in LIMITS:
            stack.enter_context(mock.patch.object(module, name, seconds))
        manners = random.choice(MANNERS), random.choice(MANNERS)
        for name, manner in zip(("monitor", "agent"), manners, strict=True):
            stack.callback(Peer(folder / name, random, manner).close)
        verb = list(random.choice(VERBS))
        found = stack.enter_context(complaints())
        began = time.monotonic()
        ran = _run(folder, verb)
        seconds = time.monotonic() - began
    said = f"a monitor that {manners[0]}, an agent that {manners[1]}: vm {' '.join(verb)}"
    assert seconds < MAX_SECONDS, f"{said}: {seconds:.1f} s"
    assert not found, f"{said}: {found[:2]}"
    check(ran, said, verb)


def _run(folder: Path, verb: list[str]) -> Ran:
    agent_options = ["--agent", str(folder / "agent")] if "-A" in verb else []
    limits = ["--timeout", "0.3", "--stall", "0.2"] if verb[0] == "resize" else []
    words = [word for word in verb if word != "-A"]
    return run("vm", *words, *limits, "-c", f"qmp:{folder / 'monitor'}", *agent_options)


def check(ran: Ran, said: str, verb: list[str]) -> None:
    """Assert what is promised of a verb, whichever peer answers it."""
    assert all(line.isprintable() for line in ran.out.splitlines()), f"{said}: {ran.out!r}"
    if "-J" in verb and ran.out:
        documents = ran.out.splitlines() if verb[0] == "watch" else [ran.out]
        assert all(json.loads(document) for document in documents), said
    assert ran.code == 0 or ran.err or ran.out, f"{said}: fails without a word"
