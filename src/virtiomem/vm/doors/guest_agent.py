"""qemu-ga behind `GuestView`: read-only questions to a guest through its guest agent's socket.

`sent.TABLE` has the commands used; the files are a fixed list below /proc and /sys, none of which changes by being read,
and each is closed again whatever happens. Nothing is written and nothing is run in the guest (guest-exec could tell the
same, and would need a right that no monitoring should have). Distributions that forbid guest-file-* still give the blocks.
Each look is a connection of its own: the socket serves one client, and others may want it.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Protocol

import msgspec
from msgspec import Struct

from virtiomem.abi import BlockFile
from virtiomem.architecture import DEFAULT
from virtiomem.errors import BackendTimeout, ProtocolError
from virtiomem.qemu.client import taken
from virtiomem.qemu.validation import NUMBER, OBJECT, Flag, Shape, String, Unsound, ValueKind
from virtiomem.units import KiB, Span, is_power_of_two
from virtiomem.vm import inside
from virtiomem.vm.doors.address import Address, parse_address
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.doors.peer import Peer, Refused
from virtiomem.vm.inside import Block, Claim, GuestMemoryInfo

FILE_LIMIT = 256 * KiB
"""Bytes read of one file of the guest; /proc/zoneinfo of 8 nodes and 64 CPUs is about 200 KiB."""
MAX_ZONES_ASKED = 256
"""Blocks whose zone is asked for, one file each."""
MAX_CLAIMS = 256
"""Devices whose status is asked for, one file each."""
ANSWER_SECONDS = 10.0
"""A guest that is onlining memory may be slow to answer."""
CLOSING_SECONDS = 1.0
"""How long an interrupt waits for a file of the guest to be closed."""


_SIZE: ValueKind[int] = ValueKind(
    "a power of two below 2^63", lambda size: NUMBER.fits(size) and is_power_of_two(size) and not size >> 63
)
_INDEX: ValueKind[int] = ValueKind("a number below 2^44", lambda index: NUMBER.fits(index) and not index >> 44)


class _Block(Struct, frozen=True, rename="kebab"):
    """An element of guest-get-memory-blocks."""

    phys_index: Annotated[int, _INDEX]
    online: Flag


class _BlockInfo(Struct, frozen=True):
    size: Annotated[int, _SIZE]


class _Chunk(Struct, frozen=True, rename="kebab"):
    """An answer of guest-file-read."""

    buf_b64: String
    eof: Flag


class AgentPeer(Protocol):
    """Who passes questions to an agent."""

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
        """The error for an answer that cannot be."""


class GuestAgent:
    """A guest agent that listens on a socket of the host."""

    def __init__(self, address: Address, machine: str = "") -> None:
        """`machine` is whose agent it is, for errors."""
        self._address = address
        where = address if isinstance(address, str) else ":".join(map(str, address))
        self._label = f"{machine}: agent {where}" if machine else f"agent {where}"

    async def look(self, spans: tuple[Span, ...] = (), *, claims: bool = False) -> GuestMemoryInfo:
        """What the guest says of its memory."""
        async with self._peer() as peer:
            return await _Session(peer).look(spans, claims=claims)

    async def close(self) -> None:
        """Nothing stays open."""

    @asynccontextmanager
    async def _peer(self) -> AsyncIterator[AgentPeer]:
        """A conversation with the agent, of which all questions together have a time limit."""
        peer = Peer(self._label, self._address)
        await peer.connect(greeting=False, seconds=ANSWER_SECONDS)
        try:
            async with peer.deadline():
                yield peer
        finally:
            await peer.close()


def socket_agent(connection: Connection) -> GuestAgent | None:
    """The agent whose socket a connection names; UsageError for what is no address."""
    if connection.agent is None:
        return None
    return GuestAgent(parse_address(connection.agent, source=f"{connection.name}: agent"), connection.name)


class _Session:
    """One conversation with the agent."""

    def __init__(self, peer: AgentPeer) -> None:
        self._peer = peer
        self._unreadable: list[str] = []

    async def look(self, spans: tuple[Span, ...], *, claims: bool) -> GuestMemoryInfo:
        """Ask everything; what is refused is named in `unreadable`."""
        block_size = await self._block_size()
        blocks = await self._blocks()
        meminfo = inside.parse_meminfo(await self._read(inside.MEMINFO) or "")
        zoneinfo = await self._read(inside.ZONEINFO) or ""
        page_size = inside.page_size_of(meminfo.get("MemTotal"), zoneinfo)
        auto_online = inside.one_word(await self._read(inside.AUTO_ONLINE) or "")
        policy = inside.one_word(await self._read(inside.ONLINE_POLICY) or "")
        if spans and block_size:
            blocks = await self._with_zones(blocks, block_size, spans)
        return GuestMemoryInfo(
            source="guest agent",
            block_size=block_size,
            blocks=blocks,
            mem_total=meminfo.get("MemTotal"),
            mem_free=meminfo.get("MemFree"),
            mem_available=meminfo.get("MemAvailable"),
            zones=inside.parse_zoneinfo(zoneinfo, page_size or DEFAULT.page_size),
            auto_online_blocks=auto_online,
            online_policy=policy,
            claims=await self._claims() if claims else None,
            unreadable=tuple(self._unreadable),
            page_size=page_size,
        )

    async def _ask(
        self, command: str, arguments: dict[str, object] | None = None, *, shape: type[Shape] | ValueKind[Shape]
    ) -> Shape:
        return await self._peer.ask(command, arguments, shape=shape, seconds=ANSWER_SECONDS)

    async def _block_size(self) -> int | None:
        try:
            info = await self._ask("guest-get-memory-block-info", shape=_BlockInfo)
        except Refused as error:
            self._unreadable.append(f"the size of its memory blocks ({error.reason})")
            return None
        return info.size

    async def _blocks(self) -> tuple[Block, ...]:
        try:
            found = await self._ask("guest-get-memory-blocks", shape=list[_Block])
        except Refused as error:
            self._unreadable.append(f"its memory blocks ({error.reason})")
            return ()
        return tuple(
            Block(block=block.phys_index, online=block.online) for block in sorted(found, key=lambda b: b.phys_index)
        )

    async def _with_zones(self, blocks: tuple[Block, ...], size: int, spans: tuple[Span, ...]) -> tuple[Block, ...]:
        """Add the zone of the online blocks in `spans`, of so many as is decent to ask for."""
        concerned = [
            b for b in blocks if b.online and any(span.overlaps(Span.of_block(b.block, size)) for span in spans)
        ]
        zones = await self._zones(concerned[:MAX_ZONES_ASKED])
        if len(concerned) > MAX_ZONES_ASKED:
            self._unreadable.append(f"the zones of {len(concerned) - MAX_ZONES_ASKED} blocks (too many to ask for)")
        return tuple(Block(block=b.block, online=b.online, zone=zones.get(b.block)) for b in blocks)

    async def _zones(self, blocks: Iterable[Block]) -> dict[int, str]:
        found = {}
        for block in blocks:
            text = await self._read(f"/sys/devices/system/memory/memory{block.block}/{BlockFile.VALID_ZONES}")
            if text is None:
                break
            zone = text.strip()
            if zone.isalnum() and len(zone) <= 16 and zone != "none":
                found[block.block] = zone
        return found

    async def _claims(self) -> tuple[Claim, ...] | None:
        """Which device regions drivers have taken, and the status of each device."""
        text = await self._read(inside.IOMEM) or ""
        claims = inside.parse_claims(text) if len(text) < FILE_LIMIT else None
        if claims is None:
            return None
        return (*[await self._with_status(claim) for claim in claims[:MAX_CLAIMS]], *claims[MAX_CLAIMS:])

    async def _with_status(self, claim: Claim) -> Claim:
        text = await self._read(f"/sys/bus/virtio/devices/{claim.name}/status")
        return msgspec.structs.replace(claim, status=inside.one_number(text or ""))

    async def _read(self, path: str) -> str | None:
        """A whole file of the guest, up to FILE_LIMIT bytes; None, and a note, when it cannot be had.

        An interrupt waits until the file is closed again: the agent keeps it open for as long as it runs.
        """
        reading = asyncio.create_task(self._whole(path))
        reading.add_done_callback(taken)  # when we are interrupted once more, its exception is not ours to hear
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait([reading], timeout=CLOSING_SECONDS)
            if reading.cancel():  # a file that is fed to us byte by byte
                await asyncio.wait([reading], timeout=CLOSING_SECONDS)
            raise

    async def _whole(self, path: str) -> str | None:
        try:
            handle = await self._ask("guest-file-open", {"path": path, "mode": "r"}, shape=NUMBER)
        except Refused as error:
            self._unreadable.append(f"{path} ({error.reason})")
            return None
        except BackendTimeout as error:
            text = f"{error.message}; {path} may stay open in the guest"
            raise BackendTimeout(text, connection=error.connection) from None
        try:
            return await self._content(handle, path)
        finally:
            await self._close(handle)

    async def _content(self, handle: int, path: str) -> str | None:
        data = b""
        while len(data) < FILE_LIMIT:
            try:
                chunk = await self._ask("guest-file-read", {"handle": handle, "count": 48 * KiB}, shape=_Chunk)
            except Refused as error:
                self._unreadable.append(f"{path} ({error.reason})")
                return None
            try:
                data += base64.b64decode(chunk.buf_b64, validate=True)
            except (binascii.Error, ValueError):
                raise self._peer.bad_answer("guest-file-read", Unsound(chunk.buf_b64, "base64", "buf-b64")) from None
            if chunk.eof or not chunk.buf_b64:
                break
        return data[:FILE_LIMIT].decode("utf-8", errors="replace")

    async def _close(self, handle: int) -> None:
        try:
            await self._ask("guest-file-close", {"handle": handle}, shape=OBJECT)
        except Refused:
            self._unreadable.append("whether it closed a file")
