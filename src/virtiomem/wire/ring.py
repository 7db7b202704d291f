"""The split virtqueue in memory: descriptors, available ring, used ring (virtio specification 2.7).

Three arrays at addresses that the driver chooses. The driver writes descriptors and the available ring, the device the
used ring; both indices run free over 16 bits, an entry lies at its index modulo the queue size.

Models: include/uapi/linux/virtio_ring.h (v6.1).
"""

from enum import IntFlag
from struct import Struct
from typing import NamedTuple, Self

from virtiomem.errors import ProtocolError
from virtiomem.units import align_up

DESCRIPTOR_SIZE = 16
USED_SIZE = 8
"""Bytes of one entry."""

INDEX = Struct("<H")
"""Flags, indices and available entries are 16 bits each."""

_DESCRIPTOR = Struct("<QIHH")
_USED = Struct("<II")
_HEADER = 4
"""Flags and index before the entries of either ring."""


class DescriptorFlag(IntFlag):
    """Flags of a descriptor (virtio specification 2.7.5)."""

    NEXT = 1
    """The chain goes on at `next`."""
    WRITE = 2
    """The device writes here; else it reads."""
    INDIRECT = 4
    """The buffer is a table of descriptors."""


class Descriptor(NamedTuple):
    """One buffer of a chain; address and length in bytes."""

    addr: int
    len: int
    flags: int = 0
    next: int = 0

    def pack(self) -> bytes:
        """The 16 bytes in memory."""
        return _DESCRIPTOR.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read exactly 16 bytes; raises ProtocolError for any other number."""
        if len(data) != DESCRIPTOR_SIZE:
            raise ProtocolError(f"descriptor of {len(data)} bytes, needs {DESCRIPTOR_SIZE}")
        return cls._make(_DESCRIPTOR.unpack(data))


class Used(NamedTuple):
    """One entry of the used ring: the head of the chain that is done, and the bytes the device wrote."""

    id: int
    len: int

    def pack(self) -> bytes:
        """The 8 bytes in memory."""
        return _USED.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read exactly 8 bytes; raises ProtocolError for any other number."""
        if len(data) != USED_SIZE:
            raise ProtocolError(f"used ring entry of {len(data)} bytes, needs {USED_SIZE}")
        return cls._make(_USED.unpack(data))


class Layout(NamedTuple):
    """Places of the three parts of a queue of `size` entries; addresses in bytes."""

    size: int
    desc: int
    avail: int
    used: int

    @classmethod
    def packed_at(cls, addr: int, size: int) -> Self:
        """The parts one behind the other from `addr`, each aligned as it must be (virtio specification 2.7)."""
        avail = addr + DESCRIPTOR_SIZE * size
        # One index more than entries: used_event lies behind the available ring, negotiated or not.
        used = align_up(avail + _HEADER + INDEX.size * (size + 1), 4)
        return cls(size, addr, avail, used)

    @property
    def end(self) -> int:
        """The first byte behind the used ring and its event field."""
        return self.used + _HEADER + USED_SIZE * self.size + INDEX.size

    @property
    def avail_flags(self) -> int:
        """Address of the available ring's flags."""
        return self.avail

    @property
    def avail_idx(self) -> int:
        """Address of the available ring's index."""
        return self.avail + INDEX.size

    @property
    def used_event(self) -> int:
        """Address of the driver's event field, behind the available ring."""
        return self.avail + _HEADER + INDEX.size * self.size

    @property
    def used_idx(self) -> int:
        """Address of the used ring's index."""
        return self.used + INDEX.size

    @property
    def avail_event(self) -> int:
        """Address of the device's event field, behind the used ring."""
        return self.used + _HEADER + USED_SIZE * self.size

    def descriptor(self, number: int) -> int:
        """Address of a descriptor."""
        return self.desc + DESCRIPTOR_SIZE * number

    def avail_entry(self, index: int) -> int:
        """Address of the available entry at a free-running index."""
        return self.avail + _HEADER + INDEX.size * (index % self.size)

    def used_entry(self, index: int) -> int:
        """Address of the used entry at a free-running index."""
        return self.used + _HEADER + USED_SIZE * (index % self.size)
