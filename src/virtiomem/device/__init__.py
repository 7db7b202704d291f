"""The hypervisor's side: QEMU's virtio-mem device (hw/virtio/virtio-mem.c and hw/virtio/virtio.c, v7.2).

    mem         the device: which blocks are plugged, what each request is answered
    blocks      the bitmap behind it
    virtio      the virtio device around it: status, features, interrupts, giving up
    virtqueue   its queue: walking what the driver made available

Where a machine puts the device is the machine's business (`virtiomem.guest.machine`).
"""

from virtiomem.device.mem import MemDevice
from virtiomem.device.virtio import VirtioMem

__all__ = ["MemDevice", "VirtioMem"]
