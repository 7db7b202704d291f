"""A guest at rest, with everything that the views want to know of its snapshot."""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from virtiomem.recording.palette import BlockKind
from virtiomem.recording.values import Snapshot, StepRecord, VirtioMemInfo
from virtiomem.report.blocks import BlockRun, block_runs
from virtiomem.report.requests import Plugged, plugged_after, plugged_at, request_runs
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem
from virtiomem.units import Span

PARTIAL = {BlockKind.MOVABLE_PARTIAL, BlockKind.KERNEL_PARTIAL, BlockKind.OFFLINE_PARTIAL}


@dataclass(frozen=True, slots=True)
class State:
    """A guest at rest; sizes in bytes."""

    snapshot: Snapshot
    rows: list[Row]
    """The listing."""
    runs: list[BlockRun]
    """The memory blocks and the places for them."""
    spans: Plugged
    """What is plugged at each device, as far as the requests tell."""
    partly: dict[int, int]
    """How much is plugged of the blocks that are partly so, by number."""

    @property
    def plugged(self) -> int:
        """What all virtio-mem devices have plugged."""
        return sum(device.size for device in self.snapshot.devices if isinstance(device, VirtioMemInfo))


def state_at(boot: Snapshot, block_size: int) -> State:
    """The guest before the first step."""
    return _state(boot, block_size, plugged_at(boot))


def state_after(before: State, record: StepRecord, block_size: int) -> State:
    """The guest after one more step."""
    spans = plugged_after(before.spans, record, request_runs(record.requests))
    return _state(record.snapshot, block_size, spans)


def _state(snapshot: Snapshot, block_size: int, spans: Plugged) -> State:
    runs = block_runs(snapshot, block_size, spans)
    partial = {run.first + i for run in runs if run.kind in PARTIAL for i in range(run.times)}
    said = {block.block: block.plugged for block in snapshot.memory_blocks if block.block in partial}
    partly = {number: _known(said[number], _covered(number, block_size, spans)) for number in sorted(partial)}
    return State(snapshot, rows(iomem.loads(snapshot.iomem)), runs, spans, partly)


def _known(said: int | UnsetType, covered: int) -> int:
    """What the guest says is plugged of a block, else what the requests tell."""
    return covered if said is UNSET else said


def _covered(number: int, block_size: int, plugged: Plugged) -> int:
    """How much of a block is plugged at any device."""
    span = Span.sized(number * block_size, block_size)
    return sum(spans.covered(span) for spans in plugged.values() if spans is not None)
