"""The virtio-mem devices of a captured Linux: where each is, what is plugged, and how that is known.

A guest does not say all of it in one place, so the most certain source wins: the device's own configuration when a
capture has it ([virtio-mem/config], which recordings give), then the driver's log, then the map. What no source tells
is None. How much of a memory block is plugged is known when /proc/kpageflags was read, when all the memory that was added
is plugged, or when a recording says so. A device has what was requested of it when the pages that zone Movable lacks are
as many as the unplugged parts of its blocks would take.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from virtiomem.abi import ZoneType
from virtiomem.driver.messages import VALUE_LINE, Key
from virtiomem.errors import MaskedListingError
from virtiomem.live.capture import Capture
from virtiomem.live.lsmem import Ownership
from virtiomem.live.sysfs import MemorySysfs
from virtiomem.live.views import number_of, zones_of
from virtiomem.resource import iomem
from virtiomem.resource.names import VIRTIO_MEM_RAM, is_virtio_device
from virtiomem.resource.tree import ResourceTree
from virtiomem.units import Span

CONFIG = "virtio-mem/config"
"""The heading of what devices say themselves: `NAME key=value …`, keys as in QMP, sizes in bytes."""

_LOG_KEYS: dict[str, str] = {
    Key.START_ADDRESS: "memaddr",
    Key.REGION_SIZE: "max-size",
    Key.DEVICE_BLOCK_SIZE: "block-size",
    Key.NID: "node",
    Key.REQUESTED_SIZE: "requested-size",
    Key.PLUGGED_SIZE: "logged-size",
}
"""What the driver logs, and what we call it; `plugged size` is from before the driver set to work, so it is no `size`."""
_PAIR = re.compile(r"(?P<key>[a-z-]+)=(?P<value>0x[0-9a-fA-F]+|-?[0-9]+)")
_PAGES = re.compile(r"(?P<start>[0-9a-f]{8,16})-(?P<end>[0-9a-f]{8,16}) (?P<state>plugged|unplugged|unknown)")


@dataclass(frozen=True, slots=True)
class CapturedDevice:
    """Known properties of a virtio-mem device; sizes in bytes.

    `added` is what the driver added to Linux; it holds `size`, what is plugged, and may hold unplugged sub-blocks.
    """

    name: str
    region: Span | None
    block_size: int | None
    requested_size: int | None
    size: int | None
    node: int | None
    added: int

    @property
    def is_whole(self) -> bool:
        """True when all that was added is plugged."""
        return self.size is not None and self.size == self.added


def devices_of(capture: Capture, memory: MemorySysfs | None = None) -> list[CapturedDevice]:
    """All virtio-mem devices that the capture knows of, by name."""
    tree = map_of(capture) or ResourceTree()
    regions = {node.name: Span(node.start, node.end + 1) for _, node in tree.walk() if is_virtio_device(node.name)}
    known = _known(capture)
    return [
        _device(name, known.get(name, {}), regions.get(name), tree, memory, capture)
        for name in sorted({*regions, *known}, key=_in_order)
    ]


def _in_order(name: str) -> tuple[str, int, str]:
    """A key that puts virtio10 behind virtio2, whatever the names begin with."""
    return name.rstrip("0123456789"), len(name), name


def _device(
    name: str,
    known: Mapping[str, int],
    region: Span | None,
    tree: ResourceTree,
    memory: MemorySysfs | None,
    capture: Capture,
) -> CapturedDevice:
    # What the driver logged, or the device says, is known also where the map hides its addresses.
    if "memaddr" in known and "max-size" in known:
        region = Span.sized(known["memaddr"], known["max-size"])
    added = _added(region, tree, memory)
    size = known.get("size", _size_by_pages(region, added, capture))
    requested = known.get("requested-size")
    if size is None and region is not None and memory is not None:
        unplugged = _unplugged_by_zone(region, memory, capture)
        # Two numbers from two places that agree; either alone would be a guess.
        size = requested if unplugged is not None and requested == added - unplugged else None
    return CapturedDevice(
        name=name,
        region=region,
        block_size=known.get("block-size"),
        requested_size=requested,
        size=size,
        node=known.get("node"),
        added=added,
    )


def map_of(capture: Capture) -> ResourceTree | None:
    """The map; None when the capture has none, or one that hides its addresses. Raises ListingError for a damaged one."""
    text = capture.section("proc/iomem").text
    try:
        return iomem.loads(text, source=capture.iomem_source) if text else None
    except MaskedListingError:
        return None


def _known(capture: Capture) -> dict[str, dict[str, int]]:
    """By device: what the driver logged, then what the device itself says, in QMP's words."""
    known: dict[str, dict[str, int]] = {}
    for line in capture.section("sys/bus/virtio/devices").lines:
        name, _, rest = line.partition(" ")
        node = dict(_PAIR.findall(rest)).get("node", "-1")
        # Linux says -1 for a device without a node.
        known[name] = {} if node.startswith("-") else {"node": number_of(node, 0, capture)}
    # After sysfs and before the device's own word: each source overrules the one before it.
    for line in capture.section("dev/kmsg").lines:
        if (match := re.match(VALUE_LINE, line)) and match["key"] in _LOG_KEYS:
            # Base 0: the driver logs addresses and sizes in hexadecimal, its node in decimal.
            known.setdefault(match["name"], {})[_LOG_KEYS[match["key"]]] = number_of(match["value"], 0, capture)
    for line in capture.section(CONFIG).lines:
        name, _, rest = line.partition(" ")
        known.setdefault(name, {}).update({key: number_of(value, 0, capture) for key, value in _PAIR.findall(rest)})
    return known


def _added(region: Span | None, tree: ResourceTree, memory: MemorySysfs | None) -> int:
    """Return the bytes of System RAM in a device's region, by the map, or by the memory blocks where the map is masked."""
    if region is None:
        return 0
    ram = [Span(node.start, node.end + 1) for _, node in tree.walk() if node.name == VIRTIO_MEM_RAM]
    # Where the map hides its addresses there is no tree to walk, and blocks are all there is.
    inside = sum(span.size for span in ram if region.contains(span))
    return inside or (memory.block_size * len(list(blocks_in(region, memory))) if memory is not None else 0)


def blocks_in(region: Span, memory: MemorySysfs) -> Iterable[int]:
    """The numbers of the memory blocks that overlap a region."""
    start, stop = (
        bisect_left(memory.blocks, number, key=lambda block: block.block)
        for number in (region.start // memory.block_size, -(-region.stop // memory.block_size))
    )
    return (memory.blocks[at].block for at in range(start, stop))


def pages_of(capture: Capture) -> list[tuple[Span, str]]:
    """What [proc/kpageflags] says, ascending: spans that are plugged, unplugged or unknown."""
    matches = (_PAGES.fullmatch(line) for line in capture.section("proc/kpageflags").lines)
    return [(Span(int(one["start"], 16), int(one["end"], 16) + 1), one["state"]) for one in matches if one is not None]


def _size_by_pages(region: Span | None, added: int, capture: Capture) -> int | None:
    """Return the plugged size, when the pages of all added memory determine it."""
    if region is None:
        return None
    inside = [(span, state) for span, state in pages_of(capture) if region.contains(span)]
    # Part of the pages would give a size that looks exact and is too small.
    if not added or sum(span.size for span, _ in inside) != added or any(state == "unknown" for _, state in inside):
        return None if added else 0
    return sum(span.size for span, state in inside if state == "plugged")


def _unplugged_by_zone(region: Span, memory: MemorySysfs, capture: Capture) -> int | None:
    """Bytes that zone Movable spans over present blocks but does not manage, when the device alone is in that zone.

    A balloon takes pages away as well, so this only confirms what the device was asked for.
    """
    mine = set(blocks_in(region, memory))
    movable = {block.block for block in memory.blocks if block.is_movable}
    zones = [zone for node in zones_of(capture).values() if (zone := node.get(ZoneType.MOVABLE))]
    present, managed = (
        sum(pages) * capture.page_size for pages in ([z.present for z in zones], [z.managed for z in zones])
    )
    # A zone's counters do not say whose pages they are: with a DIMM or boot memory in it, the difference may be theirs.
    alone = bool(mine) and mine == movable and present == len(movable) * memory.block_size
    return present - managed if alone else None


def ownership(capture: Capture, memory: MemorySysfs, devices: Iterable[CapturedDevice]) -> dict[int, Ownership]:
    """By memory block: the virtio-mem device that it belongs to, and how much of it is plugged where that is known."""
    told: dict[int, int | None] = _plugged_by_pages(pages_of(capture), memory)
    # A recording's own numbers overrule the pages: they are the device's, of one moment.
    told |= {block.block: block.plugged for block in memory.blocks if isinstance(block.plugged, int)}
    owners: dict[int, Ownership] = {}
    for device in devices:
        if device.region is not None:
            numbers = list(blocks_in(device.region, memory))
            otherwise = _plugged_by_size(device, len(numbers), memory.block_size)
            owners |= {number: Ownership(device.name, told.get(number, otherwise)) for number in numbers}
    return owners


def _plugged_by_pages(pages: Iterable[tuple[Span, str]], memory: MemorySysfs) -> dict[int, int | None]:
    """Bytes plugged in each memory block of which every page is known."""
    block_size = memory.block_size
    known: dict[int, int] = {}
    plugged: dict[int, int | None] = {}
    for span, state in pages:
        for number in blocks_in(span, memory):
            size = min(span.stop, (number + 1) * block_size) - max(span.start, number * block_size)
            known[number] = known.get(number, 0) + (size if state != "unknown" else 0)
            plugged[number] = (plugged.get(number) or 0) + (size if state == "plugged" else 0)
    return {number: size for number, size in plugged.items() if known[number] == block_size}


def _plugged_by_size(device: CapturedDevice, blocks: int, block_size: int) -> int | None:
    """Bytes plugged in each block, when the device's size leaves one possibility."""
    if device.size is None:
        return None
    if device.is_whole:
        return block_size
    # Of several blocks it is not known which of them the missing part is in.
    return device.size if blocks == 1 else None
