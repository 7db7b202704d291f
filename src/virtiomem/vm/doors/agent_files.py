"""Files of a guest, read through its agent: never more than was asked for, and closed again whatever happens."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from virtiomem.errors import BackendTimeout, ProtocolError
from virtiomem.qemu.client import taken
from virtiomem.qemu.validation import NUMBER, OBJECT, Flag, Shape, String, Unsound, ValueKind
from virtiomem.units import KiB
from virtiomem.vm.doors.peer import Refused

FILE_LIMIT = 256 * KiB
"""Bytes read of one file of the guest; /proc/zoneinfo of 8 nodes and 64 CPUs is about 200 KiB."""
# Base64 of 48 KiB is 64 KiB: each answer stays far below the limit of a message.
READ_SIZE = 48 * KiB
"""Bytes asked for at a time."""
ANSWER_SECONDS = 10.0
"""A guest that is onlining memory may be slow to answer."""
CLOSING_SECONDS = 1.0
"""How long an interrupt waits for a file of the guest to be closed."""


class _Chunk(Struct, frozen=True, rename="kebab"):
    """An answer of guest-file-read."""

    buf_b64: String
    eof: Flag


class AgentPeer(Protocol):
    """A channel that passes questions to an agent."""

    async def ask(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        shape: type[Shape] | ValueKind[Shape],
        seconds: float | None = None,
    ) -> Shape:
        """Execute a command and return its answer as a `shape`; raises as `peer.Peer.ask` does."""

    def bad_answer(self, command: str, why: object) -> ProtocolError:
        """The error for an impossible answer."""


class GuestFiles:
    """The files of a guest whose agent answers; `unreadable` names what could not be read, and why."""

    def __init__(self, peer: AgentPeer) -> None:
        self._peer = peer
        self.unreadable: list[str] = []

    async def ask(
        self, command: str, arguments: Mapping[str, object] | None = None, *, shape: type[Shape] | ValueKind[Shape]
    ) -> Shape:
        """Ask the agent anything; raises as `peer.Peer.ask` does."""
        return await self._peer.ask(command, arguments, shape=shape, seconds=ANSWER_SECONDS)

    async def text(self, path: str) -> str | None:
        """Read a whole file, up to FILE_LIMIT bytes; None, and an entry in `unreadable`, when it cannot be read."""
        data = await self.read(path, 0, FILE_LIMIT)
        return None if data is None else data.decode("utf-8", errors="replace")

    async def read(self, path: str, offset: int, size: int) -> bytes | None:
        """Read `size` bytes of a file, fewer at its end; None, and an entry in `unreadable`, when they cannot be read.

        An interrupt waits until the file is closed again: the agent keeps it open for as long as it runs.
        """
        reading = asyncio.create_task(self._read(path, offset, size))
        reading.add_done_callback(taken)  # when we are interrupted once more, its exception is not ours to hear
        try:
            # Not shield(): from Python 3.14 on it reports to the loop an error that is not awaited any more.
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            await asyncio.wait([reading], timeout=CLOSING_SECONDS)
            if reading.cancel():  # a file that is fed to us byte by byte
                await asyncio.wait([reading], timeout=CLOSING_SECONDS)
            raise
        return reading.result()

    async def _read(self, path: str, offset: int, size: int) -> bytes | None:
        try:
            handle = await self.ask("guest-file-open", {"path": path, "mode": "r"}, shape=NUMBER)
        except Refused as error:
            self.unreadable.append(f"{path} ({error.reason})")
            return None
        except BackendTimeout as error:
            # It may have opened the file and answered too late: without the handle nothing can close it.
            text = f"{error.message}; {path} may stay open in the guest"
            raise BackendTimeout(text, connection=error.connection) from None
        try:
            return await self._content(handle, offset, size)
        except Refused as error:
            self.unreadable.append(f"{path} ({error.reason})")
            return None
        finally:
            # Also after an error or an interrupt: qemu-ga keeps a file open for as long as it runs, and has a limited
            # number of them.
            await self._close(handle)

    async def _content(self, handle: int, offset: int, size: int) -> bytes:
        if offset:
            place = {"handle": handle, "offset": offset, "whence": 0}
            await self.ask("guest-file-seek", place, shape=OBJECT)
        data = b""
        while left := size - len(data):
            question = {"handle": handle, "count": min(left, READ_SIZE)}
            chunk = await self.ask("guest-file-read", question, shape=_Chunk)
            try:
                # Cut to what was asked for: a guest that answers with more must not grow what is read of it.
                data += base64.b64decode(chunk.buf_b64, validate=True)[:left]
            except (binascii.Error, ValueError):
                raise self._peer.bad_answer("guest-file-read", Unsound(chunk.buf_b64, "base64", "buf-b64")) from None
            # An agent that says neither eof nor anything else would be asked forever.
            if chunk.eof or not chunk.buf_b64:
                break
        return data

    async def _close(self, handle: int) -> None:
        try:
            await self.ask("guest-file-close", {"handle": handle}, shape=OBJECT)
        except Refused:
            # Not raised: the content is whole, and another try would be refused in the same way.
            self.unreadable.append("whether it closed a file")
