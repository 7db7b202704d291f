"""Are two recordings the same, as far as anybody can predict? If not: the first difference.

Looked at: what is done, whether it was refused, requests (per device: two devices interleave as they like), device
sizes, `settled`, the iomem listing, state, valid-zones and nodes of memory blocks that are not boot memory, spanned and
present pages of zones.

Not looked at, because it is the kernel's own business or chance: the wording of a refusal, managed pages, `removable`,
boot blocks, PCI drivers' claims inside a BAR, the kernel's text and data lines, times. From a kexec to the next reboot
also the System RAM and Reserved lines of boot memory: the second kernel is not told of it by the firmware but by
kexec-tools, which splits it as it likes. `not_compared` says so in words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from virtiomem.recording.values import (
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
from virtiomem.recording.words import describe, describe_request
from virtiomem.resource.names import KERNEL_IMAGE, SYSTEM_RAM
from virtiomem.units import format_size

_OWN_BUSINESS = re.compile(rf" : (?:virtio-pci-modern|{KERNEL_IMAGE.pattern})$")
"""Lines of a listing that are left out: a PCI driver's claim inside a BAR, the kernel's own sections."""
_MEMORY = re.compile(rf"([0-9a-f]+)-([0-9a-f]+) : (?:{SYSTEM_RAM}|Reserved)")
"""A line of memory that nothing has added, at the top of the map."""

Boot = list[tuple[int, int]]
"""First and last address of each stretch of boot memory, RAM and reserved alike."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two recordings part: `what` is different, with its value in either one."""

    step: int | None
    """Steps count from 1; None is the guest before the first step."""
    action: str
    """The step in words."""
    what: str
    a: str
    b: str

    @property
    def place(self) -> str:
        """Where it is, in words: ``step 3 (resize vm0 to 1G)``."""
        return f"step {self.step} ({self.action})" if self.step is not None else self.action

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.a} against {self.b}"


Found = tuple[str, str, str]
"""What is different, and its two values."""


def compare(a: Recording, b: Recording) -> Difference | None:
    """The first difference between two recordings; None when they are the same."""
    return next(differences(a, b), None)


def differences(a: Recording, b: Recording) -> Iterator[Difference]:
    """Every difference between two recordings, in order; after the first step that is not the same one, no more is said."""
    boot = {block.block for block in a.boot.memory_blocks} & {block.block for block in b.boot.memory_blocks}
    split: Boot = []
    for found in _snapshots(a.boot, b.boot, boot, split):
        yield Difference(None, "boot", *found)
    for number, (one, other) in enumerate(zip_longest(a.steps, b.steps), start=1):
        if one is None or other is None or one.step != other.step:
            yield _other_step(number, one, other)
            return
        if _starts_kernel(one) or _starts_kernel(other):
            split = _boot_memory(a.boot) if isinstance(one.step, Kexec) else []
        for found in _outcomes(one, other, boot, split):
            yield Difference(number, describe(one.step), *found)


def not_compared(recording: Recording) -> str:
    """Which lines of the map are left out because of a kexec, in words; empty when there was none."""
    for number, record in enumerate(recording.steps, start=1):
        if isinstance(record.step, Kexec) and _starts_kernel(record):
            return f"System RAM and Reserved lines of boot memory, from step {number} (kexec) to the next reboot"
    return ""


def _starts_kernel(record: StepRecord) -> bool:
    """Whether the step ended with another kernel than before it."""
    return isinstance(record.step, Kexec | Reboot) and record.error is None


def _boot_memory(boot: Snapshot) -> Boot:
    """The memory in a boot listing, neighbours joined: what kexec-tools may split."""
    found: Boot = []
    for line in boot.iomem.splitlines():
        if match := _MEMORY.fullmatch(line):
            start, end = (int(address, 16) for address in match.groups())
            if found and found[-1][1] + 1 == start:
                start, _ = found.pop()
            found.append((start, end))
    return found


def _other_step(number: int, one: StepRecord | None, other: StepRecord | None) -> Difference:
    """The two did not do the same."""
    a, b = ("no more steps" if record is None else describe(record.step) for record in (one, other))
    return Difference(number, "not the same step", "what is done", a, b)


def _outcomes(a: StepRecord, b: StepRecord, boot: set[int], split: Boot) -> Iterator[Found]:
    """Differences in what came of a step, most telling first."""
    if (a.error is None) != (b.error is None):
        yield "whether it was refused", *(record.error or "taken" for record in (a, b))  # type: ignore[misc]
    yield from _requests(a.requests, b.requests)
    if a.settled != b.settled:
        yield "settled", *("settled" if record.settled else "stopped short" for record in (a, b))  # type: ignore[misc]
    yield from _snapshots(a.snapshot, b.snapshot, boot, split)


def _requests(a: Sequence[Request], b: Sequence[Request]) -> Iterator[Found]:
    """Differences in the requests, device by device."""
    for device in dict.fromkeys(request.device for request in (*a, *b)):
        pairs = zip_longest(*([request for request in side if request.device == device] for side in (a, b)))
        for number, (one, other) in enumerate(pairs, start=1):
            if one != other:
                yield f"request {number} of {device}", _request(one), _request(other)


def _request(request: Request | None) -> str:
    """A request, or that there is none."""
    return describe_request(request) if request is not None else "no such request"


def _snapshots(a: Snapshot, b: Snapshot, boot: set[int], split: Boot) -> Iterator[Found]:
    """Differences between two guests at rest; `split` is the boot memory whose own lines are left out."""
    yield from _devices(a.devices, b.devices)
    for one, other in zip_longest(_lines(a.iomem, split), _lines(b.iomem, split), fillvalue="end of the listing"):
        if one != other:
            yield "iomem", one.strip(), other.strip()
    yield from _blocks(a.memory_blocks, b.memory_blocks, boot)
    yield from _zones(a, b)


def _lines(iomem: str, split: Boot) -> list[str]:
    """A listing without what nobody can predict."""
    return [line for line in iomem.splitlines() if not (_OWN_BUSINESS.search(line) or _is_part(line, split))]


def _is_part(line: str, split: Boot) -> bool:
    """Whether a line is nothing but a piece of boot memory."""
    if not split or (match := _MEMORY.fullmatch(line)) is None:
        return False
    first, last = (int(address, 16) for address in match.groups())
    return any(start <= first and last <= end for start, end in split)


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


def _kind(device: DeviceInfo | None) -> str:
    """What kind of device it is."""
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


def _blocks(a: Sequence[MemoryBlock], b: Sequence[MemoryBlock], boot: set[int]) -> Iterator[Found]:
    """Differences in memory blocks that are not boot memory."""
    ones, others = ({block.block: block for block in side if block.block not in boot} for side in (a, b))
    for number in sorted(ones.keys() | others.keys()):
        one, other = _block(ones.get(number)), _block(others.get(number))
        if one != other:
            yield f"memory block {number}", one, other


def _block(block: MemoryBlock | None) -> str:
    """Everything compared of a memory block, in words."""
    if block is None:
        return "not there"
    return f"{block.state}, valid zones {block.valid_zones!r}, nodes {sorted(block.nodes)}"


def _zones(a: Snapshot, b: Snapshot) -> Iterator[Found]:
    """Differences in spanned and present pages; a zone that is not listed is an empty one."""
    ones, others = _zone_pages(a), _zone_pages(b)
    for place in sorted(ones.keys() | others.keys()):
        one, other = ones.get(place, (0, 0)), others.get(place, (0, 0))
        for counter, left, right in zip(("spanned", "present"), one, other, strict=True):
            if left != right:
                yield f"{counter} pages of zone {place[1]} on {place[0]}", str(left), str(right)


def _zone_pages(snapshot: Snapshot) -> dict[tuple[str, str], tuple[int, int]]:
    """Spanned and present pages by node and zone."""
    return {
        (node, zone): (pages.spanned, pages.present)
        for node, zones in snapshot.zones.items()
        for zone, pages in zones.items()
    }
