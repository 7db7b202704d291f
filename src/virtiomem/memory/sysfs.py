"""What /sys/devices/system/memory says about the core's blocks; its words are in `virtiomem.abi`.

Models: drivers/base/memory.c (v6.1).
"""

from virtiomem.abi import BlockState, OnlineType
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.memory.policy import zone_for_block


def valid_zones(memory: Memory, block: MemoryBlock) -> str:
    """The `valid_zones` file: an online block's zone, or where an offline one could go, plain `online` first."""
    if block.state is not BlockState.OFFLINE:
        return str(block.zone.type) if block.zone is not None else "none"
    default = zone_for_block(memory, block, OnlineType.ONLINE)
    others = [zone_for_block(memory, block, how) for how in (OnlineType.ONLINE_KERNEL, OnlineType.ONLINE_MOVABLE)]
    return " ".join(str(zone.type) for zone in (default, *(zone for zone in others if zone is not default)))


def nodes_of(memory: Memory, block: MemoryBlock) -> list[int]:
    """The nodes that a block is linked to: its own, or for boot memory every node with memory in it."""
    if not block.boot:
        return [block.nid]
    span = memory.span_of(block.id)
    owners = [node.nid for node in memory.nodes.values() if any(part.overlaps(span) for part in node.ram)]
    return sorted(owners) or [block.nid]
