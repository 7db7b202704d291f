"""virtio-mem's part of a machine's memory blocks, as text and as JSON's values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from virtiomem.columns import Column, flowing
from virtiomem.columns import table as columns_table
from virtiomem.live.captured_devices import CapturedDevice, blocks_in
from virtiomem.live.lsmem import Ownership, zone_names
from virtiomem.live.shrink import Loss, ShrinkPlan
from virtiomem.live.sysfs import MemorySysfs
from virtiomem.units import format_size

_REFUSAL = "may refuse: not in zone Movable"
_ASSUMED = "assumed: only the highest block is partly plugged, as after plain growth (virtiomem capture --pages knows)"


def _size(size: int | None, *, in_bytes: bool) -> str:
    """A size that may be unknown."""
    if size is None:
        return "?"
    return str(size) if in_bytes else format_size(size)


def number_ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as lsmem writes them: ``1-3,7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)


def devices_text(
    devices: Sequence[CapturedDevice],
    memory: MemorySysfs,
    *,
    in_bytes: bool = False,
    headings: bool = True,
    width: int | None = None,
) -> str:
    """A line for each device; what nothing tells is a question mark."""
    size = partial(_size, in_bytes=in_bytes)
    columns: list[Column[CapturedDevice]] = [
        Column("device", lambda one: one.name),
        Column("range", lambda one: str(one.region or "?")),
        Column("node", lambda one: "?" if one.node is None else str(one.node), right=True, rank=3),
        Column("max", lambda one: size(one.region.size if one.region else None), right=True, rank=2),
        Column("block-size", lambda one: size(one.block_size), right=True, rank=1),
        Column("requested", lambda one: size(one.requested_size), right=True),
        Column("plugged", lambda one: size(one.size), right=True),
        Column("added", lambda one: size(one.added), right=True, rank=4),
        Column("blocks", lambda one: number_ranges(blocks_in(one.region, memory)) if one.region else "?", words=True),
    ]
    return columns_table(devices, columns, headings=headings, width=width) if devices else "no virtio-mem devices\n"


def device_values(device: CapturedDevice, memory: MemorySysfs, owners: Mapping[int, Ownership]) -> dict[str, Any]:
    """A device as JSON's values, keys as in QMP."""
    numbers = set(blocks_in(device.region, memory)) if device.region else set()
    return {
        "name": device.name,
        "memaddr": device.region.start if device.region else None,
        "max-size": device.region.size if device.region else None,
        "block-size": device.block_size,
        "requested-size": device.requested_size,
        "size": device.size,
        "node": device.node,
        "added": device.added,
        "memory-blocks": [
            {
                "block": block.block,
                "state": block.state,
                "valid-zones": block.valid_zones,
                "plugged": owners[block.block].plugged,
            }
            for block in memory.blocks
            if block.block in numbers
        ],
    }


def plan_text(
    plan: ShrinkPlan, block_size: int, *, in_bytes: bool = False, headings: bool = True, width: int | None = None
) -> str:
    """A line for each block that would lose something, in the driver's order, and what it comes to."""
    size = partial(_size, in_bytes=in_bytes)
    columns: list[Column[Loss]] = [
        Column("block", lambda loss: str(loss.block.block), right=True),
        Column("range", lambda loss: _block_range(loss.block.block, block_size), rank=1),
        Column("state", lambda loss: loss.block.state),
        Column("zones", lambda loss: "/".join(zone_names(loss.block)), rank=2),
        Column("plugged", lambda loss: size(loss.plugged), right=True),
        Column("taken", lambda loss: size(loss.taken), right=True),
        Column("then", _then, words=True),
    ]
    table = columns_table(plan.losses, columns, headings=headings, width=width) if plan.losses else ""
    said = [line for words in _plan_summary(plan, in_bytes=in_bytes) for line in flowing("", words, width)]
    return table + ("\n".join(["", *said, ""]) if headings else "")


def _block_range(number: int, block_size: int) -> str:
    return f"0x{number * block_size:016x}-0x{(number + 1) * block_size - 1:016x}"


def _then(loss: Loss) -> str:
    """Say what becomes of a block."""
    removed = "removed" if loss.block.is_offline else "offline, removed"
    what = removed if loss.removed else "stays, smaller"
    return what if loss.movable else f"{what} ({_REFUSAL})"


def _plan_summary(plan: ShrinkPlan, *, in_bytes: bool) -> Iterator[str]:
    # A block that is offline already is removed without going offline: it counts among the removed only.
    offline = sum(loss.goes_offline for loss in plan.losses)
    removed = sum(loss.removed for loss in plan.losses)
    stay, size = len(plan.losses) - removed, _size(plan.wanted - plan.short, in_bytes=in_bytes)
    blocks = "block goes" if offline == 1 else "blocks go"
    stays, are = ("stays" if stay == 1 else "stay"), ("is" if removed == 1 else "are")
    yield f"{plan.device} shrinks by {size}: {offline} {blocks} offline, {removed} {are} removed, {stay} {stays} with less"
    if plan.short:
        short, unit = (_size(size, in_bytes=in_bytes) for size in (plan.short, plan.unit))
        yield f"{short} short: the driver takes {unit} at a time, and there is no more"
    if plan.assumed:
        yield _ASSUMED


def plan_values(plan: ShrinkPlan) -> dict[str, Any]:
    """A plan as JSON's values."""
    return {
        "device": plan.device,
        "wanted": plan.wanted,
        "unit": plan.unit,
        "short": plan.short,
        "assumed": plan.assumed,
        "memory-blocks": [
            {
                "block": loss.block.block,
                "state": loss.block.state,
                "valid-zones": loss.block.valid_zones,
                "plugged": loss.plugged,
                "taken": loss.taken,
                "removed": loss.removed,
                "movable": loss.movable,
            }
            for loss in plan.losses
        ],
    }
