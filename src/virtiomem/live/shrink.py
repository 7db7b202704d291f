"""Predict the memory blocks that the driver takes to shrink a device: which go offline, which only lose a part.

This is the driver's order on memory as it lies there, if every page lets itself be moved. Pages that do not make the
driver go on with the next sub-block and try again later; only a kernel zone should hold such pages.

The order itself is `driver.order`'s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.driver.order import big_block_rank, state_of, unplug_rank
from virtiomem.driver.sizes import choose_units
from virtiomem.errors import UsageError
from virtiomem.guest.base import DriverConfig
from virtiomem.live.captured_devices import CapturedDevice
from virtiomem.live.lsmem import Ownership
from virtiomem.live.sysfs import MemorySysfs
from virtiomem.recording.values import MemoryBlock
from virtiomem.units import align_down, format_size


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss of one memory block; `plugged` is what it has now, in bytes. A block that loses all of it is removed."""

    block: MemoryBlock
    plugged: int
    taken: int

    @property
    def removed(self) -> bool:
        """True when the block goes offline, if it is not yet, and away."""
        return self.taken == self.plugged

    @property
    def goes_offline(self) -> bool:
        """True when the block is online now, and is removed."""
        return self.removed and not self.block.is_offline

    @property
    def movable(self) -> bool:
        """True when nothing in the block can keep it: it is offline, or in zone Movable."""
        return self.block.is_offline or self.block.is_movable


@dataclass(frozen=True, slots=True)
class ShrinkPlan:
    """The blocks that a shrink by `wanted` bytes takes from, in the driver's order; `short` is what it cannot get.

    `unit`: the driver takes multiples of it. `assumed`: true when some block's plugged bytes are not known.
    """

    device: str
    wanted: int
    unit: int
    losses: list[Loss]
    short: int
    assumed: bool


def plan_shrink(
    device: CapturedDevice,
    memory: MemorySysfs,
    owners: Mapping[int, Ownership],
    wanted: int,
    driver: DriverConfig | None = None,
    architecture: Architecture = DEFAULT,
) -> ShrinkPlan:
    """Plan a shrink of a device by `wanted` bytes; `driver` is how the driver was loaded, None for as usual.

    Raises UsageError unless `wanted` is a positive multiple of the device's block size.
    """
    block_size = device.block_size or architecture.transparent_huge_page
    if wanted <= 0 or wanted % block_size:
        raise UsageError(
            f"{device.name} shrinks by multiples of its block size {format_size(block_size)}, not by {format_size(wanted)}"
        )
    driver = driver or DriverConfig()
    units = choose_units(block_size, memory.block_size, driver.parameters, architecture)
    unit = units.plugged
    mine = [block for block in memory.blocks if (owner := owners.get(block.block)) and owner.device == device.name]
    sizes = {block.block: owners[block.block].plugged for block in mine}
    plugged = _as_after_growth(sizes, device, memory.block_size, unit)
    # The driver rounds down: of a rest smaller than its unit nothing is taken.
    left = wanted // unit * unit
    losses: list[Loss] = []
    for group in _big_blocks(mine, unit // memory.block_size) if units.big else _sub_block_order(mine, plugged, memory):
        if left < unit:
            break
        # As virtio_mem's unplug_online=N: only what is offline already is given up.
        if not driver.unplug_online and not all(block.is_offline for block in group):
            continue
        for block in group:
            # A big block spans several memory blocks, and each of them loses a whole block at most.
            taken = align_down(min(left, plugged[block.block]), min(unit, memory.block_size))
            if taken:
                losses.append(Loss(block, plugged[block.block], taken))
                left -= taken
    return ShrinkPlan(
        device.name, wanted, unit, losses, wanted - sum(one.taken for one in losses), None in sizes.values()
    )


def _as_after_growth(
    sizes: Mapping[int, int | None], device: CapturedDevice, block_size: int, unit: int
) -> dict[int, int]:
    """Bytes plugged in every block; where they are unknown, what growing leaves: the highest block lacks the rest."""
    plugged = {number: block_size if size is None else size for number, size in sizes.items()}
    missing = 0 if device.size is None else sum(plugged.values()) - device.size
    for number in sorted((number for number, size in sizes.items() if size is None), reverse=True):
        less = max(min(missing, block_size - unit), 0)
        plugged[number] -= less
        missing -= less
    return plugged


def _sub_block_order(
    blocks: list[MemoryBlock], plugged: Mapping[int, int], memory: MemorySysfs
) -> Iterator[list[MemoryBlock]]:
    """One memory block after another, in the order of `driver.order`, highest first."""

    def rank(block: MemoryBlock) -> int:
        partial = plugged[block.block] < memory.block_size
        return unplug_rank(state_of(offline=block.is_offline, movable=block.is_movable, partial=partial))

    for block in sorted(blocks, key=lambda block: (rank(block), -block.block)):
        yield [block]


def _big_blocks(blocks: list[MemoryBlock], per_unit: int) -> Iterator[list[MemoryBlock]]:
    """One big block after another, in the order of `driver.order`, highest first."""
    units: dict[int, list[MemoryBlock]] = {}
    for block in blocks:
        units.setdefault(block.block // per_unit, []).append(block)

    def rank(number: int) -> int:
        unit = units[number]
        offline = all(block.is_offline for block in unit)
        return big_block_rank(offline=offline, movable=all(block.is_offline or block.is_movable for block in unit))

    for number in sorted(units, key=lambda number: (rank(number), -number)):
        yield units[number]
