"""The outputs of `iomem`, `map`, `kdump` and `read`."""

from msgspec import UNSET, UnsetType

from virtiomem.cli.outputs.base import Count, FromMap, Natural, Printed
from virtiomem.kdump.loader import Loader
from virtiomem.listing.damage import Damage
from virtiomem.listing.diff import ResourceChangeKind
from virtiomem.recording.values import CrashSyscall

Ends = tuple[Natural, Natural]
"""The first and the last address of a range."""


class ResourceOutput(Printed, kw_only=True):
    """A line of /proc/iomem; `end` is its last address."""

    start: Natural
    end: Natural
    size: Natural
    name: str
    flags: list[str]


class NestedResource(ResourceOutput):
    """A resource and those inside it."""

    children: "list[NestedResource] | UnsetType" = UNSET


class FlatResource(ResourceOutput):
    """A resource and the name of the one around it."""

    parent: str | None


class RamOutput(ResourceOutput):
    """A range of RAM and who brought it."""

    kind: str


class RamTotal(Printed, kw_only=True):
    """All ranges of one kind."""

    ranges: Count
    size: Natural


class RepairOutput(Printed, kw_only=True):
    """Damage that was put right: `times` alike, from `line` on."""

    line: Natural
    times: Count
    damage: Damage
    what: str
    remedy: str


class ReadMap(FromMap, kw_only=True):
    """With --lenient: what was put right, and whether all addresses are hidden."""

    repairs: list[RepairOutput] | UnsetType = UNSET
    masked: bool | UnsetType = UNSET


class MapTree(ReadMap, kw_only=True):
    """A map as a tree."""

    iomem: list[NestedResource]


class FlatMap(ReadMap, kw_only=True):
    """With --flat or --only: one resource behind the other."""

    iomem: list[FlatResource]


class RamMap(ReadMap, kw_only=True):
    """With --ram: System RAM, and the totals by kind."""

    ram: list[RamOutput]
    totals: dict[str, RamTotal]


class ReaderOutput(Printed, kw_only=True):
    """A reader of the map: how many ranges it sees, would see unmerged, and has room for; the memory that still fits."""

    name: str
    ranges: Natural
    unmerged: Natural
    limit: Natural | None
    headroom: Natural | None
    note: str


class MapCheck(FromMap, kw_only=True):
    """A map checked against its readers."""

    block_size: Count
    consumers: list[ReaderOutput]
    findings: list[str]


class MapChangeOutput(Printed, kw_only=True):
    """`times` resources that changed alike; `old-name` where they were renamed, `old-parent` where they lie elsewhere."""

    kind: ResourceChangeKind
    name: str
    before: list[Ends]
    after: list[Ends]
    grown: int
    parent: str | None
    times: Count
    inside: Natural
    old_name: str | UnsetType = UNSET
    old_parent: str | UnsetType | None = UNSET


class MapDiff(FromMap, kw_only=True):
    """Change of one map to another."""

    changes: list[MapChangeOutput]


class MapWatch(MapChangeOutput, kw_only=True):
    """A change, and when it was seen; one object per line."""

    time: str


class DrawnResource(Printed, kw_only=True):
    """`times` resources of one size and name, one behind the other, so deep in the tree."""

    start: Natural
    size: Natural
    times: Count
    depth: Natural
    name: str


class RangeOutput(Printed, kw_only=True):
    """A range; `end` is its last address."""

    start: Natural
    end: Natural
    size: Natural


class CrashOutput(FromMap, kw_only=True):
    """Contents of a crash dump's header, and what its maker leaves out or has no room for."""

    loader: Loader
    size: Natural
    entries: Natural
    limit: Natural | None
    ranges: list[RangeOutput]
    excluded: list[RangeOutput]
    lost: list[RangeOutput]
    unread: list[RangeOutput] | UnsetType = UNSET
    refused: bool
    backup: RangeOutput | None
    findings: list[str]


class CrashComparison(Printed, kw_only=True):
    """With --compare: the kernel's header next to that of kexec-tools."""

    kernel: CrashOutput
    kexec_tools: CrashOutput
    only_kernel: list[RangeOutput]
    only_kexec_tools: list[RangeOutput]
    differs: bool


class CrashAgainst(FromMap, kw_only=True):
    """With --against: RAM that a core file lacks, and what it has that is not RAM."""

    missing: list[RangeOutput]
    gone: list[RangeOutput]


class CrashStanding(FromMap, kw_only=True):
    """With --header: the header in memory, then, now and next; null is what is not known."""

    kernel: str
    loaded: bool | None
    syscall: CrashSyscall | None
    kept_up_to_date: bool | None
    ram: list[RangeOutput] | None
    at_loading: list[RangeOutput] | None
    now: list[RangeOutput] | None
    certain: list[RangeOutput] | None
    after_next: list[RangeOutput] | None
    missing: list[RangeOutput] | None
    gone: list[RangeOutput] | None
    said: list[str]
    findings: list[str]


class FactOutput(Printed, kw_only=True):
    """One thing that a file says; a number is a size in bytes."""

    of: str
    fact: str
    value: int | str


class FileOutput(FromMap, kw_only=True, rename={"what": "is", "at_least": "at-least"}):
    """Kind of a file, what it says about memory, and which commands take it."""

    kind: str
    what: str
    commands: list[str]
    sections: list[str]
    facts: list[FactOutput]
