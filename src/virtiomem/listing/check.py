r"""Count the ranges that each reader of a map sees, and compare them with its limit.

Every block that is hotplugged and not merged is one more range for everybody. The kernel's own crash header, kexec-tools
and the ELF format each have limited room, and some say nothing when it is used up.

Sources: CONFIG_CRASH_MAX_MEMORY_RANGES (arch/x86/Kconfig, since 6.6); CRASH_MAX_MEMORY_RANGES and MAX_MEMORY_RANGES in
kexec-tools 2.0.22 and later; PN_XNUM in the ELF specification.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.columns import align
from virtiomem.kdump.elfcore import PN_XNUM
from virtiomem.kdump.range_text import findings as dump_findings
from virtiomem.kdump.ranges import KEXEC_TOOLS_RANGES, kernel_ranges, kexec_tools_ranges
from virtiomem.listing.ram import BOOT, RamRange, system_ram
from virtiomem.releases.linux import DEFAULT, LinuxRelease
from virtiomem.resource.merge import mergeable
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.resource.node import Resource
from virtiomem.text import sound
from virtiomem.units import size_format

KEXEC_MAX_MEMORY_RANGES = 2048
"""MAX_MEMORY_RANGES: what `kexec -l` takes from the map when there is no /sys/firmware/memmap."""


KEXEC_TOOLS_RANGES_ARM = 32
"""CRASH_MAX_MEMORY_RANGES of kexec-tools on 32-bit arm, which has no row here: all else is taken to be as usual."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A program that reads the map."""

    name: str
    sees: int
    """Ranges that this map gives it."""
    unmerged: int
    """Ranges if every hotplugged block were one of its own."""
    limit: int | None
    note: str = ""

    def headroom(self, block_size: int) -> int | None:
        """Bytes that can still be hotplugged in blocks that nothing merges."""
        return None if self.limit is None else max(self.limit - self.sees, 0) * block_size


@dataclass(frozen=True, slots=True)
class MapReport:
    """Finding about a map."""

    consumers: list[Consumer]
    findings: list[str]
    """What is wrong, a sentence each."""
    block_size: int


def check(
    tree: Resource,
    block_size: int,
    architecture: Architecture = DEFAULT_ARCHITECTURE,
    *,
    table: int = KEXEC_TOOLS_RANGES,
    release: LinuxRelease | None = None,
    room: int | None,
) -> MapReport:
    """Look at a map with the eyes of each consumer; `block_size` is the memory block's, in bytes.

    `table` is how many entries kexec-tools' table holds, where it has an end. `release` is the kernel's where it is
    known; its crash header has `room` for that many ranges, None for any number.
    """
    ram = list(system_ram(tree))
    kernel = kernel_ranges(tree, release or DEFAULT, limit=room, architecture=architecture)
    kexec_tools = kexec_tools_ranges(tree, limit=table, architecture=architecture)
    since = f"Linux {release.name}" if release else "since 6.6, in Debian's build" if kernel.limit else ""
    more = sum(_blocks(one, block_size) - 1 for one in ram if one.kind != BOOT)
    # memblock joins what drivers added, so there unmerged lines of the map cost the kernel no range.
    joined = 0 if architecture.dumps_memblock else more
    # What it would need: those that its table had no room for are counted, too.
    entries = kexec_tools.entries + len(kexec_tools.lost)
    plain = sum(one.resource.name == SYSTEM_RAM for one in ram)
    consumers = [
        Consumer("kernel crash header", len(kernel.ranges), len(kernel.ranges) + joined, kernel.limit, since),
        Consumer("kexec-tools, crash", entries, entries + (0 if kexec_tools.unread else more), kexec_tools.limit),
        Consumer("kexec-tools, kexec -l", plain, plain, KEXEC_MAX_MEMORY_RANGES),
        Consumer("ELF program headers", len(kernel.ranges), len(kernel.ranges) + joined, PN_XNUM),
    ]
    # As keys: both loaders may find the same, such as no RAM to dump.
    findings = dict.fromkeys([*dump_findings(kernel), *dump_findings(kexec_tools)])
    # Of this one alone: the findings about a dump name the other three already.
    findings |= dict.fromkeys(_over(consumers[2:3]))
    findings |= dict.fromkeys(_unmerged(ram))
    return MapReport(consumers, list(findings), block_size)


def _blocks(ram: RamRange, block_size: int) -> int:
    """Memory blocks that a range of RAM touches."""
    return ram.resource.end // block_size - ram.resource.start // block_size + 1


def _over(consumers: Iterable[Consumer]) -> Iterable[str]:
    for one in consumers:
        if one.limit is not None and one.sees > one.limit:
            yield f"{one.sees} ranges for {one.name}, which has room for {one.limit}"


def _unmerged(ram: list[RamRange]) -> Iterable[str]:
    """Blocks of virtio-mem devices that the kernel merges as it adds them (MHP_MERGE_RESOURCE, since 5.10)."""
    touching: dict[Resource, int] = {}
    for below, above in pairwise(ram):
        parent = above.resource.parent
        if above.kind != "virtio_mem" or parent is None or below.resource.parent is not parent:
            continue
        if mergeable(below.resource, above.resource):
            touching[parent] = touching.get(parent, 0) + 1
    for parent, joints in touching.items():
        yield (
            f"{parent.name} shows touching blocks that a kernel from 5.10 on merges: {joints} ranges too many for every "
            "consumer (an older kernel, or merging is off)"
        )


def table(report: MapReport, *, in_bytes: bool = False, headings: bool = True, width: int | None = None) -> str:
    """The consumers as a table."""
    rows: list[list[str]] = [["CONSUMER", "RANGES", "UNMERGED", "LIMIT", "HEADROOM", "NOTE"]] if headings else []
    for one in report.consumers:
        room = one.headroom(report.block_size)
        left = "-" if room is None else size_format(in_bytes=in_bytes)(room)
        rows.append([one.name, str(one.sees), str(one.unmerged), str(one.limit or "-"), left, one.note])
    return align(rows, " >>>>", width=width)


def values(report: MapReport) -> dict[str, Any]:
    """The report for JSON."""
    return {
        "block-size": report.block_size,
        "consumers": [
            {
                "name": one.name,
                "ranges": one.sees,
                "unmerged": one.unmerged,
                "limit": one.limit,
                "headroom": one.headroom(report.block_size),
                "note": one.note,
            }
            for one in report.consumers
        ],
        "findings": [sound(finding) for finding in report.findings],
    }
