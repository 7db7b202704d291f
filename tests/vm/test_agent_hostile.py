"""A guest agent is the guest's: it may say anything, and we read only what fits within bounds."""

import asyncio
import base64
import gc
import json
from typing import Any

import pytest

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError, VirtiomemError
from virtiomem.units import KiB, MiB, Span
from virtiomem.vm.doors import agent_files as agents
from virtiomem.vm.doors import peer
from virtiomem.vm.doors.agent_files import FILE_LIMIT
from virtiomem.vm.doors.guest_agent import GuestAgent
from virtiomem.vm.inside import GuestMemoryInfo

Serve = Any
Messages = Any

FILES = {
    "/proc/meminfo": "MemTotal:        4019888 kB\nMemFree:   100 kB\nMemAvailable:  200 kB\n",
    "/sys/devices/system/memory/auto_online_blocks": "online_movable\n",
    "/sys/module/memory_hotplug/parameters/online_policy": "contig-zones\n",
    "/sys/devices/system/memory/memory33/valid_zones": "Movable\n",
    "/proc/zoneinfo": (
        "Node 0, zone      DMA\n  pages free     10\n        spanned  4095\n        present  3998\n        managed  3840\n"
        "Node 0, zone  Movable\n  pages free     0\n        spanned  0\n        present  0\n        managed  0\n"
    ),
}
BLOCKS = [{"phys-index": index, "online": index != 34, "can-offline": True} for index in (34, 33, 0)]


class Qga:
    """A guest agent over a table of files; a test overrides what it answers."""

    def __init__(self, messages: Messages, **answers: Any) -> None:
        self.messages = messages
        self.answers = answers
        self.handles: dict[int, bytes] = {}
        self.closed = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for message in self.messages(reader):
            command = message["execute"]
            arguments = message.get("arguments", {})
            answer = self.answers.get(command.replace("-", "_"), getattr(self, command.replace("-", "_"), None))
            value = answer(**arguments) if callable(answer) else answer
            reply = value if isinstance(value, bytes) else json.dumps({"return": value, "id": message["id"]}).encode()
            writer.write(reply.replace(b"$ID", json.dumps(message["id"]).encode()) + b"\n")
            await writer.drain()

    def guest_sync_delimited(self, id: int) -> Any:
        return b'\xff{"return": %d, "id": $ID}' % id

    def guest_get_memory_block_info(self) -> Any:
        return {"size": 128 * MiB}

    def guest_get_memory_blocks(self) -> Any:
        return BLOCKS

    def guest_file_open(self, path: str, mode: str) -> Any:
        assert mode == "r"
        if path not in FILES:
            return b'{"error": {"class": "GenericError", "desc": "failed to open file: No such file or directory"}, "id": $ID}'
        self.handles[len(self.handles)] = FILES[path].encode("latin-1")
        return len(self.handles) - 1

    def guest_file_seek(self, handle: int, offset: int, whence: int) -> Any:
        assert whence == 0
        self.handles[handle] = self.handles[handle][offset:]
        return {"position": offset, "eof": False}

    def guest_file_read(self, handle: int, count: int) -> Any:
        data, self.handles[handle] = self.handles[handle][:count], self.handles[handle][count:]
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": not self.handles[handle]}

    def guest_file_close(self, handle: int) -> Any:
        self.closed += handle >= 0
        return {}


def look(serve: Serve, talk: Any, spans: tuple[Span, ...] = ()) -> GuestMemoryInfo:
    async def run() -> GuestMemoryInfo:
        async with serve(talk) as path:
            return await GuestAgent(path).look(spans)

    return asyncio.run(run())


def test_well_behaved_agent_tells_all(serve: Serve, messages: Messages) -> None:
    qga = Qga(messages)
    inside = look(serve, qga, (Span(33 * 128 * MiB, 35 * 128 * MiB),))
    assert (inside.mem_total, inside.mem_free, inside.mem_available) == (4019888 * KiB, 100 * KiB, 200 * KiB)
    assert [(b.block, b.online, b.zone) for b in inside.blocks] == [
        (0, True, None),
        (33, True, "Movable"),
        (34, False, None),
    ]
    assert [(zone.name, zone.managed) for zone in inside.zones] == [("DMA", 3840 * 4 * KiB)]
    assert (inside.auto_online_blocks, inside.online_policy) == ("online_movable", "contig-zones")
    assert inside.unreadable == ()
    assert qga.closed == len(qga.handles)


def test_block_that_is_removed_meanwhile_is_not_missed(serve: Serve, messages: Messages) -> None:
    shown = [*BLOCKS, {"phys-index": 40, "online": True}, {"phys-index": 32, "online": True}]
    qga = Qga(messages, guest_get_memory_blocks=shown)
    inside = look(serve, qga, (Span(32 * 128 * MiB, 41 * 128 * MiB),))
    assert [(b.block, b.zone) for b in inside.blocks] == [(0, None), (33, "Movable"), (34, None)]
    assert inside.unreadable == ()


def test_forbidden_files_leave_the_blocks(serve: Serve, messages: Messages) -> None:
    refusal = b'{"error": {"class": "CommandNotFound", "desc": "disabled"}, "id": $ID}'
    inside = look(serve, Qga(messages, guest_file_open=refusal))
    assert len(inside.blocks) == 3
    assert inside.mem_total is None
    assert "/proc/meminfo (disabled)" in inside.unreadable


def test_guest_without_hotplug_says_that_it_has_no_blocks(serve: Serve, messages: Messages) -> None:
    refusal = b'{"error": {"class": "GenericError", "desc": "not supported"}, "id": $ID}'
    inside = look(serve, Qga(messages, guest_get_memory_blocks=refusal, guest_get_memory_block_info=refusal))
    assert inside.blocks_in(Span(0, 1 << 40)) == ()
    assert inside.unreadable[:2] == (
        "the size of its memory blocks (not supported)",
        "its memory blocks (not supported)",
    )


def test_silent_socket_asks_whether_the_agent_runs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(agents, "ANSWER_SECONDS", 0.2)
    with pytest.raises(BackendTimeout, match="does qemu-ga run in the guest"):
        look(serve, silence)


def test_what_an_earlier_client_was_to_hear_is_passed_over(serve: Serve, messages: Messages) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'{"return": 5, "id": "sync-5"}\n\xff[1, 2]\n{"error": {"class": "GenericError", "desc": "x"}}\n{"ret'
        )
        await Qga(messages)(reader, writer)

    assert len(look(serve, talk).blocks) == len(BLOCKS)


def test_an_agent_that_refuses_to_synchronise_is_quoted(serve: Serve, messages: Messages) -> None:
    refusal = b'{"error": {"class": "CommandNotFound", "desc": "disabled"}, "id": $ID}'
    with pytest.raises(ProtocolError, match=r"bad answer to guest-sync-delimited: refused: disabled$"):
        look(serve, Qga(messages, guest_sync_delimited=refusal))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "it closed the connection before its answer"),
        (b"\x00\x80\xff\xfe{[", "it closed the connection before its answer"),
        (b'{"event": "X", "timestamp": {}}\n' * 3000, "more than 2000 messages in a second"),
        (b"[" * 5_000_000, "a message above 4 MiB"),
    ],
)
def test_a_peer_that_is_no_agent_is_one_clear_line(serve: Serve, said: bytes, words: str) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    with pytest.raises(VirtiomemError, match=words):
        look(serve, talk)


@pytest.mark.parametrize("more", [b'{"error": {"class": "GenericError", "desc": "x"}}\n', b"[1, 2]\n", b"\x00\n", b""])
def test_a_connection_that_breaks_right_after_the_answer_is_one_clear_line(
    serve: Serve, messages: Messages, caplog: pytest.LogCaptureFixture, more: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for message in messages(reader):
            answer = {"return": message["arguments"]["id"], "id": message["id"]}
            writer.write(b"\xff" + json.dumps(answer).encode() + b"\n" + more)
            return

    with pytest.raises(VirtiomemError, match=r"connection lost: |bad answer to "):
        look(serve, talk)
    gc.collect()  # an exception that was not awaited would complain now
    assert caplog.records == []


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("guest_sync_delimited", 7),
        ("guest_sync_delimited", "7"),
        ("guest_get_memory_block_info", {"size": 0}),
        ("guest_get_memory_block_info", {"size": -1}),
        ("guest_get_memory_block_info", {"size": 10**30}),
        ("guest_get_memory_block_info", {"size": 3}),
        ("guest_get_memory_blocks", [{"phys-index": -1, "online": True}]),
        ("guest_get_memory_blocks", [{"phys-index": 1 << 60, "online": True}]),
        ("guest_get_memory_blocks", [{"phys-index": 1}]),
        ("guest_get_memory_blocks", 5),
        ("guest_get_memory_block_info", "\ud800"),
        ("guest_get_memory_block_info", {"size": "\ud800"}),
        ("guest_get_memory_blocks", "\ud800"),
        ("guest_get_memory_blocks", [{"phys-index": 1, "online": "\ud800"}]),
        ("guest_get_memory_blocks", [{"phys-index": 1.5, "online": True}]),
        ("guest_file_open", "\ud800"),
        ("guest_file_open", -1),
        ("guest_file_read", "\ud800"),
        ("guest_file_read", {"buf-b64": "\ud800", "eof": True}),
        ("guest_file_close", "\ud800"),
        ("guest_file_open", "handle"),
        ("guest_file_read", {"buf-b64": "not base64!", "eof": True}),
        ("guest_file_read", {"eof": True}),
        ("guest_file_read", b"}"),
    ],
)
def test_nonsense_is_one_clear_line(serve: Serve, messages: Messages, command: str, answer: Any) -> None:
    with pytest.raises(VirtiomemError) as failed:
        look(serve, Qga(messages, **{command: answer}))
    assert isinstance(failed.value, ProtocolError | BackendError)
    assert str(failed.value).startswith("agent /")
    assert str(failed.value).isprintable()


def test_endless_file_is_read_up_to_the_limit(serve: Serve, messages: Messages) -> None:
    reads = []

    def read(handle: int, count: int) -> Any:
        reads.append(handle)
        return {"count": count, "buf-b64": base64.b64encode(b"x" * count).decode(), "eof": False}

    inside = look(serve, Qga(messages, guest_file_read=read))
    assert inside.mem_total is None
    assert len(reads) <= 4 * (FILE_LIMIT // (48 * KiB) + 1)


@pytest.mark.long
def test_file_that_drips_runs_into_the_deadline_of_the_look(
    serve: Serve, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "LOOK_SECONDS", 0.3)
    drop = {"count": 1, "buf-b64": "QQ==", "eof": False}
    with pytest.raises(BackendTimeout, match=r"^agent /.*: it has not answered everything in 0\.3 s$"):
        look(serve, Qga(messages, guest_file_read=drop))


def test_look_that_is_interrupted_twice_leaves_no_exception_behind(
    serve: Serve, messages: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        reading = asyncio.Event()

        async def until_a_file_is_read(reader: asyncio.StreamReader) -> Any:
            async for message in messages(reader):
                if message["execute"] == "guest-file-read":
                    reading.set()
                    await reader.read()
                    return
                yield message

        async with serve(Qga(until_a_file_is_read)) as path:
            looking = asyncio.create_task(GuestAgent(path).look())
            await reading.wait()
            for _ in range(2):
                looking.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([looking])
            assert looking.cancelled()

    asyncio.run(run())
    gc.collect()
    assert caplog.records == []


def test_meminfo_of_nonsense_is_not_believed(serve: Serve, messages: Messages) -> None:
    text = b"MemTotal: 99999999999999999999 kB\nMemFree: -3 kB\nMemAvailable: 0x10 kB\n\xff\xfe"

    def read(handle: int, count: int) -> Any:
        assert (handle, count) >= (0, 1)
        return {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": True}

    inside = look(serve, Qga(messages, guest_file_read=read))
    assert (inside.mem_total, inside.mem_free, inside.mem_available, inside.zones) == (None, None, None, ())
    assert inside.auto_online_blocks is None
