"""A guest at rest, with everything that the views want to know of its snapshot."""

from dataclasses import dataclass

from msgspec import UNSET

from virtiomem.recording.palette import BlockKind
from virtiomem.recording.values import Snapshot, VirtioMemInfo
from virtiomem.report.blocks import BlockRun, block_runs
from virtiomem.report.requests import Plugged
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
    partly: dict[int, int]
    """How much is plugged of the blocks that are partly so, by number."""

    @property
    def plugged(self) -> int:
        """What all virtio-mem devices have plugged."""
        return sum(device.size for device in self.snapshot.devices if isinstance(device, VirtioMemInfo))


def state_of(snapshot: Snapshot, block_size: int, plugged: Plugged) -> State:
    """What there is to know of a snapshot; `plugged` is what is plugged at each device, as far as it is known."""
    runs = block_runs(snapshot, block_size, plugged)
    partial = {run.first + i for run in runs if run.kind in PARTIAL for i in range(run.times)}
    said = {block.block: block.plugged for block in snapshot.memory_blocks if block.plugged is not UNSET}
    partly = {number: said.get(number, _covered(number, block_size, plugged)) for number in partial}
    return State(snapshot, rows(iomem.loads(snapshot.iomem)), runs, partly)


def _covered(number: int, block_size: int, plugged: Plugged) -> int:
    """How much of a block is plugged at any device."""
    span = Span.sized(number * block_size, block_size)
    return sum(spans.covered(span) for spans in plugged.values() if spans is not None)
