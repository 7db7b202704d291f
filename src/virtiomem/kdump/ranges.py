"""Which RAM a crash dump will hold: as the kernel works it out for kexec_file_load, and as kexec-tools does from the text.

Both start from the same iomem tree and leave out the crash kernel. The kernel walks System RAM, driver-managed RAM
included, and leaves out the first MiB, which it keeps for itself. kexec-tools reads lines until its table is full and
then stops without a word; that is why unmerged memory blocks matter. On arm64 the kernel walks memblock and leaves out
only the crash kernel, and kexec-tools reads no line of memory that a driver added.

Models: prepare_elf_headers() in arch/x86/kernel/crash.c and crash_exclude_mem_range() in kernel/kexec_file.c (v6.1);
get_crash_memory_ranges() in kexec/arch/i386/crashdump-x86.c (kexec-tools 2.0.25); for arm64, prepare_elf_headers() in
arch/arm64/kernel/machine_kexec_file.c and crash_get_memory_ranges() in kexec/arch/arm64/crashdump-arm64.c.
"""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from virtiomem import border, gcpause
from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.reservation import is_reserved
from virtiomem.releases.linux import DEFAULT, LinuxRelease
from virtiomem.resource import iomem
from virtiomem.resource.flags import BUSY_RAM, Desc
from virtiomem.resource.names import CRASH_KERNEL, DRIVER_RAM, SYSTEM_RAM
from virtiomem.resource.tree import Resource
from virtiomem.units import MiB

LOW_MEMORY = (0, MiB - 1)
"""What the kernel never lists: it keeps a copy for the crash kernel's own use."""
KEXEC_TOOLS_RANGES = 32768
"""CRASH_MAX_MEMORY_RANGES: entries of any type that kexec-tools' table holds on x86 (since 2.0.22)."""
KEXEC_TOOLS_CRASH_KERNELS = 8
"""CRASH_RESERVED_MEM_NR: `Crash kernel` lines that kexec-tools excludes."""
_EXACT_CRASH_KERNELS = 2
"""A low and a high one, where kexec-tools' table grows."""
KEXEC_TOOLS_LINE = 160
"""MAX_LINE: kexec-tools reads one byte less of a line."""
BACKUP_END = 0xA0000
"""The first RAM that ends here or below is what kexec-tools copies away before the crash kernel starts."""

_KEPT_NAMES = frozenset(
    {
        *("ACPI Tables", "ACPI Non-volatile Storage", "Persistent Memory", "Persistent Memory (legacy)"),
        *("reserved", "Reserved"),
    }
)
"""Other resources that kexec-tools keeps, to report them to the crash kernel: each takes a place in its table."""


CrashRange = tuple[int, int]
"""The first and the last byte, both in, as in the kernel's struct range. (A million plain pairs cost the least.)"""


_Entry = tuple[int, int, bool]
"""A place in kexec-tools' table: first byte, last byte, and whether it is RAM."""
_NOTHING_HIDDEN = 1 << 64
"""A depth below every line: the walk is not inside a System RAM."""


class CrashRanges(NamedTuple):
    """The ranges that one loader dumps, ascending, and what it counted on the way.

    `entries` is what counts towards `limit` (the kernel: ranges after the exclusions; kexec-tools: kept lines of any
    type). `lost` is RAM that is not dumped because the table was full; only this list says so. `backup` is the range
    whose content is read from the backup segment (kexec-tools only). `refused`: kexec-tools gives up, because the crash
    kernel splits an entry and its table is full; then nothing is loaded, and the ranges are what it had so far.
    `partly`: something may be missing from the listing: RAM, so that there is more to dump, or a crash kernel, so that
    there is less.
    """

    loader: Loader
    ranges: list[CrashRange]
    excluded: list[CrashRange]
    entries: int
    limit: int | None
    lost: list[CrashRange]
    backup: CrashRange | None = None
    refused: bool = False
    partly: bool = False
    unread: tuple[CrashRange, ...] = ()
    """RAM that kexec-tools does not take for RAM, since a driver added it."""

    @property
    def size(self) -> int:
        """Bytes to dump."""
        return total(self.ranges)

    @property
    def has_crash_kernel(self) -> bool:
        """True when memory is reserved for a crash kernel; without, neither loader has a place to put one."""
        # The first MiB is excluded without being reserved for a crash kernel.
        return any(is_reserved(start, end) for start, end in self.excluded if (start, end) != LOW_MEMORY)

    def check(self) -> None:
        """Assert that the ranges ascend without overlap and leave out what is excluded."""
        for start, end in self.ranges:
            assert start <= end, f"a range is not empty: {start:#x}-{end:#x}"
        if self.loader is Loader.KERNEL:
            for (_, end), (start, _) in pairwise(self.ranges):
                assert end < start, f"ranges ascend without overlap: {start:#x} follows {end:#x}"
            assert self.entries == len(self.ranges), "the kernel counts its ranges"
        else:
            limit = self.entries if self.limit is None else self.limit
            assert len(self.ranges) <= self.entries <= limit, "kexec-tools' table holds no more than its limit"


def crash_ranges(listing: str | bytes | Resource) -> list[CrashRange]:
    """The RAM that a crash dump will hold, as the kernel lists it: one range a System RAM resource, touching or not.

    `listing` is the text of /proc/iomem or its tree. Raises ListingError when a text is not a sound listing.
    """
    border.instance("listing", listing, str, bytes, Resource)
    with gcpause.paused():
        return kernel_ranges(listing if isinstance(listing, Resource) else iomem.loads(listing)).ranges


def total(ranges: Iterable[CrashRange]) -> int:
    """Bytes in all of `ranges`."""
    return sum(end - start + 1 for start, end in ranges)


def kernel_ranges(
    tree: Resource,
    release: LinuxRelease = DEFAULT,
    *,
    limit: int | None = None,
    architecture: Architecture = DEFAULT_ARCHITECTURE,
) -> CrashRanges:
    """The ranges as kexec_file_load() makes them; `limit` is how many its header has room for, None for any number.

    Models: prepare_elf_headers().
    """
    ranges, crash_kernels = _system_ram(tree)
    if architecture.dumps_memblock:
        ranges = _joined(ranges, tree)
    if not architecture.keeps_crash_header:
        limit = None
    low = [] if architecture.dumps_first_mib else [LOW_MEMORY]
    excluded = [*low, *crash_kernels[:-3:-1]]  # the last two, highest first: crashk_res, then crashk_low_res
    for start, end in excluded:
        _exclude(ranges, start, end, release)
    return CrashRanges(Loader.KERNEL, ranges, excluded, len(ranges), limit, [])


def _system_ram(tree: Resource) -> tuple[list[CrashRange], list[CrashRange]]:
    """Return the outermost busy System RAM in address order, and all `Crash kernel` ranges, nested ones too.

    Models: walk_system_ram_res() over all addresses; `resource.walk` has it for any range, at a higher price.
    """
    ram: list[CrashRange] = []
    crash_kernels: list[CrashRange] = []
    hidden, busy_ram, crash_kernel = _NOTHING_HIDDEN, BUSY_RAM, Desc.CRASH_KERNEL  # looked up for every line
    for depth, node in tree.walk():
        if node.flags & busy_ram == busy_ram:
            if depth <= hidden:
                ram.append((node.start, node.end))
                hidden = depth
            if node.desc is crash_kernel:
                crash_kernels.append((node.start, node.end))
        elif depth <= hidden:
            hidden = _NOTHING_HIDDEN
    return ram, crash_kernels


def _exclude(ranges: list[CrashRange], start: int, end: int, release: LinuxRelease) -> None:
    """Take [start, end] out: ranges inside it go, those that it cuts are trimmed or split; an older kernel stops at the first.

    Models: crash_exclude_mem_range(). Since: 6.8 (exclusion_goes_on).
    """
    first = at = _first_not_below(ranges, start)
    while at < len(ranges) and ranges[at][0] <= end:
        inside = start <= ranges[at][0] and ranges[at][1] <= end
        at += 1
        # Before 6.8 the loop returned after the first range that it cut: what lay in later ones stayed in the dump.
        if not (inside or release.exclusion_goes_on):
            break
    ranges[first:at] = [part for cut in ranges[first:at] for part in _around(cut, start, end)]


def _joined(ranges: list[CrashRange], tree: Resource) -> list[CrashRange]:
    """Ranges as memblock has them: neighbours that drivers manage are one, whether the map merged them or not.

    Models: memblock_add_range() in mm/memblock.c (v6.1). Differs: of a DIMM next to boot memory, which memblock joins, and of
    the nodes of neighbours, which keep them apart, a map does not tell.
    """
    managed = {(node.start, node.end) for _, node in tree.walk() if DRIVER_RAM.fullmatch(node.name)}
    found: list[CrashRange] = []
    before: CrashRange | None = None
    for one in ranges:
        if before in managed and one in managed and found[-1][1] + 1 == one[0]:
            found[-1] = (found[-1][0], one[1])
        else:
            found.append(one)
        before = one
    return found


def kexec_tools_ranges(
    tree: Resource, *, limit: int = KEXEC_TOOLS_RANGES, architecture: Architecture = DEFAULT_ARCHITECTURE
) -> CrashRanges:
    """The ranges as kexec-tools makes them from the lines, in their order, at any depth.

    `limit` is how many entries the table holds. Models: get_crash_memory_ranges().
    Differs: a range that its arithmetic leaves empty is dropped; kexec-tools writes a segment without bytes for it.
    """
    if architecture.exact_system_ram:
        return _exact_ranges(tree)
    table: list[_Entry] = []
    lost: list[CrashRange] = []
    excluded: list[CrashRange] = []
    gart: list[CrashRange] = []
    for depth, node in tree.walk():
        name = node.name
        ram = SYSTEM_RAM in name and _is_read(node, depth)
        if ram or name in _KEPT_NAMES:
            if len(table) < limit:
                table.append((node.start, node.end, ram))
            elif ram:
                lost.append((node.start, node.end))
        # An `elif` chain like kexec-tools' own: a line counts as the first that it matches.
        elif name == CRASH_KERNEL and len(excluded) < KEXEC_TOOLS_CRASH_KERNELS:
            excluded.append((node.start, node.end))
        elif name == "GART" and len(table) < limit:
            gart = [(node.start, node.end)]
    # Last, as kexec-tools excludes it.
    excluded += gart
    refused = not all(_exclude_region(table, start, end, limit) for start, end in excluded)
    # After the exclusions: other entries take a place in the table, but no segment is written for them.
    ranges = [(start, end) for start, end, ram in table if ram and start <= end]
    backup = next((found for found in ranges if found[1] <= BACKUP_END), None)
    return CrashRanges(Loader.KEXEC_TOOLS, ranges, excluded, len(table), limit, lost, backup, refused)


def _exact_ranges(tree: Resource) -> CrashRanges:
    """The ranges where only `System RAM` itself is read, and a crash kernel inside one range is cut from it.

    Models: crash_get_memory_ranges() in kexec/arch/arm64/crashdump-arm64.c (kexec-tools 2.0.25).
    """
    ranges = [(node.start, node.end) for _, node in tree.walk() if node.name == SYSTEM_RAM]
    excluded = [(node.start, node.end) for _, node in tree.walk() if node.name == CRASH_KERNEL][:_EXACT_CRASH_KERNELS]
    unread = tuple((node.start, node.end) for _, node in tree.walk() if DRIVER_RAM.fullmatch(node.name))
    for start, end in excluded:
        # Only one range that holds all of it is cut: arm64's kexec-tools looks for no overlap.
        at = next((at for at, (first, last) in enumerate(ranges) if first <= start and end <= last), None)
        if at is not None:
            ranges[at : at + 1] = _around(ranges[at], start, end)
    return CrashRanges(Loader.KEXEC_TOOLS, sorted(ranges), excluded, len(ranges), None, [], unread=unread)


def _is_read(node: Resource, depth: int) -> bool:
    """True when a name that has the words has them within what kexec-tools reads of a line."""
    behind = len(node.name) - node.name.index(SYSTEM_RAM) - len(SYSTEM_RAM)
    line = len(f"{'  ' * min(depth, 5)}{node.start:08x}-{node.end:08x} : {node.name}")
    return line - behind < KEXEC_TOOLS_LINE


def _exclude_region(table: list[_Entry], start: int, end: int, limit: int) -> bool:
    """Trim or split every entry that [start, end] overlaps; False when the table has no room for the upper half.

    Models: exclude_region(), which keeps one split, the last, and calls its upper half RAM whatever it was.
    """
    split: tuple[int, _Entry] | None = None
    for at, (first, last, ram) in enumerate(table):
        # Strict on both sides, as in kexec-tools: a range that shares one byte only is not touched.
        if start < last and end > first:
            if start != first and end != last:
                # It is put in after the loop, so a second split in the same pass replaces the first.
                split = (at + 1, (end + 1, last, True))
            table[at] = (first, start - 1, ram) if start != first else (end + 1, last, ram)
    if split is not None and len(table) == limit:
        return False
    if split is not None:
        table.insert(*split)
    return True


def _around(cut: CrashRange, start: int, end: int) -> list[CrashRange]:
    """Return `cut` without [start, end]: none, one or two ranges."""
    parts = ((cut[0], min(cut[1], start - 1)), (max(cut[0], end + 1), cut[1]))
    return [part for part in parts if part[0] <= part[1]]


def _first_not_below(ranges: list[CrashRange], address: int) -> int:
    """The index of the first range that ends at `address` or later."""
    return bisect_left(ranges, address, key=lambda found: found[1])
