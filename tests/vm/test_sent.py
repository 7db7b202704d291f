"""What is sent to a machine is what the table of commands says, verb by verb, and nothing unstable unasked."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from docs import sent as page
from docs.marked import page_with
from tests.vm.test_agent_hostile import FILES, Qga
from virtiomem.vm.doors.peer import Peer
from virtiomem.vm.doors.qmp import QmpBackend
from virtiomem.vm.doors.sent import COMMANDS, EVERY, TABLE, VIRTIO_STATUS

Serve = Any
Messages = Callable[..., AsyncIterator[dict[str, Any]]]

SIZES = {"size": 1 << 28, "requested-size": 0, "max-size": 1 << 30, "block-size": 1 << 21, "node": 0}
ANSWERS = {
    "query-memory-size-summary": {"base-memory": 1 << 29},
    "query-status": {"status": "running"},
    "query-memory-devices": [
        {"type": "virtio-mem", "data": {"id": "vm0", "memaddr": 1 << 32, **SIZES}},
        {"type": "virtio-mem", "data": {"memaddr": 1 << 33, **SIZES}},
    ],
    "qom-list": [{"name": "device[0]", "type": "child<virtio-mem-pci>"}],
    "qom-get": 1 << 33,
}


class Monitor:
    """A QEMU of some version, and all that it was sent."""

    def __init__(self, messages: Messages, version: str = "7.2.22") -> None:
        self.messages = messages
        parts = dict(zip(("major", "minor", "micro"), map(int, version.split(".")), strict=True))
        self.greeting = json.dumps({"QMP": {"version": {"qemu": parts, "package": ""}, "capabilities": []}})
        self.sent: set[str] = set()
        self.heard = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting.encode() + b"\n")
        async for message in self.messages(reader):
            self.sent.add(message["execute"])
            self.heard.set()
            answer = ANSWERS.get(message["execute"], {})
            writer.write(json.dumps({"return": answer, "id": message.get("id")}).encode() + b"\n")


ARGUMENTS = {
    "list": (),
    "status": ("--unstable-monitor-commands",),
    "resize": ("vm0", "512M", "--no-wait", "--unstable-monitor-commands"),
    "watch": (),
    "explain": ("--unstable-monitor-commands",),
}


@pytest.mark.parametrize("verb", EVERY)
def test_verb_sends_what_the_table_says_and_no_more(
    serve: Serve, messages: Messages, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "/proc/meminfo", "MemTotal: 15360 kB\n")  # what its zones manage, in pages of 4K
    monkeypatch.setitem(FILES, "/proc/kpageflags", "")
    monitor, asked = Monitor(messages), set()
    expected = {command.name for command in TABLE if verb in command.verbs and command.to in {"monitor", "agent"}}

    async def overheard(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
        async for message in messages(reader):
            asked.add(message["execute"])
            yield message

    async def run() -> None:
        async with (
            asyncio.timeout(60),
            serve(monitor, name="qmp") as qmp,
            serve(Qga(overheard), name="agent") as agent,
        ):
            command = ("-m", "virtiomem", "vm", verb, *ARGUMENTS[verb], "-c", qmp, "--agent", agent)
            process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
            assert process.stdout is not None
            while verb == "watch" and not expected <= monitor.sent:  # it ends on request
                monitor.heard.clear()
                await monitor.heard.wait()
            if verb == "watch":
                assert await process.stdout.readline(), "it has seen the machine"
                process.terminate()
            await process.communicate()
            assert process.returncode == 0

    asyncio.run(run())
    assert monitor.sent | asked == expected


def hypervisor_info(serve: Serve, monitor: Monitor, *, unstable: bool) -> Any:
    async def run() -> Any:
        async with serve(monitor) as path:
            backend = QmpBackend("qmp:test", path, unstable=unstable)
            await backend.open()
            try:
                return await backend.hypervisor_info(await backend.look())
            finally:
                await backend.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("version", "allowed", "asked"),
    [
        ("7.2.22", True, True),
        ("10.0.13", True, True),
        ("11.1.3", True, False),
        ("10.1.0", True, False),
        ("70.2.0", True, False),
        ("7.2.22", False, False),
        ("11.1.3", False, False),
    ],
)
def test_unstable_command_needs_the_users_word_and_a_release_that_survives_it(
    serve: Serve, messages: Messages, version: str, allowed: bool, asked: bool
) -> None:
    monitor = Monitor(messages, version)
    seen = hypervisor_info(serve, monitor, unstable=allowed)
    assert (VIRTIO_STATUS in monitor.sent) is asked
    assert any(name.startswith("x-") for name in monitor.sent) is asked
    said = f"{VIRTIO_STATUS} is not sent to QEMU {version}: only 7.2 and 10.0 are known to survive it"
    assert seen.held_back == (said if allowed and not asked else None)


def test_what_is_not_in_the_table_cannot_be_sent() -> None:
    with pytest.raises(KeyError, match="system_reset"):
        asyncio.run(Peer("test", "/nowhere").ask("system_reset", shape=dict[str, Any]))


def test_unstable_is_what_qemu_names_so_and_only_that_has_releases() -> None:
    assert {name for name, command in COMMANDS.items() if command.survived} == {VIRTIO_STATUS}
    assert not COMMANDS[VIRTIO_STATUS].stable
    assert {name for name, command in COMMANDS.items() if command.changes != "nothing"} == {
        "qom-set",
        "guest-file-open",
        "virDomainUpdateDeviceFlags",
        "virDomainAttachDeviceFlags",
        "virDomainDetachDeviceFlags",
        "virDomainQemuAgentCommand",
        "PATCH /hotplug/memory",
        "PUT /vm.resize",
        "PUT /vm.resize-zone",
    }


def test_page_has_the_table() -> None:
    """When this fails on purpose: `python -m docs.sent`."""
    text = page.PAGE.read_text()
    assert page_with(text, page.BEGIN, page.END, page.table()) == text
