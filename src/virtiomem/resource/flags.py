"""Type of a resource: IORESOURCE_* flags and IORES_DESC_* descriptors.

Flags are plain ints, not an IntFlag: they are combined and compared on every request, and IntFlag arithmetic would cost more
than the request itself. `flag_names` spells them out for people.

Models: include/linux/ioport.h (v6.1).
"""

from enum import IntEnum
from typing import Final

IORESOURCE_TYPE_BITS: Final = 0x0000_1F00
IORESOURCE_IO: Final = 0x0000_0100
IORESOURCE_MEM: Final = 0x0000_0200
IORESOURCE_MUXED: Final = 0x0040_0000
"""The requester would wait for the region instead of failing."""
IORESOURCE_EXT_TYPE_BITS: Final = 0x0100_0000
IORESOURCE_SYSRAM: Final = 0x0100_0000
"""Modifier of MEM: this is RAM."""
IORESOURCE_SYSRAM_DRIVER_MANAGED: Final = 0x0200_0000
"""RAM that only a driver finds; kexec must not use it for the next kernel."""
IORESOURCE_SYSRAM_MERGEABLE: Final = 0x0400_0000
"""May be merged with an equal neighbour; set by `merge_system_ram_resource` alone."""
IORESOURCE_EXCLUSIVE: Final = 0x0800_0000
"""User space may not map it through /dev/mem."""
IORESOURCE_UNSET: Final = 0x2000_0000
"""No address yet."""
IORESOURCE_BUSY: Final = 0x8000_0000
"""A driver claimed it: no request descends into it."""
IORESOURCE_SYSTEM_RAM: Final = IORESOURCE_MEM | IORESOURCE_SYSRAM
BUSY_RAM: Final = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY
"""RAM that is claimed: what every search for System RAM looks for."""

IORESOURCE_INHERITED: Final = IORESOURCE_TYPE_BITS | IORESOURCE_EXT_TYPE_BITS
"""What a requested region takes over from its parent; the rest is the caller's."""


class Desc(IntEnum):
    """IORES_DESC_*: what kind of memory, for searches by kind."""

    NONE = 0
    CRASH_KERNEL = 1
    ACPI_TABLES = 2
    ACPI_NV_STORAGE = 3
    PERSISTENT_MEMORY = 4
    PERSISTENT_MEMORY_LEGACY = 5
    DEVICE_PRIVATE_MEMORY = 6
    RESERVED = 7
    SOFT_RESERVED = 8
    CXL = 9


# In ascending order of the bits: `flag_names` keeps it.
_NAMES: Final = {
    IORESOURCE_IO: "IO",
    IORESOURCE_MEM: "MEM",
    IORESOURCE_MUXED: "MUXED",
    IORESOURCE_SYSRAM: "SYSRAM",
    IORESOURCE_SYSRAM_DRIVER_MANAGED: "DRIVER_MANAGED",
    IORESOURCE_SYSRAM_MERGEABLE: "MERGEABLE",
    IORESOURCE_EXCLUSIVE: "EXCLUSIVE",
    IORESOURCE_UNSET: "UNSET",
    IORESOURCE_BUSY: "BUSY",
}


def flag_names(flags: int) -> list[str]:
    """The set flags as words, lowest bit first; bits without a name as one hexadecimal number."""
    names = [name for bit, name in _NAMES.items() if flags & bit]
    rest = flags & ~sum(_NAMES)
    return [*names, f"{rest:#x}"] if rest else names
