"""The hypervisor's side: QEMU's virtio-mem device and where the machine puts it (hw/virtio/virtio-mem.c, v7.2).

mem        which blocks are plugged, and what each request is answered
realize    what is refused when a device is created
decisions  why a request is refused, in the order of the decisions
block_map  the bitmap behind it
virtio     the virtio device around it: status, features, interrupts, giving up
virtqueue  the device's side of its queue
board      QEMU's machines as data: where RAM and memory devices lie
placement  the machine's device memory region: first fit, and its refusals
"""

from virtiomem.device.mem import MemDevice
from virtiomem.device.placement import DeviceMemory
from virtiomem.device.virtio import VirtioDevice

__all__ = ["DeviceMemory", "MemDevice", "VirtioDevice"]
