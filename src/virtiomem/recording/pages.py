"""Contents of a memory block, 2 MiB after 2 MiB, as a recording writes it: a letter each."""

from collections.abc import Iterator
from itertools import zip_longest

from virtiomem.recording.values import MemoryBlock, Recording, Snapshot

FREE = "."
MOVABLE = "m"
KERNEL = "k"
"""The kernel's own, or a driver's: it does not move."""
WITHHELD = "o"
"""Kept from the allocator by a driver."""


def looked_at(recording: Recording) -> bool:
    """Return whether a recording says anything of pages."""
    return any(block.pages for record in recording.steps for block in record.snapshot.memory_blocks)


def held(before: Snapshot, after: Snapshot) -> Iterator[tuple[int, int]]:
    """Yield the places where the kernel had pages of its own while a step was played: memory block, and which 2 MiB of
    it, from 0.

    That is where it has some when the step is over, or had before it and has not given up: what became free in the
    meantime may have done so when it was too late for the driver.
    """
    earlier = {block.block: block for block in before.memory_blocks}
    for block in after.memory_blocks:
        pairs = zip_longest(_letters(block), _letters(earlier.get(block.block)), fillvalue=FREE)
        for index, (now, then) in enumerate(pairs):
            # The driver withholds only what it could take from the allocator: where it did, the page had been freed in time.
            if now == KERNEL or (then == KERNEL and now != WITHHELD and block.is_online):
                yield block.block, index


def _letters(block: MemoryBlock | None) -> str:
    return (block.pages or "") if block is not None else ""
