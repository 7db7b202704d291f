"""A server on a unix socket that behaves as badly as a test wants, and a simulated machine."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from virtiomem.vm.doors.simulated import SimAgent, open_sim
from virtiomem.vm.model import Vm

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., AbstractAsyncContextManager[str]]

GREETING = (
    b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}\r\n'
)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serve a talk on a socket, whose path it yields; `hang_up` ends the conversations of an earlier server first."""
    connected: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(talk: Talk, *, hang_up: bool = False, name: str = "peer") -> AsyncIterator[str]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.add(writer)
            try:
                with suppress(OSError, asyncio.IncompleteReadError):
                    await talk(reader, writer)
            finally:
                writer.close()

        for writer in connected if hang_up else ():
            writer.close()
        path = str(tmp_path / f"{name}.sock")
        server = await asyncio.start_unix_server(handle, path)
        try:
            yield path
        finally:
            server.close()

    return serving


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a client; nothing need stand between them, as QEMU reads them, and 0xFF forgets what is left."""
    text, decoder = "", json.JSONDecoder()
    while data := await reader.read(4096):
        *cut, data = data.split(b"\xff")
        text = ("" if cut else text) + data.decode()
        while text := text.lstrip():
            try:
                message, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break
            text = text[end:]
            yield message


def answers(table: Mapping[str, Any], *, greeting: bytes = GREETING) -> Talk:
    """A QMP server that answers each command from a table: a value, what a function says, or bytes to send as they are."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        async for message in messages(reader):
            answer = table.get(message["execute"], {})
            if callable(answer):
                answer = answer(**message.get("arguments", {}))
            if isinstance(answer, bytes):
                writer.write(answer.replace(b"$ID", json.dumps(message.get("id")).encode()))
            else:
                writer.write(json.dumps({"return": answer, "id": message.get("id")}).encode() + b"\n")
            await writer.drain()

    return talk


@pytest.fixture
def qmp() -> Callable[..., Talk]:
    """See `answers`."""
    return answers


@pytest.fixture
def sim(tmp_path: Path) -> Callable[..., Vm]:
    """A simulated machine: what happens in its guest before, and its options as in a scenario."""

    def make(
        *steps: str,
        devices: tuple[str, ...] = ('id = "vm0"\nmax-size = "8G"',),
        guest: str = 'default-state = "online_movable"',
        load: bool = True,
    ) -> Vm:
        path = tmp_path / "guest.toml"
        before = ('do = "load"',) if load else ()
        path.write_text(
            f'[guest]\nmemory = "4G"\nmax-memory = "40G"\n{guest}\n'
            + "".join(f"[[device]]\n{device}\n" for device in devices)
            + "".join(f"[[step]]\n{step}\n" for step in (*before, *steps))
        )
        backend = open_sim(str(path), label=f"sim:{path.name}")
        return Vm("guest", backend, SimAgent(backend))

    return make


@pytest.fixture(name="messages")
def messages_fixture() -> Callable[..., AsyncIterator[dict[str, Any]]]:
    """See `messages`."""
    return messages
