"""What the names in /proc/iomem say: RAM and who brought it, regions of devices, the kernel's own sections."""

import re

SYSTEM_RAM = "System RAM"
"""Memory from the firmware, of a DIMM, or from a Xen or Hyper-V balloon: they all use this name."""
VIRTIO_MEM_RAM = "System RAM (virtio_mem)"
"""What the virtio-mem driver adds.

Differs: Linux allocates the string anew for each device; nothing shows it, for the memory of two devices never has the
same parent."""
KMEM_RAM = "System RAM (kmem)"
"""What the kmem driver adds of a DAX device."""
CRASH_KERNEL = "Crash kernel"

DRIVER_RAM = re.compile(r"System RAM \((.*)\)")
"""RAM that a driver has added and manages; the group is the driver's name."""
KERNEL_IMAGE = re.compile(r"Kernel (?:code|rodata|data|bss)")
VIRTIO_DEVICE = re.compile(r"virtio(?:0|[1-9][0-9]*)")
"""A virtio device, as register_virtio_device() names it; in the map, a virtio-mem device's region."""
DAX_DEVICE = re.compile(r"dax[0-9]+\.[0-9]+")


def is_system_ram(name: str) -> bool:
    """True for `System RAM` and for driver-managed `System RAM (…)`."""
    return name == SYSTEM_RAM or DRIVER_RAM.fullmatch(name) is not None


def is_virtio_device(name: str) -> bool:
    """True for what Linux calls a virtio device."""
    return VIRTIO_DEVICE.fullmatch(name) is not None


def virtio_number(name: str) -> int:
    """The number in a virtio device's name."""
    return int(name.removeprefix("virtio"))


def virtio_name(number: int) -> str:
    """The name of the virtio device with that number."""
    return f"virtio{number}"
