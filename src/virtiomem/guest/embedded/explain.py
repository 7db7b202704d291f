"""Why a device is not at its requested size, in words: what the driver knows, and nothing guessed."""

from collections import Counter
from itertools import groupby

from virtiomem.driver import VirtioMem
from virtiomem.driver.added import Obstacle
from virtiomem.errors import Errno
from virtiomem.guest.embedded.hardware import Slot
from virtiomem.guest.embedded.kernel import Kernel
from virtiomem.memory import Memory
from virtiomem.memory.pages import PAGEBLOCK_PAGES
from virtiomem.units import Span, format_size


def held_up(kernel: Kernel, slots: list[Slot]) -> list[str]:
    """One line for each reason, each beginning with the device's id."""
    lines: list[str] = []
    for slot in slots:
        if not slot.settled:
            lines += [f"{slot.config.id}: {reason}" for reason in _reasons(kernel, slot)]
    return lines


def _reasons(kernel: Kernel, slot: Slot) -> list[str]:
    if kernel.module is None:
        return ["no driver is loaded"]
    driver = next((device for device in kernel.module.devices if device.name == slot.name), None)
    if driver is None:
        errno = kernel.module.failed.get(slot.name, Errno.ENODEV)
        return [f"the driver could not set the device up ({errno.name}): its region is still taken"]
    if driver.work.hung:
        return ["the device does not answer; the driver waits for ever"]
    if driver.work.broken:
        return ["the driver met an error that it does not know and has given up on the device until it is reloaded"]
    return _after_pass(kernel, slot, driver)


def _after_pass(kernel: Kernel, slot: Slot, driver: VirtioMem) -> list[str]:
    missing = abs(slot.handle.requested_size - slot.handle.plugged_size)
    match driver.work.last_rc:
        case Errno.OK if not driver.parameters.unplug_online:
            return ["unplug_online is off: only offline memory is unplugged"]
        case Errno.OK:
            unit = format_size(driver.mode.plug_size)
            return [f"{format_size(missing)} is less than the {unit} that the driver plugs at a time"]
        case Errno.ENOSPC if driver.waits_for_online:
            offline = format_size(driver.added.offline_size)
            limit = format_size(driver.added.resume_size)
            return [f"{offline} of the added memory is offline; the driver adds more when no more than {limit} is"]
        case Errno.ENOSPC:
            return [f"no whole {format_size(driver.mode.unit_size)} of the usable region is left for another block"]
        case Errno.ETXTBSY:
            return ["the device answered BUSY"]
        case _ if driver.added.obstacles:
            return _obstacles(kernel.memory, driver.added.obstacles)
        case rc:
            return [f"the last attempt ended with {rc.name}"]


def _obstacles(memory: Memory, obstacles: list[Obstacle]) -> list[str]:
    """One line for each memory block that did not give up all it should have."""
    lines = []
    for id_, group in groupby(sorted(obstacles, key=lambda o: o.span), lambda o: o.span.start // memory.block_size):
        of_block = list(group)
        worst = of_block[0]
        zone = str(worst.zone.type) if worst.zone is not None else "no zone"
        lines.append(f"memory{id_} ({zone}): {_why(memory, of_block)}")
    return lines


def _why(memory: Memory, obstacles: list[Obstacle]) -> str:
    """What holds the memory of one block."""
    used: Counter[str] = Counter()
    for index in {index for obstacle in obstacles for index in _pageblocks(memory, obstacle.span)}:
        block = memory.blocks.get(obstacles[0].span.start // memory.block_size)
        use = block.used.get(index) if block is not None else None
        if use is not None:
            used[f"{'movable' if use.movable else 'unmovable'} pages of {use.id!r}"] += PAGEBLOCK_PAGES
    if used:
        return ", ".join(f"{pages} {what}" for what, pages in sorted(used.items())) + _no_room(obstacles)
    return f"refused with {obstacles[0].errno.name} at the last attempt; no use is known to hold it now"


def _no_room(obstacles: list[Obstacle]) -> str:
    return ", and no room to move them to" if any(obstacle.errno is Errno.ENOMEM for obstacle in obstacles) else ""


def _pageblocks(memory: Memory, span: Span) -> range:
    """Indices of a span's pageblocks in its (first) memory block."""
    size = min(span.size, memory.block_size)
    _, mask = memory.mask_of(span.start, size) if span.start // memory.block_size in memory.blocks else (None, 0)
    return range((mask & -mask).bit_length() - 1, mask.bit_length()) if mask else range(0)
