"""Differences that two boots of one machine may have: the kernel's, its build's and the firmware's own lines of the map.

A line of a boot listing that is not memory names what the kernel, its drivers or the firmware found and reserved: where
they put it and what they call it is their business. Boot memory is compared by where it is, not by how the firmware cuts
it into System RAM and reserved pieces; how many pages of it the zones got follows from that.
"""

import re
from collections import Counter
from dataclasses import dataclass

from virtiomem.recording.values import Snapshot
from virtiomem.resource.names import CRASH_KERNEL, DAX_DEVICE, DRIVER_RAM, SYSTEM_RAM, VIRTIO_DEVICE

_SPAN = r"([0-9a-f]+)-([0-9a-f]+) : "
_PIECE = re.compile(rf"{_SPAN}(?:{SYSTEM_RAM}|[Rr]eserved)")
_MEMORY = re.compile(
    rf"{_PIECE.pattern}|{_SPAN}(?:ACPI Tables|ACPI Non-volatile Storage|Unusable memory|Unknown E820 type|Soft Reserved)"
)
"""A top line of memory as the firmware gives it to the kernel (arch/x86/kernel/e820.c, e820_type_to_string)."""
_RAM = re.compile(rf" *{_SPAN}{SYSTEM_RAM}")
_JUDGED = re.compile(
    rf" : (?:{SYSTEM_RAM}|{DRIVER_RAM.pattern}|{VIRTIO_DEVICE.pattern}|{DAX_DEVICE.pattern}|{CRASH_KERNEL}"
    r"|CXL .*|Persistent Memory.*)$"
)
"""Lines of memory that may come and go, and of what the command line asks for: these are never set apart."""

Stretches = list[tuple[int, int]]
"""First and last address of each stretch of boot memory, whatever its pieces are called."""
Counters = dict[tuple[str, str], tuple[int, int, int]]
"""Spanned, present and managed pages by node and zone."""
COUNTERS = ("spanned", "present", "managed")


@dataclass(frozen=True, slots=True)
class Apart:
    """Lines that only one of two boots has and that belong to the kernel, its build or the firmware, as text."""

    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()


def set_apart(a: Snapshot, b: Snapshot) -> Apart:
    """Return the differences between two boots that the guests do not choose: lines of the map, pages of zones."""
    # Counted, for a listing may have one line twice: a resource and a child of the same size and name.
    ones, others = (Counter(side.iomem.splitlines()) for side in (a, b))
    only_a, only_b = list(ones - others), list(others - ones)
    # Both ways: RAM that only one of them has is a difference of the machines, however their firmware cuts it.
    same_memory = _within(only_a, boot_memory(b)) and _within(only_b, boot_memory(a))
    pages = zone_pages(a), zone_pages(b)
    return Apart(
        (*_own(only_a, same_memory), *_zone_lines(*pages)), (*_own(only_b, same_memory), *_zone_lines(*pages[::-1]))
    )


def _within(lines: list[str], memory: Stretches) -> bool:
    """Return whether all RAM of these lines is memory in the other boot as well."""
    return all(is_part(line, memory) for line in lines if _RAM.fullmatch(line))


def _own(lines: list[str], same_memory: bool) -> list[str]:
    """The lines that are not memory; with the same memory on both sides also its pieces."""
    return [line for line in lines if not _JUDGED.search(line) or (same_memory and _RAM.fullmatch(line))]


def zone_pages(snapshot: Snapshot) -> Counters:
    """The counters of every zone."""
    return {
        (node, zone): (pages.spanned, pages.present, pages.managed)
        for node, zones in snapshot.zones.items()
        for zone, pages in zones.items()
    }


def _zone_lines(mine: Counters, others: Counters) -> list[str]:
    """The spanned and present pages that differ; managed ones are never compared."""
    return [
        f"{counter} pages of zone {zone} on {node}: {value}"
        for (node, zone), values in mine.items()
        for counter, value, other in zip(COUNTERS[:2], values, others.get((node, zone), (0, 0)), strict=False)
        if value != other
    ]


def boot_memory(boot: Snapshot) -> Stretches:
    """The memory in a boot listing, neighbours joined."""
    found: Stretches = []
    for line in boot.iomem.splitlines():
        if match := _MEMORY.fullmatch(line):
            start, end = (int(address, 16) for address in filter(None, match.groups()))
            # SeaBIOS and UEFI cut the same memory at different places; only the outer ends are the machine's.
            if found and found[-1][1] + 1 == start:
                start, _ = found.pop()
            found.append((start, end))
    return found


def is_part(line: str, memory: Stretches) -> bool:
    """Return whether a line is RAM or reserved memory within boot memory; on arm64 such lines may be nested."""
    if not memory or (match := _PIECE.fullmatch(line.lstrip())) is None:
        return False
    first, last = (int(address, 16) for address in match.groups())
    return any(start <= first and last <= end for start, end in memory)
