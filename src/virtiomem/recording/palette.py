"""Appearance of events: one word, symbol and colour for each thing, the same in the terminal and in every report.

A colour has one meaning, and this is where all of them stand: what a memory block is, what a resource is, and that
something is not as it was asked for. What merely happened, such as a change of the map, has a word and a symbol and no
colour. Those of blocks are Okabe and Ito's, which people with any kind of colour vision can tell apart, and no picture
relies on colour alone: upper-case symbols are wholly plugged, lower-case ones partly.
"""

from dataclasses import dataclass
from enum import Enum

from virtiomem.abi import BlockState
from virtiomem.recording.values import MemoryBlock


@dataclass(frozen=True, slots=True)
class Appearance:
    """A word for people, one character for strips, a colour for everything else (`#rrggbb`; empty: that of the text)."""

    word: str
    symbol: str
    color: str


_GREEN, _SKY, _ORANGE, _YELLOW = "#009e73", "#56b4e9", "#e69f00", "#f0e442"
_PURPLE, _GREY = "#cc79a7", "#8a8a8a"
NOT_AS_ASKED = "#d55e00"
"""Vermilion: refused, not done, not kept."""
NO_COLOR = ""


class _Kind(Enum):
    """Kinds of one sort of thing; the value is the appearance."""

    @property
    def look(self) -> Appearance:
        """Appearance of this kind."""
        appearance: Appearance = self.value
        return appearance


class BlockKind(_Kind):
    """State of a memory block for its reader; named as the states of the driver (drivers/virtio/virtio_mem.c)."""

    MOVABLE = Appearance("movable", "M", _GREEN)
    """Online in ZONE_MOVABLE, wholly plugged."""
    MOVABLE_PARTIAL = Appearance("movable, partly plugged", "m", _GREEN)
    KERNEL = Appearance("kernel", "K", _SKY)
    """Online in any other zone (DMA, DMA32, Normal, or several), wholly plugged."""
    KERNEL_PARTIAL = Appearance("kernel, partly plugged", "k", _SKY)
    OFFLINE = Appearance("offline", "O", _ORANGE)
    """Added, not onlined."""
    OFFLINE_PARTIAL = Appearance("offline, partly plugged", "o", _ORANGE)
    GOING_OFFLINE = Appearance("going offline", "g", _YELLOW)
    PLUGGED = Appearance("plugged, not in Linux", "P", _PURPLE)
    """The device has it plugged, Linux has not added it (or has removed it)."""
    UNUSED = Appearance("unplugged", ".", _GREY)


def block_kind(block: MemoryBlock | None, *, wholly_plugged: bool = True, plugged: bool = True) -> BlockKind:
    """The kind of a memory block, or of the place for one (None) in a device's region.

    `plugged` and `wholly_plugged` say whether any, or all, of it is plugged at the device; boot memory is wholly so.
    """
    if block is None:
        return BlockKind.PLUGGED if plugged else BlockKind.UNUSED
    match block.state:
        case BlockState.GOING_OFFLINE:
            return BlockKind.GOING_OFFLINE
        case BlockState.OFFLINE:
            return BlockKind.OFFLINE if wholly_plugged else BlockKind.OFFLINE_PARTIAL
        # Online from here on: only the zone is left to tell.
        case _ if block.is_movable:
            return BlockKind.MOVABLE if wholly_plugged else BlockKind.MOVABLE_PARTIAL
        case _:
            return BlockKind.KERNEL if wholly_plugged else BlockKind.KERNEL_PARTIAL


class ResourceKind(_Kind):
    """Kinds of resources, most telling first: what the map colours it by. The symbol is not shown."""

    VIRTIO_MEM = Appearance("System RAM from virtio-mem", "V", "#a58ad6")
    DRIVER_RAM = Appearance("System RAM from another driver", "D", "#a3ad6b")
    RAM = Appearance("System RAM", "R", "#93a4b8")
    REGION = Appearance("device region", "r", "#ded6f2")
    """A device's memory: RAM that a driver adds lies inside it."""
    KERNEL = Appearance("kernel image", "k", "#677a91")
    CRASH = Appearance("crash kernel", "c", "#a9805b")
    FIRMWARE = Appearance("firmware, reserved", "f", "#c9c5bd")
    IO = Appearance("PCI and other devices", "i", "#e0d3a8")


class ChangeKind(_Kind):
    """Change of a resource of the map from one snapshot to the next."""

    APPEARED = Appearance("appeared", "+", NO_COLOR)
    WENT = Appearance("went", "-", NO_COLOR)
    MERGED = Appearance("merged", ">", NO_COLOR)
    """Several became one, or one took in new memory next to it together with another."""
    GREW = Appearance("grew", ">", NO_COLOR)
    TRIMMED = Appearance("trimmed", "<", NO_COLOR)
    SPLIT = Appearance("split", "/", NO_COLOR)


RESPONSES = {
    "ACK": Appearance("done", "A", NO_COLOR),
    "NACK": Appearance("not now", "N", NOT_AS_ASKED),
    "BUSY": Appearance("busy", "B", NOT_AS_ASKED),
    "ERROR": Appearance("refused", "E", NOT_AS_ASKED),
}
"""What the device answered."""

SETTLED = Appearance("settled", "=", NO_COLOR)
STOPPED_SHORT = Appearance("stopped short", "~", NOT_AS_ASKED)
REFUSED = Appearance("refused", "!", NOT_AS_ASKED)
"""What came of a step."""
