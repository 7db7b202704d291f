"""Compare two recordings, without what cannot be predicted, and find the first difference.

Looked at: the page size, what is done, whether it was refused, requests (per device: two devices interleave in any
order), device sizes, `settled` (not with a DIMM: not every recording knew whether Linux took it, and the map says
that), the iomem listing, state, valid-zones and nodes of memory blocks that are not boot memory, spanned and present
pages of zones.

Not looked at, because it is the kernel's own business or chance: the wording of a refusal, managed pages, `removable`,
boot blocks, PCI drivers' claims inside a BAR, the kernel's text and data lines, times. From a kexec to the next reboot
also the System RAM and Reserved lines of boot memory: the memory map of the second kernel comes not from the firmware but from
kexec-tools, which splits it in its own way. `not_compared` says so in words.

Two kernels or two firmwares boot with different maps: those lines are set apart (`recording.apart`), the same ones at every
step, and everything else is compared. `Rules` says otherwise: all of this is compared, too, or less.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from msgspec import UNSET, UnsetType

from virtiomem.recording.apart import COUNTERS, Apart, Counters, Stretches, boot_memory, is_part, set_apart, zone_pages
from virtiomem.recording.describe import describe, describe_header, describe_request
from virtiomem.recording.values import (
    CrashHeader,
    DeviceInfo,
    DimmInfo,
    Kexec,
    MemoryBlock,
    Reboot,
    Recording,
    Request,
    Snapshot,
    StepRecord,
)
from virtiomem.resource.names import KERNEL_IMAGE
from virtiomem.units import format_size

_OWN_BUSINESS = re.compile(rf" : (?:virtio-pci-modern|{KERNEL_IMAGE.pattern})$")
"""Lines of a listing that are left out: a PCI driver's claim inside a BAR, the kernel's own sections."""


@dataclass(frozen=True, slots=True)
class RecordingDifference:
    """First difference of two recordings: `what` differs, with its value in each."""

    step: int | None
    """Steps count from 1; None is the guest before the first step."""
    action: str
    """The step in words."""
    what: str
    a: str
    b: str

    @property
    def place(self) -> str:
        """Place of the difference in words: ``step 3 (resize vm0 to 1G)``."""
        return f"step {self.step} ({self.action})" if self.step is not None else self.action

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.a} against {self.b}"


Found = tuple[str, str, str]
"""What is different, and its two values."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Filter of a comparison: `everything` that is not a time, and nothing that matches a pattern of `ignore`."""

    everything: bool = False
    ignore: tuple[re.Pattern[str], ...] = ()

    def ignores(self, text: str) -> bool:
        """Return whether a difference, given as a line of the map or as words, is a known one."""
        return any(pattern.search(text) for pattern in self.ignore)


_DEFAULT = Rules()


@dataclass(frozen=True, slots=True)
class _Scope:
    """Parts left out of one comparison, and the sizes of the zones at boot."""

    rules: Rules
    blocks: frozenset[int]
    """Memory blocks of boot memory."""
    apart: Apart
    zones: tuple[Counters, Counters]
    split: Stretches
    """Boot memory that kexec-tools has cut in pieces."""


def compare(a: Recording, b: Recording, rules: Rules = _DEFAULT) -> RecordingDifference | None:
    """The first difference between two recordings; None when they are the same."""
    return next(differences(a, b, rules), None)


def differences(a: Recording, b: Recording, rules: Rules = _DEFAULT) -> Iterator[RecordingDifference]:
    """Every difference between two recordings, in order; after the first step that is not the same one, no more is said."""
    scope = _scope(a.boot, b.boot, rules)
    yield from _told(_page_sizes(a, b), None, "boot", rules)
    yield from _told(_snapshots(a.boot, b.boot, scope), None, "boot", rules)
    for number, (one, other) in enumerate(zip_longest(a.steps, b.steps), start=1):
        if one is None or other is None or one.step != other.step:
            yield _other_step(number, one, other)
            return
        if _starts_kernel(one) or _starts_kernel(other):
            # A reboot brings back the firmware's map, which is compared.
            split = boot_memory(a.boot) if isinstance(one.step, Kexec) and not rules.everything else []
            scope = replace(scope, split=split)
        yield from _told(_outcomes(one, other, scope), number, describe(one.step), rules)


def _scope(a: Snapshot, b: Snapshot, rules: Rules) -> _Scope:
    """Return the parts of two boots that are not compared."""
    if rules.everything:
        return _Scope(rules, frozenset(), Apart(), ({}, {}), [])
    # Of both: a block that only one of them booted with is a difference.
    blocks = frozenset(block.block for block in a.memory_blocks) & {block.block for block in b.memory_blocks}
    return _Scope(rules, blocks, set_apart(a, b), (zone_pages(a), zone_pages(b)), [])


def _told(found: Iterator[Found], step: int | None, action: str, rules: Rules) -> Iterator[RecordingDifference]:
    """Yield the differences, with their place, unless they are known to differ."""
    for what, one, other in found:
        if not rules.ignores(f"{what}: {one} against {other}"):
            yield RecordingDifference(step, action, what, one, other)


def not_compared(recording: Recording) -> str:
    """Describe the lines of the map that are left out because of a kexec; empty when there was none."""
    for number, record in enumerate(recording.steps, start=1):
        if isinstance(record.step, Kexec) and _starts_kernel(record):
            return f"System RAM and Reserved lines of boot memory, from step {number} (kexec) to the next reboot"
    return ""


def _starts_kernel(record: StepRecord) -> bool:
    """Return whether the step booted another kernel."""
    return isinstance(record.step, Kexec | Reboot) and record.error is None


def _other_step(number: int, one: StepRecord | None, other: StepRecord | None) -> RecordingDifference:
    """The two did not do the same."""
    a, b = ("no more steps" if record is None else describe(record.step) for record in (one, other))
    return RecordingDifference(number, "not the same step", "what is done", a, b)


def _page_sizes(a: Recording, b: Recording) -> Iterator[Found]:
    """Pages of other sizes: then no count of pages compares."""
    if a.page_size != b.page_size:
        yield "page size", format_size(a.page_size), format_size(b.page_size)


def _outcomes(a: StepRecord, b: StepRecord, scope: _Scope) -> Iterator[Found]:
    """Differences in what came of a step, most telling first."""
    if (a.error is None) != (b.error is None) or (scope.rules.everything and a.error != b.error):
        yield "whether it was refused", *(record.error or "taken" for record in (a, b))  # type: ignore[misc]
    yield from _requests(a.requests, b.requests)
    if a.settled != b.settled and not any(isinstance(device, DimmInfo) for device in a.snapshot.devices):
        yield "settled", *("settled" if record.settled else "stopped short" for record in (a, b))  # type: ignore[misc]
    yield from _snapshots(a.snapshot, b.snapshot, scope)


def _requests(a: Sequence[Request], b: Sequence[Request]) -> Iterator[Found]:
    """Differences in the requests, device by device."""
    for device in dict.fromkeys(request.device for request in (*a, *b)):
        pairs = zip_longest(*([request for request in side if request.device == device] for side in (a, b)))
        for number, (one, other) in enumerate(pairs, start=1):
            if one != other:
                yield f"request {number} of {device}", _request(one), _request(other)


def _request(request: Request | None) -> str:
    """A request in words, or its absence."""
    return describe_request(request) if request is not None else "no such request"


def _snapshots(a: Snapshot, b: Snapshot, scope: _Scope) -> Iterator[Found]:
    """Differences between two guests at rest."""
    yield from _devices(a.devices, b.devices)
    lines = _lines(a.iomem, scope.apart.a, scope), _lines(b.iomem, scope.apart.b, scope)
    for one, other in zip_longest(*lines, fillvalue="end of the listing"):
        if one != other:
            yield "iomem", one.strip(), other.strip()
    yield from _crash_headers(a.crash_header, b.crash_header)
    yield from _blocks(a.memory_blocks, b.memory_blocks, scope)
    yield from _zones(zone_pages(a), zone_pages(b), scope)


def _lines(iomem: str, apart: Sequence[str], scope: _Scope) -> list[str]:
    """A listing without the lines that cannot be predicted."""
    if scope.rules.everything:
        return [line for line in iomem.splitlines() if not scope.rules.ignores(line)]
    own = frozenset(apart)
    return [
        line
        for line in iomem.splitlines()
        if not (line in own or _OWN_BUSINESS.search(line) or is_part(line, scope.split) or scope.rules.ignores(line))
    ]


def _devices(a: Sequence[DeviceInfo], b: Sequence[DeviceInfo]) -> Iterator[Found]:
    """Differences in the devices' sizes, and devices that only one side has."""
    ones, others = ({device.id: device for device in side} for side in (a, b))
    for name in dict.fromkeys((*ones, *others)):
        one, other = ones.get(name), others.get(name)
        if one is None or other is None or type(one) is not type(other):
            yield f"device {name}", _kind(one), _kind(other)
            continue
        for key, value in _sizes(one).items():
            if value != _sizes(other)[key]:
                yield f"{key} of {name}", format_size(value), format_size(_sizes(other)[key])


def _crash_headers(a: CrashHeader | UnsetType, b: CrashHeader | UnsetType) -> Iterator[Found]:
    """Differences in what the crash headers in memory hold."""
    if _header(a) != _header(b):
        yield "crash header", _header(a), _header(b)
    if a is not UNSET and b is not UNSET:
        for one, other in zip_longest(a.ranges, b.ranges):
            if one != other:
                yield "range of the crash header", _range(one), _range(other)


def _header(header: CrashHeader | UnsetType) -> str:
    """A crash header in words."""
    return "not there, or not known" if header is UNSET else describe_header(header)


def _range(one: tuple[int, int] | None) -> str:
    """A range of a crash header."""
    return "no more ranges" if one is None else f"{one[0]:#x}-{one[1]:#x}"


def _kind(device: DeviceInfo | None) -> str:
    """Return the kind of a device."""
    return "not there" if device is None else "a DIMM" if isinstance(device, DimmInfo) else "a virtio-mem device"


def _sizes(device: DeviceInfo) -> dict[str, int]:
    """A device's sizes, in bytes."""
    if isinstance(device, DimmInfo):
        return {"size": device.size}
    return {
        "size": device.size,
        "requested-size": device.requested_size,
        "max-size": device.max_size,
        "block-size": device.block_size,
    }


def _blocks(a: Sequence[MemoryBlock], b: Sequence[MemoryBlock], scope: _Scope) -> Iterator[Found]:
    """Differences in memory blocks that are not boot memory."""
    ones, others = ({block.block: block for block in side if block.block not in scope.blocks} for side in (a, b))
    for number in sorted(ones.keys() | others.keys()):
        one, other = (_block(side.get(number), scope.rules) for side in (ones, others))
        if one != other:
            yield f"memory block {number}", one, other


def _block(block: MemoryBlock | None, rules: Rules) -> str:
    """Everything compared of a memory block, in words."""
    if block is None:
        return "not there"
    more = f", removable {block.removable}" if rules.everything else ""
    # Sorted: the order in which sysfs lists a block's nodes means nothing.
    return f"{block.state}, valid zones {block.valid_zones!r}, nodes {sorted(block.nodes)}{more}"


def _zones(a: Counters, b: Counters, scope: _Scope) -> Iterator[Found]:
    """Differences in what has come to zones since boot; a zone that is not listed is an empty one."""
    none = (0, 0, 0)
    for place in sorted(a.keys() | b.keys()):
        (one, other), (before, other_before) = (
            [side.get(place, none) for side in pair] for pair in ((a, b), scope.zones)
        )
        # What has come since boot: how much of boot memory a zone got is the firmware's and the kernel's own business.
        for index, counter in enumerate(COUNTERS if scope.rules.everything else COUNTERS[:2]):
            if one[index] - before[index] != other[index] - other_before[index]:
                yield f"{counter} pages of zone {place[1]} on {place[0]}", str(one[index]), str(other[index])
