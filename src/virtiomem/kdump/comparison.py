"""Compare two lists of ranges."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from virtiomem.kdump.elfcore import ProgramHeader, SegmentType
from virtiomem.kdump.ranges import CrashRange, CrashRanges
from virtiomem.units import MiB


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ranges that each loader dumps, and RAM that only one of them does."""

    kernel: CrashRanges
    kexec_tools: CrashRanges
    only_kernel: list[CrashRange]
    only_kexec_tools: list[CrashRange]

    @property
    def differs(self) -> bool:
        """True when the two dump different RAM above the first MiB, which they always treat differently."""
        return above_low(self.only_kernel, self.only_kexec_tools)


def compare(kernel: CrashRanges, kexec_tools: CrashRanges) -> Comparison:
    """Hold the two loaders' ranges for the same map against one another."""
    return Comparison(
        kernel,
        kexec_tools,
        subtract(kernel.ranges, kexec_tools.ranges),
        subtract(kexec_tools.ranges, kernel.ranges),
    )


def above_low(*found: Iterable[CrashRange]) -> bool:
    """Return whether any range reaches above the first MiB, which the two loaders treat differently."""
    return any(end >= MiB for ranges in found for _, end in ranges)


def subtract(ranges: Iterable[CrashRange], others: Iterable[CrashRange]) -> list[CrashRange]:
    """The parts of `ranges` that no range of `others` covers; touching parts of touching ranges stay apart."""
    left: list[CrashRange] = []
    covers = sorted(others)
    first = 0
    for start, end in sorted(ranges):
        # Both ascend: what ends below this range ends below all that follow.
        while first < len(covers) and covers[first][1] < start:
            first += 1
        # `first` stays: a range that reaches beyond this one may cover part of the next, too.
        rest, at = start, first
        while rest <= end and at < len(covers) and covers[at][0] <= end:
            if rest < covers[at][0]:
                left.append((rest, covers[at][0] - 1))
            rest = max(rest, covers[at][1] + 1)
            at += 1
        if rest <= end:
            left.append((rest, end))
    return left


def ram_of(table: Sequence[ProgramHeader]) -> list[CrashRange]:
    """The RAM that a header lists: its LOAD segments except the kernel's own mapping.

    Every maker of a header writes that mapping first, and it is not part of the direct map, where virtual addresses are all
    as far from physical ones. Where either lies is another question on each architecture and for each size of pages.
    """
    loads = [one for one in table if one.type == SegmentType.LOAD and one.memsz]
    return [
        (one.paddr, one.paddr + one.memsz - 1)
        for one in loads
        if one.vaddr - one.paddr == loads[-1].vaddr - loads[-1].paddr
    ]


def dumped(table: Iterable[ProgramHeader]) -> list[CrashRange]:
    """The physical memory that a header's segments dump; the kernel's own mapping is part of it."""
    return [(one.paddr, one.paddr + one.memsz - 1) for one in table if one.type == SegmentType.LOAD and one.memsz]
