"""Layout of a virtio device on PCI: configuration header, capabilities, common configuration.

Models: include/uapi/linux/pci_regs.h and virtio_pci.h (v6.1); virtio specification 4.1. Modern devices only.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from struct import Struct, unpack_from
from typing import NamedTuple

from virtiomem.errors import ProtocolError

CONFIG_SPACE_SIZE = 256
VIRTIO_VENDOR = 0x1AF4
MODERN_DEVICE_BASE = 0x1040
"""A modern virtio device's PCI device id is this plus its device type."""

COMMAND = 0x04
STATUS = 0x06
HEADER_TYPE = 0x0E
BAR0 = 0x10
CAPABILITY_POINTER = 0x34
"""Offsets in the configuration header."""

COMMAND_MEMORY = 0x2
COMMAND_MASTER = 0x4
COMMAND_INTX_DISABLE = 0x400
STATUS_CAPABILITIES = 0x10
MULTI_FUNCTION = 0x80

BARS = 6
_BAR_IO = 0x1
_BAR_TYPE = 0x7
_BAR_64 = 0x4

_CAPABILITY_VENDOR = 0x09
_CAPABILITY = Struct("<BBBBBBxxII")
_TYPE = 3
"""Offset of the structure type within a capability."""
_FIRST_CAPABILITY = 0x40


class CapabilityType(IntEnum):
    """Structures that a virtio capability points to (virtio specification 4.1.4)."""

    COMMON = 1
    NOTIFY = 2
    ISR = 3
    DEVICE = 4
    PCI = 5
    """A window for configuration-space access."""


class Capability(NamedTuple):
    """One virtio structure: `length` bytes at an offset in a BAR."""

    type: int
    bar: int
    offset: int
    length: int
    notify_multiplier: int = 0
    """Bytes between the notification addresses of two queues; NOTIFY only."""


class Common(IntEnum):
    """Offsets in the common configuration structure (virtio specification 4.1.4.3)."""

    DEVICE_FEATURE_SELECT = 0
    DEVICE_FEATURE = 4
    DRIVER_FEATURE_SELECT = 8
    DRIVER_FEATURE = 12
    CONFIG_VECTOR = 16
    NUM_QUEUES = 18
    DEVICE_STATUS = 20
    CONFIG_GENERATION = 21
    QUEUE_SELECT = 22
    QUEUE_SIZE = 24
    QUEUE_VECTOR = 26
    QUEUE_ENABLE = 28
    QUEUE_NOTIFY_OFF = 30
    QUEUE_DESC = 32
    QUEUE_DRIVER = 40
    QUEUE_DEVICE = 48
    QUEUE_NOTIFY_DATA = 56
    QUEUE_RESET = 58


class Bar(NamedTuple):
    """A memory BAR of `size` bytes: its number, and whether it takes the next register, too."""

    number: int
    size: int
    wide: bool


def device_id(config: bytes) -> tuple[int, int]:
    """Vendor and device id, from at least 4 bytes of a configuration space; (0xffff, 0xffff) when nothing is there."""
    vendor, device = unpack_from("<HH", config)
    return vendor, device


def capabilities(config: bytes) -> Iterator[tuple[int, int]]:
    """The capability list of a configuration space, all 256 bytes of it: (id, offset) each.

    Raises ProtocolError when the list runs astray.
    """
    if not config[STATUS] & STATUS_CAPABILITIES:
        return
    seen = set[int]()
    # The two low bits are reserved and must be masked (PCI 3.0, 6.7).
    offset = config[CAPABILITY_POINTER] & ~3
    while offset:
        # A list may run in a circle, and one that points into the header would read registers as capabilities.
        if offset < _FIRST_CAPABILITY or offset in seen:
            raise ProtocolError(f"PCI capability list leads to {offset:#x}, where none can be")
        seen.add(offset)
        yield config[offset], offset
        offset = config[offset + 1] & ~3


def virtio_capabilities(config: bytes) -> dict[int, Capability]:
    """The virtio structures of a PCI function: the first of each type, as the specification wants drivers to choose.

    `config` is the configuration space, all 256 bytes of it. Raises ProtocolError when the list runs astray
    or a capability is cut off by the end of the space.
    """
    found: dict[int, Capability] = {}
    for kind, offset in capabilities(config):
        if kind != _CAPABILITY_VENDOR:
            continue
        end = offset + _CAPABILITY.size
        # Only this one is four bytes longer, so the end of the space cuts it off sooner.
        notifies = config[offset + _TYPE] == CapabilityType.NOTIFY
        # Only NOTIFY has four bytes more; another one may end with the configuration space.
        if end + 4 * notifies > len(config):
            raise ProtocolError(f"virtio capability at {offset:#x} is cut off")
        _, _, length, cfg_type, bar, _, start, size = _CAPABILITY.unpack_from(config, offset)
        multiplier = unpack_from("<I", config, end)[0] if notifies else 0
        if length < _CAPABILITY.size:
            raise ProtocolError(f"virtio capability at {offset:#x} of {length} bytes, needs {_CAPABILITY.size}")
        # The first of a type, for a device lists them by preference (4.1.4).
        found.setdefault(cfg_type, Capability(cfg_type, bar, start, size, multiplier))
    return found


def memory_bars(probed: Sequence[int]) -> list[Bar]:
    """The memory BARs, from what the six registers read after all ones were written to them; I/O BARs are left out."""
    bars: list[Bar] = []
    number = 0
    while number < len(probed):
        value = probed[number]
        # The last register has none behind it for the upper half.
        wide = value & _BAR_TYPE == _BAR_64 and number + 1 < len(probed)
        # The low four bits are type and prefetchability; of a BAR of 4 GiB or more nothing else stands in the low
        # register.
        mask = value & ~0xF | (probed[number + 1] << 32 if wide else 0)
        if mask and not value & _BAR_IO:
            # The lowest bit that can be written is the size: a BAR is naturally aligned.
            bars.append(Bar(number, mask & -mask, wide))
        number += 2 if wide else 1
    return bars
