"""How what happened looks: one word, symbol and colour for each thing, the same in the terminal and in every report.

The colours are Okabe and Ito's, which people with any kind of colour vision can tell apart, and no picture relies on
colour alone: upper-case symbols are wholly plugged, lower-case ones partly.
"""

from dataclasses import dataclass
from enum import Enum

from virtiomem.abi import BlockState
from virtiomem.recording.values import MemoryBlock


@dataclass(frozen=True, slots=True)
class Appearance:
    """A word for people, one character for strips, a colour for everything else (`#rrggbb`)."""

    word: str
    symbol: str
    color: str


_GREEN, _SKY, _ORANGE, _YELLOW = "#009e73", "#56b4e9", "#e69f00", "#f0e442"
_VERMILION, _PURPLE, _GREY = "#d55e00", "#cc79a7", "#8a8a8a"


class BlockKind(Enum):
    """What a memory block is to its reader; named as the states of the driver (drivers/virtio/virtio_mem.c)."""

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

    @property
    def look(self) -> Appearance:
        """How this kind looks."""
        return self.value


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
        case _ if block.is_movable:
            return BlockKind.MOVABLE if wholly_plugged else BlockKind.MOVABLE_PARTIAL
        case _:
            return BlockKind.KERNEL if wholly_plugged else BlockKind.KERNEL_PARTIAL


class ChangeKind(Enum):
    """What became of a resource of the map from one snapshot to the next."""

    APPEARED = Appearance("appeared", "+", _GREEN)
    WENT = Appearance("went", "-", _VERMILION)
    MERGED = Appearance("merged", ">", _SKY)
    """Several became one, or one took in new memory beside it together with another."""
    GREW = Appearance("grew", ">", _SKY)
    TRIMMED = Appearance("trimmed", "<", _ORANGE)
    SPLIT = Appearance("split", "/", _YELLOW)

    @property
    def look(self) -> Appearance:
        """How this change looks."""
        return self.value


RESPONSES = {
    "ACK": Appearance("done", "A", _GREEN),
    "NACK": Appearance("not now", "N", _YELLOW),
    "BUSY": Appearance("busy", "B", _ORANGE),
    "ERROR": Appearance("refused", "E", _VERMILION),
}
"""What the device answered."""

SETTLED = Appearance("settled", "=", _GREEN)
STOPPED_SHORT = Appearance("stopped short", "~", _ORANGE)
REFUSED = Appearance("refused", "!", _VERMILION)
"""What came of a step."""
