"""Why the driver rests while a device is not at its requested size: what the driver and its kernel know, nothing guessed."""

from collections.abc import Iterator
from itertools import groupby

from virtiomem.driver.added import UnplugFailure
from virtiomem.driver.at_rest import DeviceFacts, why_at_rest
from virtiomem.driver.outcome import why
from virtiomem.driver.virtio_mem import VirtioMem
from virtiomem.errors import Errno
from virtiomem.memory.core import Memory
from virtiomem.memory.refusal import no_struct_pages, room_of, uses_of
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.units import Span


def reasons(driver: VirtioMem) -> list[Reason]:
    """The reasons, without the name of the device: one, or one for each memory block that was not given up."""
    # First: a pass that hangs ends without an errno, so `last_rc` is that of the pass before.
    if driver.work.hung:
        return [Reason(ReasonKind.DEVICE_SILENT)]
    rc = driver.work.last_rc
    # Only these two come from memory that did not leave; a failure that the pass got over is not why it ended.
    if rc in (Errno.EBUSY, Errno.ENOMEM) and driver.added.failures:
        return list(_failures(driver.memory, driver.added.failures))
    return [_after_pass(driver, rc)]


def _after_pass(driver: VirtioMem, rc: Errno) -> Reason:
    """The reason that the errno of the last pass stands for, with what the driver knows of it."""
    match why(rc):
        case ReasonKind.BELOW_UNIT:
            return why_at_rest(_facts(driver)) or Reason(ReasonKind.NOTHING_TO_DO)
        case ReasonKind.NO_ROOM:
            return why_at_rest(_facts(driver)) or Reason(ReasonKind.NO_ROOM, {"unit": driver.mode.unit_size})
        case ReasonKind.NO_MEMORY if driver.requested_size > driver.plugged_size and (
            short := no_struct_pages(driver.memory, driver.nid, driver.mode.unit_size)
        ):
            return short
        case kind:
            return Reason(kind, {"errno": rc.name})


def _facts(driver: VirtioMem) -> DeviceFacts:
    return DeviceFacts(
        size=driver.plugged_size,
        requested_size=driver.requested_size,
        units=driver.added.units,
        unplug_online=driver.parameters.unplug_online,
        offline=driver.added.offline_size,
        waits=driver.waits_for_online,
    )


def _failures(memory: Memory, failures: list[UnplugFailure]) -> Iterator[Reason]:
    """One reason for each memory block that did not give up all it should have."""
    # A block fails once for each of its sub-blocks; groupby() joins neighbours only, so they are sorted first.
    for id_, group in groupby(sorted(failures, key=lambda o: o.span), lambda o: o.span.start // memory.block_size):
        of_block = list(group)
        zone = of_block[0].zone
        facts = {"block": id_, "zone": str(zone.type) if zone is not None else "no zone"}
        uses, memmap = _uses(memory, of_block), _held_by_memmap(memory, of_block)
        if uses:
            if any(failure.errno is Errno.ENOMEM for failure in of_block):
                yield Reason(ReasonKind.IN_USE_NO_ROOM, facts | {"uses": uses} | room_of(memory))
            else:
                yield Reason(ReasonKind.IN_USE, facts | {"uses": uses})
        if memmap is not None:
            yield Reason(ReasonKind.HELD_BY_MEMMAP, facts | memmap)
        elif not uses:
            yield Reason(ReasonKind.BLOCK_REFUSED, facts | {"errno": of_block[0].errno.name})


def _held_by_memmap(memory: Memory, failures: list[UnplugFailure]) -> dict[str, object] | None:
    """Bytes of a block that nothing uses and that stay since the zone is short of free pages, and what struct pages
    take in it.
    """
    block = memory.blocks.get(failures[0].span.start // memory.block_size)
    zone = block.zone if block is not None else None
    if block is None or zone is None or not memory.vmemmap.counted:
        return None
    # Struct pages are counted in a zone without a place: what they take shows where a last free pageblock is missing.
    if zone.managed - zone.used >= memory.architecture.pages(memory.pageblock_size):
        return None
    taken = sum(pages for other in memory.blocks.values() for where, pages in other.paid if where is zone)
    failed = {index for failure in failures for index in _pageblocks(memory, failure.span)}
    left = sum(index not in block.used and not block.fake_offline >> index & 1 for index in failed)
    if not (taken and left):
        return None
    return {"size": left * memory.pageblock_size, "memmap": taken * memory.page_size}


def _uses(memory: Memory, failures: list[UnplugFailure]) -> list[dict[str, object]]:
    """Return the users whose pages keep one block from leaving."""
    block = memory.blocks.get(failures[0].span.start // memory.block_size)
    pageblocks = {index for failure in failures for index in _pageblocks(memory, failure.span)}
    return [] if block is None else uses_of(memory, block, pageblocks)


def _pageblocks(memory: Memory, span: Span) -> range:
    """Indices of a span's pageblocks in its (first) memory block."""
    size = min(span.size, memory.block_size)
    _, mask = memory.mask_of(span.start, size) if span.start // memory.block_size in memory.blocks else (None, 0)
    # From the lowest bit that is set to the highest: a span is one run of pageblocks.
    return range((mask & -mask).bit_length() - 1, mask.bit_length()) if mask else range(0)
