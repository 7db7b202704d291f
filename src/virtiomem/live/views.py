"""A capture's sections as values: memory blocks, zones, what a crash header needs.

Raises UsageError, which names the source and the line, for a section that does not read as it should: a capture may have
been edited, or written by another program.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from msgspec.structs import replace

from virtiomem.architecture import Architecture, named
from virtiomem.driver.parameters import Parameters
from virtiomem.errors import BackendError, UsageError
from virtiomem.guest.base import DriverConfig
from virtiomem.live.block_lines import MAX_BLOCKS, read_blocks
from virtiomem.live.capture import MEMORY, Capture
from virtiomem.live.sources import MEMORY_FILES
from virtiomem.live.sysfs import MemorySysfs, parse_block_size
from virtiomem.recording import zoneinfo
from virtiomem.recording.values import MemoryBlock, ZonePages
from virtiomem.units import U64_MAX

_CPUS = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
PARAMETERS = "sys/module/virtio_mem/parameters"
"""The heading of the driver's module parameters."""
POLICY = "sys/module/memory_hotplug/parameters"
"""The heading of which zone new memory gets."""
POLICY_FILES = ("online_policy", "auto_movable_ratio", "auto_movable_numa_aware")
"""What of it the embedded guest has, too."""
PLUGGED = "virtio-mem/plugged"
"""The heading of what is plugged in each memory block: lines of `BLOCK BYTES`, which recordings give."""


def memory_of(capture: Capture) -> MemorySysfs:
    """The memory blocks."""
    section = capture.section(MEMORY)
    files = {name: value for name, value in section.values.items() if name in MEMORY_FILES}
    if "block_size_bytes" not in files:
        raise UsageError(f"{capture.source}: no memory blocks in it ({section.remark or 'no block_size_bytes'})")
    blocks: list[MemoryBlock] = []
    for line in section.lines:
        if line.partition(" ")[0] not in MEMORY_FILES:
            blocks += read_blocks(line, capture.source, room=MAX_BLOCKS - len(blocks))
    # A person may have written the lines in any order; sorted, blocks of one number stand next to each other.
    blocks.sort(key=lambda block: block.block)
    blocks = list(_with_plugged(blocks, capture))
    for before, after in pairwise(blocks):
        if before.block == after.block:
            raise UsageError(f"{capture.source}: memory block {after.block} is there twice")
    try:
        block_size = parse_block_size(files["block_size_bytes"], capture.source)
    # Of a running machine it is the machine that is wrong; of a capture, the input.
    except BackendError as error:
        raise UsageError(str(error)) from None
    return MemorySysfs(block_size, blocks, files.get("auto_online_blocks"), files.get("crash_hotplug"))


def _with_plugged(blocks: list[MemoryBlock], capture: Capture) -> Iterator[MemoryBlock]:
    """The blocks, with the bytes plugged in each where the capture tells them."""
    told: dict[int, int] = {}
    for line in capture.section(PLUGGED).lines:
        number, _, size = line.partition(" ")
        told[number_of(number, 10, capture)] = number_of(size, 10, capture)
    for block in blocks:
        yield replace(block, plugged=told[block.block]) if block.block in told else block


def zones_of(capture: Capture) -> dict[str, dict[str, ZonePages]]:
    """Spanned, present and managed pages of every zone, by ``nodeN``; empty when zones were not collected."""
    zones = zoneinfo.parse(capture.section("proc/zoneinfo").lines)
    return zoneinfo.by_node(zones, lambda digits: number_of(digits, 10, capture))


@dataclass(frozen=True, slots=True)
class CrashState:
    """Inputs of the crash header that a running kernel shows; notes are pairs of physical address and size."""

    notes: list[tuple[int, int]]
    vmcoreinfo: tuple[int, int] | None
    possible_cpus: int
    present_cpus: int


def crash_state_of(capture: Capture) -> CrashState:
    """Return the addresses of the notes, and the numbers of present and possible CPUs; 0 if not captured."""
    cpu, kernel = capture.section("sys/devices/system/cpu").values, capture.section("sys/kernel").values
    notes = [
        (number_of(value, 16, capture), number_of(cpu[f"{name}_size"], 10, capture))
        for name, value in cpu.items()
        if name.endswith("/crash_notes") and f"{name}_size" in cpu
    ]
    addr, _, size = kernel.get("vmcoreinfo", "").partition(" ")
    return CrashState(
        notes=notes,
        vmcoreinfo=(number_of(addr, 16, capture), number_of(size, 16, capture)) if size else None,
        possible_cpus=_cpus(cpu.get("possible", "")),
        present_cpus=_cpus(cpu.get("present", "")),
    )


def architecture_of(capture: Capture) -> Architecture | None:
    """The architecture, by what Linux calls it and by its page size; None where the capture does not say, or it has no row."""
    said = capture.section("proc/sys/kernel").values.get("arch", "")
    return named(said, capture.said_page_size)


def osrelease_of(capture: Capture) -> str | None:
    """The kernel's release, such as 6.12.117+deb12-cloud-amd64; None where the capture does not say."""
    return capture.section("proc/sys/kernel").values.get("osrelease")


def elfcorehdr_size_of(capture: Capture) -> int | None:
    """Return the value of crash_elfcorehdr_size, in bytes; None where the kernel has no such file, or it was not read."""
    said = capture.section("sys/kernel").values.get("crash_elfcorehdr_size")
    return None if said is None else number_of(said, 10, capture)


def driver_config_of(capture: Capture) -> DriverConfig:
    """Return how the driver was loaded; parameters that the capture lacks have the driver's default."""
    values = capture.section(PARAMETERS).values
    size = number_of(values.get("bbm_block_size") or "0", 10, capture)
    return DriverConfig.of(Parameters.from_sysfs({**values, "bbm_block_size": str(size)}))


def number_of(text: str, base: int, capture: Capture) -> int:
    """A number of a capture's; UsageError for text that is not a number, or has thousands of digits."""
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if not 0 <= value <= U64_MAX:
        raise UsageError(f"{capture.source}: {text[:40]!r} is not an address or a size")
    return value


def _cpus(ranges: str) -> int:
    """Count the CPUs in a list like ``0-3,8``."""
    if not _CPUS.fullmatch(ranges):
        return 0
    ends = (part.partition("-") for part in ranges.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)
