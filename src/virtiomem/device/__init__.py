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

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtiomem.device.mem import MemDevice
    from virtiomem.device.placement import DeviceMemory
    from virtiomem.device.virtio import VirtioDevice

__all__ = ["DeviceMemory", "MemDevice", "VirtioDevice"]

# Imported when they are first used: boards and limits are read without importing the whole device.
_HOMES = {"DeviceMemory": "placement", "MemDevice": "mem", "VirtioDevice": "virtio"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'virtiomem.device' has no attribute {name!r}")
    return getattr(import_module(f"virtiomem.device.{_HOMES[name]}"), name)
