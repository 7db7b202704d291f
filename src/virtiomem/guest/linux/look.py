"""One look at a guest: the agent's `snapshot` text, strictly read.

A look is a snapshot without the devices (QEMU knows those) and also says whether the guest is at work and when the
driver will try again.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from virtiomem.abi import READ_OF_BLOCKS, BlockFile, ZoneType
from virtiomem.errors import ProtocolError
from virtiomem.recording import MemoryBlock, ZonePages, zoneinfo
from virtiomem.resource.names import VIRTIO_DEVICE
from virtiomem.units import is_power_of_two

Zones = dict[str, dict[str, ZonePages]]

_SECTIONS = ("iomem", "block-size", "blocks", "nodes", "zones", "bound", "busy", "timer", "end")
_SECTION = re.compile(r"^@([a-z-]+)(?: (.*))?$", re.MULTILINE)
_IOMEM = re.compile(r"^ {0,10}[0-9a-f]{4,16}-[0-9a-f]{4,16} : [^\n]{1,200}$")
_BLOCK = re.compile(rf"^memory(\d{{1,9}})/({'|'.join(READ_OF_BLOCKS)}):([\w -]{{0,80}})$")
_NODE = re.compile(r"^memory(\d{1,9})/node(\d{1,5})$")
_EXPIRES = re.compile(r"\[in (-?\d{1,19}) to -?\d{1,19} nsecs\]")
_BLOCK_SIZE = re.compile(r"[0-9a-f]{1,16}")
_VIRTIO = re.compile(rf"^{VIRTIO_DEVICE.pattern}$")
_STACK = re.compile(r"^/proc/\d+/stack$")

_NANO = 1e9
_MAX_DIGITS = 17
"""No machine has as many pages."""


@dataclass(frozen=True, slots=True)
class Look:
    """State of the guest as the agent reported it.

    `bound`: the devices that have a driver, by the guest's names. `busy`: a task is in the driver or the hotplug core;
    None when the kernel does not tell. `retry_in`: seconds until the driver's retry timer expires (the earliest of all
    devices'), None when it is not armed.
    """

    iomem: str
    memory_blocks: list[MemoryBlock]
    zones: Zones
    memory_block_size: int
    bound: list[str]
    busy: bool | None
    retry_in: float | None
    free: dict[int, int] = field(default_factory=dict)
    """Free pages by node that struct pages can come from: those of its kernel zones above their reserves."""

    def same_state(self, other: "Look") -> bool:
        """True when only the time has changed."""
        # Of the timer only whether it runs: its rest differs in every look.
        mine = (self.iomem, self.memory_blocks, self.zones, self.bound, self.retry_in is None)
        return mine == (other.iomem, other.memory_blocks, other.zones, other.bound, other.retry_in is None)


def parse(text: str) -> Look:
    """Read the agent's answer to `snapshot`; ProtocolError, with the line, for anything out of shape."""
    sections = _sections(text)
    busy = sections["busy"][1]
    zones, free = _zones(sections["zones"][1])
    return Look(
        iomem=_iomem(sections["iomem"][1]),
        memory_blocks=_blocks(sections["blocks"][1], " ".join(sections["nodes"][1]).split()),
        zones=zones,
        memory_block_size=_hex(sections["block-size"][0]),
        bound=[_matched(_VIRTIO, line, "bound")[0] for line in sections["bound"][1]],
        # Without CONFIG_STACKTRACE, or where stacks are hidden, no task at work shows, which is not the same as none.
        busy=None if "unknown" in busy else bool([_matched(_STACK, line, "busy") for line in busy]),
        retry_in=_timer(sections["timer"][1]),
        free=free,
    )


def _sections(text: str) -> dict[str, tuple[str, list[str]]]:
    """Each section's rest of the heading line, and its lines."""
    # Every section, in this order and none twice: a guest that prints `@zones` within another is refused.
    heads = list(_SECTION.finditer(text))
    if tuple(head[1] for head in heads) != _SECTIONS or heads[0].start() != 0:
        raise ProtocolError(f"the guest's snapshot has sections {[head[1] for head in heads][:20]}")
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: (head[2] or "", text[head.end() : end].strip("\n").splitlines())
        for head, end in zip(heads, ends, strict=True)
    }


def _iomem(lines: list[str]) -> str:
    return "".join(f"{_matched(_IOMEM, line, 'iomem')[0]}\n" for line in lines)


def _blocks(lines: list[str], links: list[str]) -> list[MemoryBlock]:
    """Return the blocks with all attributes; a block that is being removed may lack some."""
    attributes: dict[int, dict[str, str]] = {}
    for line in lines:
        match = _matched(_BLOCK, line, "blocks")
        attributes.setdefault(int(match[1]), {})[match[2]] = match[3].strip()
    nodes: dict[int, list[int]] = {}
    for link in links:
        if link != "memory*/node*":  # what the shell prints for an empty glob
            match = _matched(_NODE, link, "nodes")
            nodes.setdefault(int(match[1]), []).append(int(match[2]))
    return [
        MemoryBlock(
            block=number,
            state=of[BlockFile.STATE],
            valid_zones=of[BlockFile.VALID_ZONES],
            removable=_decimal(of[BlockFile.REMOVABLE]),
            nodes=sorted(nodes.get(number, [])),
        )
        for number, of in sorted(attributes.items())
        # A block that goes while the shell reads loses its files one after another.
        if len(of) == len(READ_OF_BLOCKS)
    ]


def _zones(lines: Iterable[str]) -> tuple[Zones, dict[int, int]]:
    """Read the counters of every zone, and the free pages of each node that struct pages can come from."""
    zones = zoneinfo.parse(lines, _other_of_zones)
    for zone in zones:
        if any(len(zone.pages.get(counter, "")) not in range(1, _MAX_DIGITS) for counter in zoneinfo.COUNTERS):
            raise ProtocolError(f"the guest's snapshot, zones: node{zone.node} {zone.name} lacks a counter")
    free: dict[int, int] = {}
    for zone in zones:
        if zone.name != ZoneType.MOVABLE:
            free[zone.node] = free.get(zone.node, 0) + zone.free_beyond_kept
    return zoneinfo.by_node(zones), free


def _other_of_zones(line: str) -> None:
    """Pass over ``Node 0, per-node stats``, and nothing else."""
    if not line.startswith("Node "):
        raise ProtocolError(f"the guest's snapshot, zones: {line[:80]!r}")


def _timer(lines: list[str]) -> float | None:
    """Return the seconds to the earliest expiry in /proc/timer_list: a line with a timer's function, then its expiry."""
    expiries = [int(match[1]) / _NANO for line in lines if (match := _EXPIRES.search(line))]
    return max(min(expiries), 0.0) if expiries else None


def _matched(pattern: re.Pattern[str], line: str, section: str) -> re.Match[str]:
    match = pattern.match(line)
    if match is None:
        raise ProtocolError(f"the guest's snapshot, {section}: {line[:80]!r}")
    return match


def _hex(text: str) -> int:
    if not _BLOCK_SIZE.fullmatch(text) or not is_power_of_two(int(text, 16)):
        raise ProtocolError(f"the guest's snapshot, block-size: {text[:80]!r}")
    return int(text, 16)


def _decimal(text: str) -> int:
    if not text.isdecimal():
        raise ProtocolError(f"the guest's snapshot, removable: {text[:80]!r}")
    return int(text)
