"""Map a name in /proc/iomem to the flags and the desc that the kernel gives such a resource.

The text shows neither, so a tree read from a listing has what the makers of these names are known to set (x86-64 boot code,
ACPI, PCI, device drivers): above all what is busy, for that decides where a request descends.
"""

import re
import sys
from functools import lru_cache
from typing import NamedTuple

from virtiomem.resource.flags import (
    BUSY_RAM,
    IORESOURCE_BUSY,
    IORESOURCE_EXCLUSIVE,
    IORESOURCE_MEM,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSRAM_MERGEABLE,
    IORESOURCE_SYSTEM_RAM,
    Desc,
)
from virtiomem.resource.names import (
    CRASH_KERNEL,
    DAX_DEVICE,
    DRIVER_RAM,
    KERNEL_IMAGE,
    SYSTEM_RAM,
    VIRTIO_DEVICE,
    VIRTIO_MEM_RAM,
)
from virtiomem.resource.spoiled import what_is_spoiled
from virtiomem.units import MiB


class NameMeaning(NamedTuple):
    """Properties that all resources of one name share; `name` is the one string object they share."""

    name: str
    flags: int
    desc: Desc
    spoiled: str = ""
    """Why no kernel can have printed the name; empty for a sound one."""


_DRIVER_RAM = BUSY_RAM | IORESOURCE_SYSRAM_DRIVER_MANAGED
_OPEN = IORESOURCE_MEM
_BUSY = IORESOURCE_MEM | IORESOURCE_BUSY

_EXACT = {
    SYSTEM_RAM: (BUSY_RAM, Desc.NONE),
    # Every block that virtio-mem adds is marked before it is merged, so a guest that goes on from a listing merges with them.
    VIRTIO_MEM_RAM: (_DRIVER_RAM | IORESOURCE_SYSRAM_MERGEABLE, Desc.NONE),
    CRASH_KERNEL: (BUSY_RAM, Desc.CRASH_KERNEL),
    "ACPI Tables": (_BUSY, Desc.ACPI_TABLES),
    "ACPI Non-volatile Storage": (_BUSY, Desc.ACPI_NV_STORAGE),
    # Inserted late in boot and not busy, so that a driver's range can lie inside; below 1 MiB see `E820_LOW`.
    "Reserved": (_OPEN, Desc.RESERVED),
    "reserved": (_OPEN, Desc.RESERVED),
    "Persistent Memory": (_OPEN, Desc.PERSISTENT_MEMORY),
    "Persistent Memory (legacy)": (_OPEN, Desc.PERSISTENT_MEMORY_LEGACY),
    "Soft Reserved": (_OPEN, Desc.SOFT_RESERVED),
}
_PATTERNS = (
    (DRIVER_RAM, (_DRIVER_RAM, Desc.NONE)),
    (KERNEL_IMAGE, (BUSY_RAM, Desc.NONE)),
    # virtio-mem and kmem both clear BUSY of their region, so that the memory that they add can lie inside it.
    (VIRTIO_DEVICE, (IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE, Desc.NONE)),
    (DAX_DEVICE, (IORESOURCE_SYSTEM_RAM, Desc.NONE)),
    (re.compile(r"CXL Window [0-9]+"), (_OPEN, Desc.CXL)),
    (re.compile(r"PCI Bus .*|[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"), (_OPEN, Desc.NONE)),
)

E820_LOW = MiB
"""The firmware's entries that start below this are claimed early in boot, so busy, whatever their type."""


@lru_cache(maxsize=4096)
def meaning_of(name: str) -> NameMeaning:
    """Return what a name means to the kernel, its flags and desc, and how it is spoiled."""
    # A name that is not known is most often a driver's claim, and a claim is busy.
    flags, desc = _EXACT.get(name) or next(
        (given for pattern, given in _PATTERNS if pattern.fullmatch(name)), (_BUSY, Desc.NONE)
    )
    return NameMeaning(sys.intern(name), flags, desc, what_is_spoiled(name))
