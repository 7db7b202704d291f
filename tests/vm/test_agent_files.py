"""No file of the guest stays open for us, however a look ends: the agent would keep it open for as long as it runs."""

import asyncio
from typing import Any

import pytest

from tests.vm.test_agent_hostile import FILES, Qga
from virtiomem.errors import BackendTimeout
from virtiomem.units import GiB, MiB, Span
from virtiomem.vm.doors import agent_files as agents
from virtiomem.vm.doors.guest_agent import GuestAgent
from virtiomem.vm.inside import Claim

Serve = Any
Messages = Any

IOMEM = "00001000-0009fbff : System RAM\n100000000-17fffffff : virtio0\n"


class Slow(Qga):
    """An agent that answers one command only when it is let."""

    def __init__(self, messages: Messages, slow: str) -> None:
        super().__init__(messages)
        self.slow = slow
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain = self.messages

        async def halting(stream: asyncio.StreamReader) -> Any:
            async for message in plain(stream):
                if message["execute"] == self.slow:
                    self.asked.set()
                    await self.let.wait()
                yield message

        self.messages = halting
        await super().__call__(reader, writer)

    @property
    def left_open(self) -> int:
        return len(self.handles) - self.closed


@pytest.mark.parametrize("command", ["guest-file-open", "guest-file-read", "guest-file-close"])
def test_interrupted_look_closes_its_file(serve: Serve, messages: Messages, command: str) -> None:
    async def run() -> None:
        qga = Slow(messages, command)
        async with serve(qga) as path:
            looking = asyncio.ensure_future(GuestAgent(path).look())
            await qga.asked.wait()
            looking.cancel()
            asyncio.get_running_loop().call_soon(qga.let.set)
            with pytest.raises(asyncio.CancelledError):
                await looking
        assert (len(qga.handles), qga.left_open) == (1, 0)

    asyncio.run(run())


def test_interrupt_does_not_wait_for_an_agent_that_is_silent(
    serve: Serve, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "CLOSING_SECONDS", 0.1)

    async def run() -> None:
        qga = Slow(messages, "guest-file-read")
        async with serve(qga) as path:
            looking = asyncio.ensure_future(GuestAgent(path).look())
            await qga.asked.wait()
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(5):
                    await looking
            qga.let.set()

    asyncio.run(run())


def test_file_that_may_have_stayed_open_is_named(
    serve: Serve, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "ANSWER_SECONDS", 0.2)

    async def run() -> None:
        qga = Slow(messages, "guest-file-open")
        async with serve(qga) as path:
            with pytest.raises(
                BackendTimeout, match=r"guest-file-open in 0\.2 s; /proc/meminfo may stay open in the guest"
            ):
                await GuestAgent(path).look()
            qga.let.set()

    asyncio.run(run())


def test_claims_come_with_the_status_of_their_devices(
    serve: Serve, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "/proc/iomem", IOMEM)
    monkeypatch.setitem(FILES, "/sys/bus/virtio/devices/virtio0/status", "0x0000000f\n")

    async def run(claims: bool) -> Any:
        async with serve(Qga(messages)) as path:
            return (await GuestAgent(path).look((Span(0, MiB),), claims=claims)).claims

    assert asyncio.run(run(True)) == (Claim(memaddr=4 * GiB, name="virtio0", size=2 * GiB, status=15),)
    assert asyncio.run(run(False)) is None
