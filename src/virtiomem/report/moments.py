"""A recording as a row of moments: the guest at rest after boot and after each step, with everything that is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from virtiomem.architecture import Architecture
from virtiomem.kdump.standing import Standing
from virtiomem.live.load import memory_block_size
from virtiomem.recording.palette import BlockKind
from virtiomem.recording.request_runs import RequestRun, request_runs
from virtiomem.recording.values import Recording, Snapshot, StepRecord
from virtiomem.releases.linux import LinuxRelease, release_of
from virtiomem.report.block_runs import BlockRun, block_runs
from virtiomem.report.facts import Crash, crash_facts
from virtiomem.report.plugged import Plugged, plugged_after, plugged_at
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem
from virtiomem.units import Span

_PARTIAL = {BlockKind.MOVABLE_PARTIAL, BlockKind.KERNEL_PARTIAL, BlockKind.OFFLINE_PARTIAL}


class Source(NamedTuple):
    """A recording and what to call it, usually its path."""

    name: str
    recording: Recording


@dataclass(frozen=True)
class Moment:
    """A guest at rest; sizes in bytes."""

    source: str
    """The name of the recording."""
    block_size: int
    """Of a memory block."""
    page_size: int
    release: LinuxRelease
    architecture: Architecture
    record: StepRecord | None
    """The step that led here; None at boot."""
    snapshot: Snapshot
    listing: Sequence[Row]
    requests: Sequence[RequestRun]
    plugged: Plugged
    """Plugged spans of each device, going by the requests."""
    blocks: Sequence[BlockRun]
    """The memory blocks and the places for them."""

    @property
    def size(self) -> int:
        """Plugged memory of all virtio-mem devices."""
        return sum(device.size for device in self.snapshot.virtio_mem)

    @cached_property
    def partly(self) -> dict[int, int]:
        """Plugged size of partly plugged blocks, by number."""
        partial = {run.first + i for run in self.blocks if run.kind in _PARTIAL for i in range(run.times)}
        # Looked up for the partial ones only: a large guest has 100 000 blocks, and few that are partial.
        said = {block.block: block.plugged for block in self.snapshot.memory_blocks if block.block in partial}
        return {number: self._plugged_of(number, said[number]) for number in sorted(partial)}

    def _plugged_of(self, number: int, said: int | UnsetType) -> int:
        """Return the plugged part of a block, from the guest if it reports it, else from the requests."""
        if said is not UNSET:
            return said
        block = Span.of_block(number, self.block_size)
        return sum(spans.covered(block) for spans in self.plugged.values() if spans is not None)

    @cached_property
    def crash(self) -> list[Crash]:
        """Ranges that a crash dump would hold, were its header made now."""
        return crash_facts(iomem.loads(self.snapshot.iomem, source=self.source), self.release, self.architecture)

    @cached_property
    def standing(self) -> Standing | None:
        """Comparison of the crash header in memory with the map; None without a header, or when that is unknown."""
        header = self.snapshot.crash_header
        if header is UNSET:
            return None
        tree = iomem.loads(self.snapshot.iomem, source=self.source)
        return Standing.of(tree, header, self.release, self.architecture)


class Story(NamedTuple):
    """Events of a guest; sizes in bytes."""

    source: Source
    block_size: int
    moments: Sequence[Moment]


def story(source: Source) -> Story:
    """Work out every moment of a recording.

    Raises ListingError when an iomem text cannot be read.
    """
    # One after the other: what is plugged is followed from each moment to the next.
    moments = list(accumulate(source.recording.steps, next_moment, initial=boot_moment(source)))
    return Story(source, moments[0].block_size, moments)


def boot_moment(source: Source) -> Moment:
    """The guest before the first step. Raises ListingError."""
    name, recording = source
    release, plugged = release_of(recording.guest), plugged_at(recording.boot)
    first = recording.boot
    sizes = memory_block_size(recording), recording.page_size
    return _moment(name, *sizes, release, recording.architecture, None, first, [], plugged)


def next_moment(before: Moment, record: StepRecord) -> Moment:
    """The guest after one more step. Raises ListingError."""
    requests = request_runs(record.requests)
    plugged = plugged_after(before.plugged, record, requests)
    return _moment(
        *(before.source, before.block_size, before.page_size, before.release, before.architecture),
        record,
        record.snapshot,
        requests,
        plugged,
    )


def _moment(
    source: str,
    block_size: int,
    page_size: int,
    release: LinuxRelease,
    architecture: Architecture,
    record: StepRecord | None,
    snapshot: Snapshot,
    requests: Sequence[RequestRun],
    plugged: Plugged,
) -> Moment:
    listing = rows(iomem.loads(snapshot.iomem, source=source))
    blocks = block_runs(snapshot, block_size, plugged)
    return Moment(
        source, block_size, page_size, release, architecture, record, snapshot, listing, requests, plugged, blocks
    )
