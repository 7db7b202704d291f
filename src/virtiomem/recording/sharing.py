"""One object for what is the same in many snapshots: a recording of a large guest holds each memory block once, not
once a step.
"""

from msgspec.structs import replace

from virtiomem.recording.values import Snapshot


def share(before: Snapshot, now: Snapshot) -> Snapshot:
    """`now`, in which what is as it was `before` is that object: the map, all memory blocks together, or each of them."""
    was = {block.block: block for block in before.memory_blocks}
    blocks = [old if (old := was.get(block.block)) == block else block for block in now.memory_blocks]
    return replace(
        now,
        iomem=before.iomem if now.iomem == before.iomem else now.iomem,
        memory_blocks=before.memory_blocks if blocks == before.memory_blocks else blocks,
    )
