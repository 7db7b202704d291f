"""Taking exact ranges of pages from the allocator, and withholding them as fake-offline.

A page of an online block is in one or more of these sets, which are counted or marked in three places:

    present        online, whether there is memory behind it or not       `Zone.present`
    managed        in the hands of the page allocator                     `Zone.managed`
    fake-offline   withheld from it by a driver, because not plugged      `MemoryBlock.fake_offline`
    dropped        withheld, but the driver lets offlining skip it        `MemoryBlock.dropped`

A block of 128M (32768 pages) of which 32M (8192 pages) are plugged, through its life:

    event            present   managed   fake-offline   dropped
    online             32768      8192          24576         0   the callback withholds what is not plugged
    GOING_OFFLINE      32768     32768          24576     24576   the driver drops its references
    cancelled          32768      8192          24576         0   it takes them back
    GOING_OFFLINE      32768     32768          24576     24576
    offline                0         0              0         0   all 32768 are subtracted from both

A driver holds a reference to each withheld page. Offlining would wait for that page to be given up, and fail; so on
GOING_OFFLINE, the last moment to be asked, the driver lets go. Linux subtracts all pages of a block that goes
offline from what is managed, although withheld ones were never added; counting them in beforehand makes up for that.

Models: alloc_contig_range() and, with `clear_fake_offline`, free_contig_range() (mm/page_alloc.c),
adjust_managed_page_count(), and what PageOffline with a reference means to memory offlining, v6.1. Ranges are bytes,
whole pageblocks of one online block.
"""

from virtiomem.errors import OK, Errno
from virtiomem.memory.core import Memory
from virtiomem.memory.faults import FaultPoint


def alloc_contig_range(memory: Memory, start: int, size: int) -> Errno:
    """Empty exactly this range: EBUSY when something in it does not move, ENOMEM when there is no room elsewhere."""
    if rc := memory.faults.take(FaultPoint.CONTIG):
        return rc
    block, mask = memory.mask_of(start, size)
    # What the hardware has lost can be neither used nor moved.
    if block.poisoned and any(start <= page < start + size for page in block.poisoned):
        return Errno.EBUSY
    if block.fake_offline & mask:
        return Errno.EBUSY
    if block.used:
        # Before anything moves: a range that cannot be emptied wholly keeps what it has.
        if memory.users.unmovable_in(block, mask):
            return Errno.EBUSY
        if rc := memory.users.evacuate(block, mask):
            return rc
    zone = block.zone
    assert zone is not None, f"{block} is in no zone"
    # Struct pages are counted in a zone without a place: they may be all that is left of it.
    return Errno.EBUSY if zone.managed - zone.used < size // memory.page_size else OK


def set_fake_offline(memory: Memory, start: int, size: int, *, onlined: bool) -> None:
    """Withhold a range; `onlined` when the allocator had it."""
    block, mask = memory.mask_of(start, size)
    assert not block.fake_offline & mask, f"{start:#x}: fake-offline twice"
    block.fake_offline |= mask
    if onlined:
        adjust_managed_pages(memory, start, -(size // memory.page_size))


def clear_fake_offline(memory: Memory, start: int, size: int) -> None:
    """Give a withheld range to the allocator, as free_contig_range() gives back one that was taken from it."""
    block, mask = memory.mask_of(start, size)
    assert block.fake_offline & mask == mask, f"{start:#x}: not all fake-offline"
    block.fake_offline &= ~mask
    adjust_managed_pages(memory, start, size // memory.page_size)


def drop_references(memory: Memory, start: int, size: int) -> None:
    """Let memory offlining skip a withheld range (a driver's answer to GOING_OFFLINE)."""
    block, mask = memory.mask_of(start, size)
    block.dropped |= mask
    adjust_managed_pages(memory, start, size // memory.page_size)


def retake_references(memory: Memory, start: int, size: int) -> None:
    """Undo `drop_references` (a driver's answer to CANCEL_OFFLINE)."""
    block, mask = memory.mask_of(start, size)
    block.dropped &= ~mask
    adjust_managed_pages(memory, start, -(size // memory.page_size))


def adjust_managed_pages(memory: Memory, start: int, pages: int) -> None:
    """Count pages in or out of the zone that an address is in."""
    zone = memory.blocks[start // memory.block_size].zone
    assert zone is not None, f"{start:#x} is in no zone"
    zone.managed += pages
