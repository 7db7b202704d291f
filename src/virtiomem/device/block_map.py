"""Map of the plugged device blocks: one byte per block.

A byte a block is the fastest bitmap that CPython has: a range is tested, set and cleared by the C library's memchr,
memset and memcpy, whatever the size of the region around it. A range is tested in a copy, for `in` with a slice takes
half of what `find` takes to read its arguments.
"""

from collections.abc import Iterator
from typing import Final

from virtiomem.wire.mem import State

_PLUGGED: Final = 1
_UNPLUGGED: Final = 0

# Looked up once: a member of an enum goes through its metaclass each time, which is slow.
_ALL_PLUGGED: Final = State.PLUGGED
_ALL_UNPLUGGED: Final = State.UNPLUGGED
_MIXED: Final = State.MIXED


class BlockMap:
    """A fixed number of blocks, all unplugged at first; ranges are half-open block numbers inside it."""

    __slots__ = ("_blocks",)

    def __init__(self, count: int) -> None:
        self._blocks = bytearray(count)

    def __len__(self) -> int:
        return len(self._blocks)

    def state(self, first: int, stop: int) -> State:
        """PLUGGED or UNPLUGGED when all of a non-empty range is, else MIXED."""
        blocks = self._blocks[first:stop]
        if _PLUGGED not in blocks:
            return _ALL_UNPLUGGED
        return _MIXED if _UNPLUGGED in blocks else _ALL_PLUGGED

    def plug(self, first: int, stop: int) -> bool:
        """Set every block of the range, or return False when one is set already."""
        blocks = self._blocks
        if _PLUGGED in blocks[first:stop]:
            return False
        blocks[first:stop] = b"\x01" * (stop - first)
        return True

    def unplug(self, first: int, stop: int) -> bool:
        """Clear every block of the range, or return False when one is clear already."""
        blocks = self._blocks
        if _UNPLUGGED in blocks[first:stop]:
            return False
        blocks[first:stop] = bytes(stop - first)
        return True

    def clear(self) -> None:
        """Unplug all."""
        self._blocks = bytearray(len(self._blocks))

    def plugged(self) -> int:
        """Return how many blocks are plugged; counts them all."""
        return self._blocks.count(_PLUGGED)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Maximal plugged ranges, ascending."""
        find = self._blocks.find
        first = find(_PLUGGED)
        while first >= 0:
            stop = find(_UNPLUGGED, first)
            if stop < 0:
                stop = len(self._blocks)
            yield first, stop
            first = find(_PLUGGED, stop)

    def check(self) -> None:
        """Assert that every byte is a block's state."""
        assert not self._blocks.strip(b"\x00\x01"), "a block is neither plugged nor unplugged"
        assert self._blocks.count(_PLUGGED) + self._blocks.count(_UNPLUGGED) == len(self._blocks), (
            "a block is neither plugged nor unplugged"
        )
