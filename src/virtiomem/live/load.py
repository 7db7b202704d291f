"""Turn a recording into a capture and a capture into a snapshot; `live.reading` reads either from a file."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from virtiomem.architecture import DEFAULT, find
from virtiomem.errors import ListingError
from virtiomem.guest.base import DriverConfig
from virtiomem.live.block_lines import block_lines
from virtiomem.live.capture import FORMAT, MEMORY, Capture, Section
from virtiomem.live.captured_devices import CONFIG, devices_of, ownership
from virtiomem.live.crash_header import CRASH_HEADER, header_at_end, header_lines, standing_of
from virtiomem.live.views import PARAMETERS, PLUGGED, POLICY, POLICY_FILES, memory_of, osrelease_of, zones_of
from virtiomem.recording import json_file, zoneinfo
from virtiomem.recording.values import CrashHeader, DeviceInfo, Recording, Snapshot, VirtioMemInfo
from virtiomem.releases.linux import release_of
from virtiomem.resource import iomem
from virtiomem.resource.names import is_virtio_device
from virtiomem.units import Size, Span

_WORD = re.compile(r"[\w.+~-]{1,100}")
DEFAULT_MEMORY_BLOCK = DEFAULT.section_size
"""x86-64's memory block below 64 GiB of boot memory."""


def from_recording(recording: Recording, *, source: str = "recording") -> Capture:
    """The end of a recording as a capture: with the kernel's release and its build's choices, where it says them, and with
    the driver's parameters and the policy where the scenario travels along.
    """
    snapshot = recording.steps[-1].snapshot if recording.steps else recording.boot
    capture = from_snapshot(snapshot, memory_block_size(recording), driver_config(recording), source=source)
    more = {heading: [*lines] for heading, lines in _told_of_kernel(recording) if lines}
    # Joined: a capture has every heading once.
    sections = {
        heading: Section.of([*more.pop(heading, []), *section.lines]) for heading, section in capture.sections.items()
    } | {heading: Section.of(lines) for heading, lines in more.items()}
    return capture._replace(sections=sections, said_page_size=recording.page_size)


def _told_of_kernel(recording: Recording) -> Iterator[tuple[str, list[str]]]:
    """By the heading under which a running machine tells it: what a recording says about kernel, build, policy, crash
    header.
    """
    guest, policy = recording.guest, recording.table("guest")
    end, loaded = header_at_end(recording)
    kept = None if end is UNSET else int(end.kept_up_to_date)
    row = find(guest["architecture"], recording.page_size) if "architecture" in guest else None
    yield "proc/sys/kernel", _values(arch=row and row.kernel_name, osrelease=guest.get("kernel"))
    yield MEMORY, _values(auto_online_blocks=guest.get("default-state"), crash_hotplug=kept)
    yield (
        "sys/kernel",
        _values(crash_elfcorehdr_size=guest.get("crash-elfcorehdr-size"), kexec_crash_loaded=loaded),
    )
    yield POLICY, _values(**{name: _parameter(policy.get(name.replace("_", "-"))) for name in POLICY_FILES})
    yield CRASH_HEADER, list(header_lines(recording))


def _values(**values: object) -> list[str]:
    """Lines of `name value`, of what is a word or a number: what travels along was never checked."""
    return [
        f"{name} {value}"
        for name, value in values.items()
        if isinstance(value, int) or (isinstance(value, str) and _WORD.fullmatch(value))
    ]


def _parameter(value: object) -> object:
    """A module parameter as the kernel prints it."""
    return {True: "Y", False: "N"}[value] if isinstance(value, bool) else value


def driver_config(recording: Recording) -> DriverConfig:
    """Return how the scenario loads the driver; the defaults where that cannot be read."""
    try:
        return msgspec.convert(recording.table("driver"), DriverConfig, dec_hook=json_file.decode_size)
    except msgspec.ValidationError:
        # The scenario travels along unchecked; the rest of the recording is worth reading without it.
        return DriverConfig()


def memory_block_size(recording: Recording) -> int:
    """Bytes of a memory block: what the scenario says, else what fits the blocks to the boot listing."""
    numbers = {block.block for block in recording.boot.memory_blocks}
    return (
        # What the scenario says comes first: several sizes may fit the boot listing.
        _size(recording.table("guest").get("memory-block-size"))
        or _fitting(numbers, _boot_ram(recording))
        or recording.architecture.section_size
    )


def _boot_ram(recording: Recording) -> list[Span]:
    """The RAM of the boot listing; none where that cannot be read."""
    try:
        tree = iomem.loads(recording.boot.iomem)
    except ListingError:
        return []
    # By its beginning: a driver's name may stand behind System RAM.
    names = tuple(recording.architecture.boot_names)
    return [Span(node.start, node.end + 1) for _, node in tree.walk() if node.name.startswith(names)]


def _fitting(numbers: set[int], ram: Sequence[Span]) -> int | None:
    """The power of two that makes this RAM occupy exactly the memory blocks with these numbers."""
    for shift in range(24, 36) if ram else ():  # 16M to 32G: wider than x86-64's 128M to 2G and what arm64 has
        size = 1 << shift
        occupied: set[int] = set()
        for span in ram:
            first, stop = span.start // size, -(-span.stop // size)
            # A range of a listing may span the address space: it is measured before it is spelt out.
            if stop - first > len(numbers):
                break
            occupied.update(range(first, stop))
            if not occupied <= numbers:
                break
        else:
            if occupied == numbers:
                return size
    return None


def _size(value: Any) -> int:
    """An unchecked size in a scenario that travels along; 0 when it is not a size."""
    try:
        return int(Size.parse(value))
    except ValueError:
        return 0


def from_snapshot(
    snapshot: Snapshot,
    memory_block_size: int = DEFAULT_MEMORY_BLOCK,
    driver: DriverConfig | None = None,
    *,
    source: str = "recording",
) -> Capture:
    """A recorded guest as a capture; `driver` is how the driver was loaded, None for as usual.

    A snapshot says neither the size of a memory block nor how the driver was loaded.
    """
    parameters = (driver or DriverConfig()).parameters.to_sysfs()
    sections = {
        "proc/iomem": Section(snapshot.iomem if snapshot.iomem.endswith("\n") else f"{snapshot.iomem}\n"),
        MEMORY: Section.of([f"block_size_bytes {memory_block_size:x}", *block_lines(snapshot.memory_blocks)]),
        "proc/zoneinfo": Section.of(zoneinfo.dumps(snapshot.zones)),
        PARAMETERS: Section.of(f"{name} {value}" for name, value in sorted(parameters.items())),
        CONFIG: Section.of(_config_lines(snapshot)),
        PLUGGED: Section.of(
            f"{block.block} {block.plugged}" for block in snapshot.memory_blocks if isinstance(block.plugged, int)
        ),
    }
    return Capture(sections, by=FORMAT, source=source)


def _config_lines(snapshot: Snapshot) -> Iterator[str]:
    """What QEMU says about each virtio-mem device, under the name that the guest's map has at its address."""
    try:
        names = {node.start: node.name for _, node in iomem.loads(snapshot.iomem).walk() if is_virtio_device(node.name)}
    except ListingError:
        names = {}
    for device in snapshot.virtio_mem:
        yield (
            f"{names.get(device.memaddr, device.id)} memaddr={device.memaddr:#x} max-size={device.max_size}"
            f" block-size={device.block_size} requested-size={device.requested_size} size={device.size}"
            f" node={device.node}"
        )


def snapshot_of(capture: Capture) -> Snapshot:
    """A captured Linux as a recording has it, so that a scenario can start from it.

    A virtio-mem device is called by the guest's name for it. A value of a device that no file reports is taken for what a quiet
    device has: all that was added is plugged, and that is what was requested; the block size is QEMU's. Raises UsageError
    when the capture has no map or no memory blocks.
    """
    memory = memory_of(capture)
    devices = devices_of(capture, memory)
    owners = ownership(capture, memory, devices)
    infos: list[DeviceInfo] = []
    for device in devices:
        # A guest cannot be built with a device that has no place.
        if device.region is None:
            continue
        size = device.added if device.size is None else device.size
        infos.append(
            VirtioMemInfo(
                id=device.name,
                memaddr=device.region.start,
                max_size=device.region.size,
                requested_size=size if device.requested_size is None else device.requested_size,
                size=size,
                block_size=device.block_size or DEFAULT.transparent_huge_page,
                node=device.node or 0,
            )
        )
    plugged = {number: owner.plugged for number, owner in owners.items() if owner.plugged is not None}
    return Snapshot(
        iomem=capture.iomem,
        memory_blocks=[replace(block, plugged=plugged.get(block.block, UNSET)) for block in memory.blocks],
        zones=zones_of(capture),
        devices=infos,
        crash_header=_header_of(capture),
    )


def _header_of(capture: Capture) -> CrashHeader | UnsetType:
    """The crash header, where a capture tells what it holds now."""
    standing = standing_of(capture, iomem.loads(capture.iomem), release_of({"kernel": osrelease_of(capture)}))
    if standing.now is None or standing.loader is None:
        return UNSET
    return CrashHeader(
        syscall=standing.loader.syscall, kept_up_to_date=bool(standing.kept_up_to_date), ranges=standing.now
    )
