"""Count the resources, with and without merging; and sum the ranges that a crash dump would hold."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.driver.parameters import DEFAULTS, Parameters
from virtiomem.driver.sizes import choose_units
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import kernel_ranges, kexec_tools_ranges, total
from virtiomem.kdump.standing import Standing
from virtiomem.recording.palette import ResourceKind
from virtiomem.recording.values import Snapshot, VirtioMemInfo
from virtiomem.releases.linux import DEFAULT, LinuxRelease
from virtiomem.report.kinds import resource_kind
from virtiomem.report.rows import Row
from virtiomem.resource.names import is_system_ram
from virtiomem.resource.node import Resource


class Facts(NamedTuple):
    """Numbers of resources in one listing."""

    resources: int
    """Lines of the listing."""
    ram: int
    """Of them, System RAM of any origin."""
    merged: int
    """System RAM resources, were virtio-mem's merged (MHP_MERGE_RESOURCE)."""
    unmerged: int
    """System RAM resources, were every unit that the driver added a resource of its own."""


class Crash(NamedTuple):
    """Ranges that one loader of crash kernels would dump; sizes in bytes."""

    loader: str
    ranges: int
    """Ranges of RAM: a PT_LOAD segment of the ELF core header each."""
    size: int
    entries: int
    """What counts towards `limit`."""
    limit: int | None
    lost: int
    """RAM that is not dumped: the table was full, or kexec-tools does not take it for RAM."""
    refused: bool

    def unmerged(self, listing: Facts, architecture: Architecture) -> int:
        """The ranges, were every unit that the driver added a resource of its own; on some architectures no more than so."""
        joined = architecture.dumps_memblock if self.loader == Loader.KERNEL.value else architecture.exact_system_ram
        return self.ranges if joined else self.ranges + listing.unmerged - listing.ram


class CrashHeaderFacts(NamedTuple):
    """Contents of the crash header in memory; sizes in bytes."""

    syscall: str
    kept: bool
    """The kernel makes it again when a memory block is online or offline."""
    ranges: int
    size: int
    missing: int
    """RAM that it lacks: a crash loses it."""
    gone: int
    """What it has and is RAM no more, which does no harm."""


def header_facts(standing: Standing) -> CrashHeaderFacts:
    """The header in memory in numbers; one that is known."""
    assert standing.loader is not None, "it is known who made it"
    assert standing.now is not None, "it is known what it holds"
    left = [total(one or []) for one in (standing.now, standing.missing, standing.gone)]
    return CrashHeaderFacts(standing.loader.syscall, bool(standing.kept_up_to_date), len(standing.now), *left)


def crash_facts(
    tree: Resource, release: LinuxRelease = DEFAULT, architecture: Architecture = DEFAULT_ARCHITECTURE
) -> list[Crash]:
    """Return the contents of the core header, made by the kernel (kexec_file_load) and by kexec-tools (kexec_load)."""
    return [
        Crash(
            found.loader.value,
            len(found.ranges),
            found.size,
            found.entries,
            found.limit,
            total([*found.lost, *found.unread]),
            found.refused,
        )
        for found in (
            kernel_ranges(tree, release, architecture=architecture),
            kexec_tools_ranges(tree, architecture=architecture),
        )
    ]


def facts(
    listing: Sequence[Row],
    snapshot: Snapshot,
    block_size: int,
    driver: Parameters = DEFAULTS,
    architecture: Architecture = DEFAULT_ARCHITECTURE,
) -> Facts:
    """Count a listing; `block_size` is a memory block's, in bytes."""
    ram = sum(row.times for row in listing if is_system_ram(row.name))
    ours = [row for row in listing if resource_kind(row.name) is ResourceKind.VIRTIO_MEM]
    others = ram - sum(row.times for row in ours)
    units = {
        device: choose_units(device.block_size, block_size, driver, architecture).added
        for device in snapshot.virtio_mem
    }
    return Facts(
        resources=sum(row.times for row in listing),
        ram=ram,
        merged=others + _runs(listing),
        unmerged=others + sum(-(-(row.stop - row.start) // _unit(row, units, block_size)) for row in ours),
    )


def _runs(listing: Iterable[Row]) -> int:
    """Count the stretches of adjacent virtio-mem resources; resources of different devices never merge."""
    runs, stop = 0, -1
    for row in listing:
        if resource_kind(row.name) is not ResourceKind.VIRTIO_MEM:
            stop = -1
            continue
        # Resources of two devices never touch in the listing: a device's own line stands between them.
        runs += row.start != stop
        stop = row.stop
    return runs


def _unit(row: Row, units: dict[VirtioMemInfo, int], default: int) -> int:
    """Return the unit in which a resource's device adds memory."""
    for device, unit in units.items():
        if device.memaddr <= row.start < device.memaddr + device.max_size:
            return unit
    return default
