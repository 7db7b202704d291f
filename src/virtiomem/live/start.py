"""From a captured Linux to an embedded guest: what a scenario with `[guest] capture = …` starts from."""

from typing import Any, TypeVar

from msgspec import structs

from virtiomem.abi import MemmapOnMemory, OnlinePolicy, OnlineType
from virtiomem.errors import UsageError
from virtiomem.guest.base import DriverConfig, GuestConfig, NodeConfig
from virtiomem.kdump.room import choices_of
from virtiomem.live.capture import Capture
from virtiomem.live.load import snapshot_of
from virtiomem.live.views import POLICY, driver_config_of, elfcorehdr_size_of, memory_of, number_of, osrelease_of
from virtiomem.recording.values import Snapshot
from virtiomem.units import Size, Span, format_size

C = TypeVar("C", GuestConfig, DriverConfig)


def start_from(
    capture: Capture, guest: GuestConfig, driver: DriverConfig
) -> tuple[GuestConfig, DriverConfig, Snapshot]:
    """The configuration that the captured Linux ran with, and its state.

    What the scenario sets to something else than the default wins over the capture: that is the *if* of a what-if.
    Raises UsageError when the capture lacks the map or the memory blocks, or has pages of another size than the embedded guest.
    """
    if capture.page_size != guest.architecture.page_size:
        own, theirs = format_size(guest.architecture.page_size), format_size(capture.page_size)
        raise UsageError(f"{capture.source}: the embedded guest has pages of {own}, not of {theirs}")
    memory, snapshot = memory_of(capture), snapshot_of(capture)
    policy = _policy(capture)
    # A word that the embedded guest does not know leaves its default, as with the policy below.
    if memory.auto_online_blocks in list(OnlineType):
        policy["default_state"] = memory.auto_online_blocks
    nodes = _nodes(snapshot, memory.block_size)
    policy |= choices_of(elfcorehdr_size_of(capture))
    release, block_size = osrelease_of(capture), Size(memory.block_size)
    captured = GuestConfig(kernel=release, memory_block_size=block_size, nodes=nodes, **policy)
    return _unless_set(guest, captured), _unless_set(driver, driver_config_of(capture)), snapshot


def _policy(capture: Capture) -> dict[str, Any]:
    """The memory_hotplug module's parameters."""
    values = capture.section(POLICY).values
    policy: dict[str, Any] = {}
    if values.get("online_policy") in list(OnlinePolicy):
        policy["online_policy"] = values["online_policy"]
    if values.get("auto_movable_ratio", "").isdecimal():
        policy["auto_movable_ratio"] = number_of(values["auto_movable_ratio"], 10, capture)
    if "auto_movable_numa_aware" in values:
        policy["auto_movable_numa_aware"] = values["auto_movable_numa_aware"] == "Y"
    if values.get("memmap_on_memory") in list(MemmapOnMemory):
        policy["memmap_on_memory"] = values["memmap_on_memory"]
    return policy


def _nodes(snapshot: Snapshot, block_size: int) -> list[NodeConfig]:
    """Boot memory of each node, when there is more than one: its blocks that belong to no virtio-mem device."""
    regions = [device.region for device in snapshot.virtio_mem]
    found: dict[int, list[str]] = {}
    for block in snapshot.memory_blocks:
        span = Span.of_block(block.block, block_size)
        if block.nodes and not any(region.contains(span) for region in regions):
            found.setdefault(block.nodes[0], []).append(str(span))
    return [NodeConfig(id=nid, memory=spans) for nid, spans in sorted(found.items())] if len(found) > 1 else []


def _unless_set(config: C, captured: C) -> C:
    """Return the captured settings, overridden by those that the configuration sets to other than the default."""
    default = type(config)()
    # A value that the scenario sets to the default looks as if it were not set: the capture's then holds.
    own = {name: getattr(config, name) for name in config.__struct_fields__}
    return structs.replace(captured, **{name: value for name, value in own.items() if value != getattr(default, name)})
