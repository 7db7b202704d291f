"""The guest at rest, as a recording shows it."""

from msgspec import UNSET

from virtiomem.driver import VirtioMem
from virtiomem.driver.sbm import SubBlockMode
from virtiomem.guest.embedded.kernel import Kernel, recorded
from virtiomem.memory import MemoryBlock
from virtiomem.recording import values
from virtiomem.resource import iomem


def take(kernel: Kernel, devices: list[values.DeviceInfo]) -> values.Snapshot:
    """The kernel's listing, blocks and zones, and the machine's devices."""
    memory = kernel.memory
    return values.Snapshot(
        iomem=iomem.dumps(memory.iomem),
        # Worked out once at boot: these blocks never change, and there may be thousands for each snapshot.
        memory_blocks=[
            kernel.boot_blocks.get(id_) or _block(kernel, memory.blocks[id_]) for id_ in sorted(memory.blocks)
        ],
        zones={
            f"node{node.nid}": {
                str(zone.type): values.ZonePages(spanned=zone.spanned, present=zone.present, managed=zone.managed)
                for zone in node
            }
            for node in memory.nodes.values()
        },
        devices=devices,
        crash_header=UNSET if kernel.crash_header is None else kernel.crash_header.recorded(),
    )


def _block(kernel: Kernel, block: MemoryBlock) -> values.MemoryBlock:
    owner = _owner(kernel, block)
    if owner is None or not isinstance(owner.mode, SubBlockMode) or block.id not in owner.mode.states:
        return recorded(kernel.memory, block)
    return recorded(kernel.memory, block, owner.mode.plugged_in(block.id))


def _owner(kernel: Kernel, block: MemoryBlock) -> VirtioMem | None:
    """The virtio-mem device that the block belongs to."""
    size = kernel.memory.block_size
    return next((device for device in kernel.devices if device.contains(block.id * size, size)), None)
