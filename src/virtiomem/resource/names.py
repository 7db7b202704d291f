"""Names in /proc/iomem: RAM and the driver that added it, regions of devices, the kernel's own sections."""

import re

SYSTEM_RAM = "System RAM"
"""Memory from the firmware, of a DIMM, or from a Xen or Hyper-V balloon: they all use this name."""
VIRTIO_MEM_RAM = "System RAM (virtio_mem)"
"""What the virtio-mem driver adds.

Differs: Linux allocates the string again for each device; nothing shows it, for the memory of two devices never has the
same parent."""
KMEM_RAM = "System RAM (kmem)"
"""What the kmem driver adds of a DAX device."""
CRASH_KERNEL = "Crash kernel"

DRIVER_RAM = re.compile(r"System RAM \(([^()]*)\)(?:.*\))?")
"""RAM that a driver has added and manages; the group is the driver's name.

Linux takes any name that begins and ends like this: add_memory_driver_managed() in mm/memory_hotplug.c (v6.1)."""
KERNEL_IMAGE = re.compile(r"Kernel (?:code|rodata|data|bss)")
VIRTIO_DEVICE = re.compile(r"virtio(?:0|[1-9][0-9]*)")
"""A virtio device, as register_virtio_device() names it; in the map, a virtio-mem device's region."""
DAX_DEVICE = re.compile(r"dax[0-9]+\.[0-9]+")

_KNOWN = rf"""{DRIVER_RAM.pattern.replace(" ", "[ ]")} | {KERNEL_IMAGE.pattern.replace(" ", "[ ]")}
        | {VIRTIO_DEVICE.pattern} | {DAX_DEVICE.pattern}
        | System\ RAM | Crash\ kernel | RAM\ buffer | (?:Soft\ )?Reserved | reserved
        | Persistent\ Memory(?:\ \(legacy\))? | ACPI\ (?:Tables|Non-volatile\ Storage)
        | Local\ APIC | IOAPIC\ [0-9]+ | CXL\ Window\ [0-9]+
        | PCI\ Bus\ [0-9a-f]{{4,}}:[0-9a-f]{{2}} | PCI\ (?:MMCONFIG|ECAM)\ [0-9a-f]{{4,}}\ \[bus\ \S+\]
        | [0-9a-f]{{4,}}:[0-9a-f]{{2}}:[0-9a-f]{{2}}\.[0-7]
        | (?:System|Video|Adapter|Option)\ ROM | Video\ RAM\ area"""
"""A verbose pattern, compiled when a name is looked at: most maps do without."""


def is_known(name: str) -> bool:
    """True for a name that Linux itself gives, and that readers look for: it is whole, with nothing behind it."""
    return re.fullmatch(_KNOWN, name, re.VERBOSE) is not None


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
