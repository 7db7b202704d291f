"""Read a guest's own files about its memory.

The guest is not trusted: every text is bounded where it is fetched, every number checked here; what cannot be read is
left out, never guessed.
"""

import re
from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from virtiomem.abi import OnlinePolicy, OnlineType, ZoneType
from virtiomem.architecture import ARCHITECTURES, DEFAULT, Architecture
from virtiomem.driver.parameters import Parameters
from virtiomem.memory.forecast import Means
from virtiomem.memory.settings import Policy
from virtiomem.recording import zoneinfo
from virtiomem.recording.page_blocks import ZonePageblocks
from virtiomem.recording.page_use import BlockPages
from virtiomem.units import KiB, Span

MEMINFO = "/proc/meminfo"
ZONEINFO = "/proc/zoneinfo"
AUTO_ONLINE = "/sys/devices/system/memory/auto_online_blocks"
ONLINE_POLICY = "/sys/module/memory_hotplug/parameters/online_policy"
IOMEM = "/proc/iomem"
VMSTAT = "/proc/vmstat"
KPAGEFLAGS = "/proc/kpageflags"
PAGETYPEINFO = "/proc/pagetypeinfo"

PAGES_SECONDS = 10.0
"""How long the pages of memory blocks are looked at, unless the user says."""

_MAX_NUMBER = 1 << 64
_MAX_DIGITS = 20
_MEMINFO_LINE = re.compile(r"^(Mem(?:Total|Free|Available)):\s+(\d{1,20}) kB$", re.MULTILINE)
_PIN_LINE = re.compile(r"^nr_foll_pin_(acquired|released) (\d{1,20})$", re.MULTILINE)
# Bounded repetitions everywhere: the guest writes these files, and may write digits without end.
_CLAIM = re.compile(r"^ *([0-9a-f]{8,16})-([0-9a-f]{8,16}) : (virtio\d{1,5})$", re.MULTILINE)
# A reader without CAP_SYS_ADMIN sees the same lines with every address 0: one other digit shows that they are real.
_UNMASKED = re.compile(r"^ *0*[1-9a-f][0-9a-f]{0,15}-", re.MULTILINE)


class Seen(StrEnum):
    """State inside the guest of the memory that a device has plugged."""

    ONLINE = "online"
    """All of it."""
    OFFLINE = "offline"
    """Some of it is offline, or not in Linux at all."""
    NOT_LOOKED = "not looked"


class Block(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A memory block; `zone` is where it is online, or None when that was not asked for or is not one zone."""

    block: int
    online: bool
    zone: str | None = None


class ZoneUsage(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A zone of a node, in bytes."""

    node: int
    name: str
    present: int
    managed: int
    free: int
    kept: int = 0
    """What it keeps from the kernel's ordinary allocations: minimum watermark and low memory reserve."""


class Claim(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A device region that a virtio-mem driver has taken in /proc/iomem; what virtio says about the device's status."""

    memaddr: int
    name: str
    size: int
    status: int | None = None


class GuestMemoryInfo(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Memory of a guest as the guest reports it; None and empty mean not reported."""

    source: str
    """Who said it: a guest agent, a capture, a simulated guest."""
    block_size: int | None = None
    blocks: tuple[Block, ...] = ()
    mem_total: int | None = None
    mem_free: int | None = None
    mem_available: int | None = None
    zones: tuple[ZoneUsage, ...] = ()
    auto_online_blocks: str | None = None
    online_policy: str | None = None
    claims: tuple[Claim, ...] | None = None
    """Which devices have a driver; None when that was not asked for or did not show."""
    driver: Parameters | None = None
    """How virtio_mem was loaded."""
    unreadable: tuple[str, ...] = ()
    """What could not be read, and why."""
    page_size: int | None = None
    """Bytes of a page."""
    pages: tuple[BlockPages, ...] = ()
    """What the pages of memory blocks are used for, where that was looked at."""
    pages_left: int = 0
    """Memory blocks for whose pages there was no time."""
    pages_seconds: float = 0.0
    """The time there was, in seconds."""
    pageblocks: tuple[ZonePageblocks, ...] = ()
    """What each zone's pageblocks are for, where pages were to be looked at."""
    pinned: int | None = None
    """Pages that are pinned for I/O, in the whole guest."""

    @property
    def architecture(self) -> Architecture:
        """An architecture with this size of pages; nothing else of it is used here."""
        return next((row for row in ARCHITECTURES if row.page_size == self.page_size), DEFAULT)

    @property
    def means(self) -> Means | None:
        """Free memory that the struct pages of new memory can come from; None if the guest does not report what is free."""
        if self.mem_free is None:
            return None
        # Struct pages cannot move, so the kernel takes them from its own zones: what is free in Movable pays for
        # nothing.
        kernel = [zone for zone in self.zones if zone.name != ZoneType.MOVABLE]
        movable = sum(zone.present for zone in self.zones if zone.name == ZoneType.MOVABLE)
        states = {str(state): state for state in OnlineType}
        policies = {str(policy): policy for policy in OnlinePolicy}
        return Means(
            free=sum(max(zone.free - zone.kept, 0) for zone in kernel) if kernel else self.mem_free,
            block_size=self.block_size or self.architecture.section_size,
            policy=Policy(
                # Offline where the guest does not say: memory that does not come online pays for no further block.
                default_state=states.get(self.auto_online_blocks or "", OnlineType.OFFLINE),
                online_policy=policies.get(self.online_policy or "", OnlinePolicy.CONTIG_ZONES),
            ),
            kernel=sum(zone.present for zone in kernel),
            movable=movable,
            architecture=self.architecture,
        )

    def blocks_in(self, span: Span) -> tuple[Block, ...]:
        """The memory blocks that overlap a range."""
        size = self.block_size
        if not size:
            return ()
        return tuple(b for b in self.blocks if span.overlaps(Span.of_block(b.block, size)))

    def seen(self, span: Span | None, size: int) -> Seen:
        """Return whether the `size` bytes that are plugged in a range, or in the whole guest, are online."""
        if not self.block_size or not self.blocks:
            return Seen.NOT_LOOKED
        blocks = self.blocks if span is None else self.blocks_in(span)
        added = len(blocks) * self.block_size
        # Both: a block that Linux never got is as absent as one that is offline, and only the sum shows it.
        return Seen.ONLINE if added >= size and all(block.online for block in blocks) else Seen.OFFLINE


def page_size_of(total: int | None, zoneinfo_text: str) -> int | None:
    """Return the page size for which the pages that all zones manage add up to MemTotal; None if no known size does.

    Between the two reads a little memory may have come or gone.
    """
    managed = sum(zone.managed for zone in parse_zoneinfo(zoneinfo_text, 1))
    sizes = (row.page_size for row in ARCHITECTURES if managed and total)
    # Page sizes differ by factors of four, so being off by less than half still tells which it is.
    return next((size for size in sizes if abs((total or 0) - managed * size) < managed * size // 2), None)


def parse_meminfo(text: str) -> dict[str, int]:
    """MemTotal, MemFree and MemAvailable, in bytes, where `text` has them."""
    # The kernel prints kB and means KiB.
    found = {name: int(number) * KiB for name, number in _MEMINFO_LINE.findall(text)}
    return {name: size for name, size in found.items() if size < _MAX_NUMBER}


def parse_pinned(vmstat: str) -> int | None:
    """Pages that are pinned for I/O and not let go of yet; None where /proc/vmstat does not count them."""
    found = dict(_PIN_LINE.findall(vmstat))
    if found.keys() != {"acquired", "released"}:
        return None
    return max(int(found["acquired"]) - int(found["released"]), 0)


def parse_zoneinfo(text: str, page_size: int = DEFAULT.page_size) -> tuple[ZoneUsage, ...]:
    """The populated zones of /proc/zoneinfo."""
    return tuple(zone for zone in _zones(text, page_size) if zone.present)


_PAGES = ("present", "managed", "free", "min", "reserve")


def _zones(text: str, page_size: int) -> Iterator[ZoneUsage]:
    for zone in zoneinfo.parse(text.splitlines()):
        pages = {name: _bytes(zone.pages.get(name, "0"), page_size) for name in _PAGES}
        kept = pages.pop("min") + pages.pop("reserve")
        yield ZoneUsage(node=zone.node, name=zone.name, kept=kept, **pages)


def _bytes(pages: str, page_size: int) -> int:
    """Convert a count of pages to bytes; 0 for an impossible count."""
    return min(int(pages) * page_size, _MAX_NUMBER) if len(pages) <= _MAX_DIGITS else 0


def parse_claims(text: str) -> tuple[Claim, ...] | None:
    """The regions that drivers of virtio devices have in /proc/iomem; None when its addresses are hidden."""
    if _UNMASKED.search(text) is None:
        return None
    return tuple(
        Claim(memaddr=int(start, 16), name=name, size=int(last, 16) + 1 - int(start, 16))
        for start, last, name in _CLAIM.findall(text)
    )


def one_number(text: str) -> int | None:
    """A sysfs file that holds one hexadecimal number of 32 bits, or None when it holds anything else."""
    return int(text, 16) if re.fullmatch(r"0x[0-9a-f]{8}\n", text) else None


def one_word(text: str) -> str | None:
    """A sysfs file that holds one word, or None when it holds anything else."""
    word = text.strip()
    return word if re.fullmatch(r"[a-z_-]{1,32}", word) else None
