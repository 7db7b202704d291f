"""qemu-ga behind `GuestView`: read-only questions to a guest through its guest agent's socket.

`sent.TABLE` has the commands used; the files are a fixed list below /proc and /sys, none of which changes by being read,
and each is closed again whatever happens. Nothing is written and nothing is run in the guest (guest-exec could tell the
same, and would need a right that no monitoring should have). Distributions that forbid guest-file-* still give the blocks.
Each look is a connection of its own: the socket serves one client, and others may want it.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace

from virtiomem.abi import BlockFile
from virtiomem.architecture import DEFAULT
from virtiomem.qemu.validation import NUMBER, Flag, ValueKind
from virtiomem.recording import page_blocks
from virtiomem.recording.page_use import FLAGS_SIZE, BlockPages
from virtiomem.units import MiB, Span, is_power_of_two
from virtiomem.vm import inside
from virtiomem.vm.doors import agent_files
from virtiomem.vm.doors.address import Address, parse_address
from virtiomem.vm.doors.agent_files import AgentPeer, GuestFiles
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.doors.peer import LOOK_SECONDS, Peer, Refused
from virtiomem.vm.inside import Block, Claim, GuestMemoryInfo

MAX_ZONES_ASKED = 256
"""Blocks whose zone is asked for, one file each."""
MAX_FLAGS = 32 * MiB
"""Bytes of /proc/kpageflags for one memory block: those of 16 GiB in pages of 4 KiB."""
MAX_CLAIMS = 256
"""Devices whose status is asked for, one file each."""

_MISSING = os.strerror(errno.ENOENT)
"""Words of qemu-ga about a file that is not there."""
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


class GuestAgent:
    """A guest agent that listens on a socket of the host."""

    def __init__(self, address: Address, machine: str = "") -> None:
        """`machine` is whose agent it is, for errors."""
        self._address = address
        where = address if isinstance(address, str) else ":".join(map(str, address))
        self._label = f"{machine}: agent {where}" if machine else f"agent {where}"

    async def look(self, spans: tuple[Span, ...] = (), *, claims: bool = False) -> GuestMemoryInfo:
        """Read the guest's memory as the guest sees it."""
        async with self._peer() as peer:
            return await _Session(peer).look(spans, claims=claims)

    async def count_pages(self, inside: GuestMemoryInfo, spans: tuple[Span, ...], seconds: float) -> GuestMemoryInfo:
        """Return `inside` with the uses of the pages of its online memory blocks in `spans`."""
        # The pages have a limit of their own within; what comes before them has the usual one.
        async with self._peer(LOOK_SECONDS + seconds) as peer:
            return await _Session(peer).count_pages(inside, spans, seconds)

    async def close(self) -> None:
        """Nothing stays open."""

    @asynccontextmanager
    async def _peer(self, seconds: float | None = None) -> AsyncIterator[AgentPeer]:
        """A conversation with the agent; all its questions together have a time limit, LOOK_SECONDS unless it is given."""
        peer = Peer(self._label, self._address)
        # qemu-ga says nothing unasked: only an answer shows that it listens. A guest that is onlining memory may be
        # slow with it.
        await peer.connect(greeting=False, seconds=agent_files.ANSWER_SECONDS)
        try:
            async with peer.deadline(seconds):
                yield peer
        finally:
            await peer.close()


def socket_agent(connection: Connection) -> GuestAgent | None:
    """The agent whose socket a connection names; UsageError for what is not an address."""
    if connection.agent is None:
        return None
    return GuestAgent(parse_address(connection.agent, source=f"{connection.name}: agent"), connection.name)


class _Session:
    """One conversation with the agent."""

    def __init__(self, peer: AgentPeer) -> None:
        self._files = GuestFiles(peer)

    async def look(self, spans: tuple[Span, ...], *, claims: bool) -> GuestMemoryInfo:
        """Ask everything; what is refused is named in `unreadable`."""
        block_size = await self._block_size()
        blocks = await self._blocks()
        meminfo = inside.parse_meminfo(await self._files.text(inside.MEMINFO) or "")
        zoneinfo = await self._files.text(inside.ZONEINFO) or ""
        page_size = inside.page_size_of(meminfo.get("MemTotal"), zoneinfo)
        auto_online = inside.one_word(await self._files.text(inside.AUTO_ONLINE) or "")
        policy = inside.one_word(await self._files.text(inside.ONLINE_POLICY) or "")
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
            unreadable=tuple(self._files.unreadable),
            page_size=page_size,
        )

    async def count_pages(self, known: GuestMemoryInfo, spans: tuple[Span, ...], seconds: float) -> GuestMemoryInfo:
        """Count the uses of pages, the highest memory block first, of as many as there is time for."""
        # A set, for the regions of two devices may overlap in one block.
        blocks = sorted({b.block for span in spans for b in known.blocks_in(span) if b.online}, reverse=True)
        # Before the pages, which may use up all the time: these are one file each.
        pinned = inside.parse_pinned(await self._files.text(inside.VMSTAT) or "")
        pageblocks = page_blocks.parse((await self._files.text(inside.PAGETYPEINFO) or "").splitlines())
        pages: list[BlockPages] = []
        in_time = False
        with suppress(TimeoutError):  # nothing is asked after it: the agent may be silent
            async with asyncio.timeout(seconds):
                await self._count(blocks, known, pages)
                in_time = True
        left = len(blocks) - len(pages)
        # Blocks that could not be read, rather than those that there was no time for.
        if left and in_time:
            self._files.unreadable.append(f"the pages of {left} of {len(blocks)} memory blocks")
        return replace(
            known,
            pages=tuple(reversed(pages)),
            pages_left=0 if in_time else left,
            pages_seconds=seconds,
            pageblocks=tuple(pageblocks),
            pinned=pinned,
            unreadable=(*known.unreadable, *self._files.unreadable),
        )

    async def _count(self, blocks: Sequence[int], known: GuestMemoryInfo, pages: list[BlockPages]) -> None:
        """Add to `pages` until a block cannot be had."""
        if not known.page_size or not known.block_size or known.block_size < known.page_size:
            return
        # /proc/kpageflags has 8 bytes for each page frame, so a block's lie in one piece at its number.
        size = known.block_size // known.page_size * FLAGS_SIZE
        if size > MAX_FLAGS:
            return
        # Highest first, as the driver unplugs: what is cut off is what would go last.
        for block in blocks:
            flags = await self._files.read(inside.KPAGEFLAGS, block * size, size)
            # The next block would fail alike: where the file is not readable, none of it is.
            if flags is None or len(flags) < size:
                return
            pages.append(BlockPages.counted(block, flags, known.page_size))

    async def _block_size(self) -> int | None:
        try:
            info = await self._files.ask("guest-get-memory-block-info", shape=_BlockInfo)
        except Refused as error:
            self._files.unreadable.append(f"the size of its memory blocks ({error.reason})")
            return None
        return info.size

    async def _blocks(self) -> tuple[Block, ...]:
        try:
            found = await self._files.ask("guest-get-memory-blocks", shape=list[_Block])
        except Refused as error:
            self._files.unreadable.append(f"its memory blocks ({error.reason})")
            return ()
        return tuple(
            Block(block=block.phys_index, online=block.online) for block in sorted(found, key=lambda b: b.phys_index)
        )

    async def _with_zones(self, blocks: tuple[Block, ...], size: int, spans: tuple[Span, ...]) -> tuple[Block, ...]:
        """Add the zones of the online blocks in `spans`, of MAX_ZONES_ASKED at most."""
        concerned = [
            b for b in blocks if b.online and any(span.overlaps(Span.of_block(b.block, size)) for span in spans)
        ]
        # One file each, and each costs three questions to a guest that may be busy: a bound keeps the look within its
        # time.
        zones, gone = await self._zones(concerned[:MAX_ZONES_ASKED])
        if len(concerned) > MAX_ZONES_ASKED:
            self._files.unreadable.append(
                f"the zones of {len(concerned) - MAX_ZONES_ASKED} blocks (too many to ask for)"
            )
        return tuple(
            Block(block=b.block, online=b.online, zone=zones.get(b.block)) for b in blocks if b.block not in gone
        )

    async def _zones(self, blocks: Sequence[Block]) -> tuple[dict[int, str], set[int]]:
        """Return the zones of blocks by number, and the blocks that the guest has removed meanwhile."""
        found: dict[int, str] = {}
        gone: set[int] = set()
        for block in blocks:
            text = await self._files.text(f"/sys/devices/system/memory/memory{block.block}/{BlockFile.VALID_ZONES}")
            if text is None:
                # A block that has gone since the list was made is no failure. Any other refusal would come for every
                # block.
                if _MISSING not in self._files.unreadable[-1]:
                    break
                self._files.unreadable.pop()
                gone.add(block.block)
                continue
            zone = text.strip()
            # The guest chooses this text: only a word of the size of a zone's name is shown.
            if zone.isalnum() and len(zone) <= 16 and zone != "none":
                found[block.block] = zone
        return found, gone

    async def _claims(self) -> tuple[Claim, ...] | None:
        """Return the device regions that drivers have taken, and the status of each device."""
        text = await self._files.text(inside.IOMEM) or ""
        # A map that was cut may lack a device's line, and a missing claim would mean a missing driver.
        claims = inside.parse_claims(text) if len(text) < agent_files.FILE_LIMIT else None
        if claims is None:
            return None
        # Devices beyond the bound keep their claims; only whether each is at work stays unknown.
        return (*[await self._with_status(claim) for claim in claims[:MAX_CLAIMS]], *claims[MAX_CLAIMS:])

    async def _with_status(self, claim: Claim) -> Claim:
        text = await self._files.text(f"/sys/bus/virtio/devices/{claim.name}/status")
        return replace(claim, status=inside.one_number(text or ""))
