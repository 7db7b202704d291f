"""Crash ranges as text and as JSON's values."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from virtiomem.columns import Column, align
from virtiomem.columns import table as columns_table
from virtiomem.kdump.comparison import Comparison
from virtiomem.kdump.elfcore import PN_XNUM, Inputs
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import CrashRange, CrashRanges, total
from virtiomem.units import format_size, size_format


def range_text(found: CrashRange) -> str:
    """A range as kexec prints it."""
    return f"{found[0]:016x}-{found[1]:016x}"


def ranges_text(found: CrashRanges, *, in_bytes: bool = False, headings: bool = True) -> str:
    """A line for each range, and what was left out or lost."""
    size = size_format(in_bytes=in_bytes)
    head = [("RANGE", "SIZE", "")] if headings else []
    notes = {found.backup: "saved to the backup segment first"} if found.backup else {}
    rows = [(range_text(one), size(total([one])), notes.get(one, "")) for one in found.ranges]
    return align([*head, *rows], " >")


def summary_text(found: CrashRanges, *, in_bytes: bool = False) -> str:
    """Describe the ranges: how many, how much, what was excluded, and how near the limit is."""
    size = size_format(in_bytes=in_bytes)(found.size)
    # Not *at least*: of what is missing some may be RAM, some a crash kernel in the RAM that was read.
    size = f"{size} of what was read" if found.partly else size
    what = "in a header that the kernel keeps up to date" if found.loader is Loader.KERNEL else "entries in its table"
    room = (
        "any number of ranges fits: this kernel makes its header as large as it takes"
        if found.limit is None and found.loader is Loader.KERNEL
        else "any number of ranges fits: its table grows"
        if found.limit is None
        else f"{found.entries} of {found.limit} {what}"
    )
    excluded = ", ".join(f"{start:#x}-{end:#x}" for start, end in found.excluded) or "nothing"
    ranges = "range" if len(found.ranges) == 1 else "ranges"
    return f"{found.loader.value}: {len(found.ranges)} {ranges}, {size}; excluded: {excluded}\n{room}\n"


def findings(found: CrashRanges) -> list[str]:
    """Return warnings about a dump of these ranges, a sentence each; nothing in the usual case."""
    said = []
    if not found.ranges:
        said.append("no System RAM to dump")
    # A refusal before anything lost: nothing is loaded then, so there is no dump that could lack RAM.
    if found.refused:
        said.append(
            f"kexec -p refuses this map: its table of {found.limit} entries is full, and the crash kernel splits one more"
        )
    elif found.lost:
        entries = "entry is" if len(found.lost) == 1 else "entries are"
        said.append(
            f"{format_size(total(found.lost))} of RAM in {len(found.lost)} {entries} not dumped: the table is full "
            f"after {found.limit} entries, and kexec-tools does not say so"
        )
    said += unread(found)
    if found.loader is Loader.KERNEL and found.limit is not None and len(found.ranges) > found.limit:
        said.append(
            f"{len(found.ranges)} ranges: a kernel that keeps the header up to date (since 6.6) has room for {found.limit}"
        )
    if found.loader is Loader.KERNEL and len(found.ranges) >= PN_XNUM:
        said.append(
            f"{len(found.ranges)} ranges do not fit the 16 bits in which the kernel counts segments: "
            f"its header would say {len(found.ranges) % (PN_XNUM + 1)}"
        )
    return said


def unread(found: CrashRanges) -> list[str]:
    """That kexec-tools leaves out what drivers added; nothing where it does not."""
    if not found.unread:
        return []
    said = (
        f"{format_size(total(found.unread))} of RAM that drivers added is NOT in a dump that kexec-tools prepares (kexec -p"
        " -c): on this architecture it reads lines `System RAM` and no others; the kernel dumps it (kexec -p -s, where it"
        " is built with CONFIG_KEXEC_FILE)"
    )
    return [said]


def lacking(inputs: Inputs) -> list[str]:
    """Return the header entries that readers of a dump need and that this header lacks."""
    said = [] if inputs.notes else ["no CPU's crash notes (--note): readers of the dump find no registers"]
    if 0 < (known := len(inputs.notes)) < inputs.noted_cpus:
        said.append(f"crash notes of {known} CPUs, where the kernel's header has those of {inputs.noted_cpus} (--note)")
    return said + ([] if inputs.vmcoreinfo else ["no vmcoreinfo (--vmcoreinfo): makedumpfile and crash need it"])


def comparison_text(
    both: Comparison, *, in_bytes: bool = False, headings: bool = True, width: int | None = None
) -> str:
    """The two loaders' ranges side by side, each next to the one it starts with."""
    size = size_format(in_bytes=in_bytes)
    kernel, kexec = (dict(one.ranges) for one in (both.kernel, both.kexec_tools))
    columns: list[Column[tuple[str, str, str, str, str]]] = [
        Column("kernel", itemgetter(0)),
        Column("size", itemgetter(1), right=True, rank=1),
        Column("", itemgetter(2)),
        Column("kexec-tools", itemgetter(3)),
        Column("size", itemgetter(4), right=True, rank=1),
    ]
    rows = []
    # By where they start: two ranges that differ in their ends only then stand on one line.
    for start in sorted({*kernel, *kexec}):
        sides = [(start, ends[start]) if start in ends else None for ends in (kernel, kexec)]
        left, right = (("", "") if one is None else (range_text(one), size(total([one]))) for one in sides)
        rows.append((*left, "=" if sides[0] == sides[1] else "|", *right))
    table = columns_table(rows, columns, headings=headings, width=width)
    if not headings:
        return table
    only = (("kernel", both.only_kernel), ("kexec-tools", both.only_kexec_tools))
    tail = [f"only {who}: {range_text(one)} ({size(total([one]))})\n" for who, ranges in only for one in ranges]
    return "".join([table, "\n", summary_text(both.kernel), summary_text(both.kexec_tools), *tail])


def comparison_values(both: Comparison) -> dict[str, Any]:
    """A comparison as JSON's values."""
    return {
        "kernel": values(both.kernel),
        "kexec-tools": values(both.kexec_tools),
        "only-kernel": range_values(both.only_kernel),
        "only-kexec-tools": range_values(both.only_kexec_tools),
        "differs": both.differs,
    }


def against_text(
    missing: Sequence[CrashRange],
    gone: Sequence[CrashRange],
    *,
    in_bytes: bool = False,
    headings: bool = True,
    partly: bool = False,
) -> str:
    """Describe RAM that a core file lacks, and ranges of it that are not RAM."""
    size = size_format(in_bytes=in_bytes)
    head = [("RANGE", "SIZE", "")] if headings else []
    rows = [
        (range_text(one), size(total([one])), what)
        for what, ranges in (("RAM, not in the file", missing), ("in the file, RAM no more", gone))
        for one in ranges
    ]
    table = align([*head, *rows], " >") if rows else ""
    stale = f"{size(total(gone))} {gone_text('file')}\n" if gone else ""
    ram = "the RAM that was read" if partly else "RAM"
    return table if not headings else f"{table}{size(total(missing))} of {ram} missing from the file\n{stale}"


def gone_text(where: str) -> str:
    """Sentence about memory in a header, or a file, that the map does not have any more."""
    return f"in the {where} is RAM no more: no harm, the crash kernel asks the device and reads zeros"


def range_values(ranges: Sequence[CrashRange]) -> list[dict[str, int]]:
    """Ranges as JSON's values."""
    return [{"start": start, "end": end, "size": end - start + 1} for start, end in ranges]


def values(found: CrashRanges, more: Sequence[str] = ()) -> dict[str, Any]:
    """All of it as JSON's values; `more` are findings in addition to those of the ranges."""
    return {
        "loader": found.loader.value,
        "size": found.size,
        "entries": found.entries,
        "limit": found.limit,
        "ranges": range_values(found.ranges),
        "excluded": range_values(found.excluded),
        "lost": range_values(found.lost),
        **({"unread": range_values(found.unread)} if found.unread else {}),
        "refused": found.refused,
        "backup": range_values([found.backup])[0] if found.backup else None,
        "findings": [*findings(found), *more],
        **({"at-least": True} if found.partly else {}),
    }
