"""What QEMU answers, as shapes for `border.read`: the parts of its answers that are looked at."""

from msgspec import Struct

from virtiomem.qemu.border import Name, Number, Text
from virtiomem.units import is_power_of_two


class _Numbers(Struct, frozen=True):
    major: Number
    minor: Number
    micro: Number


class Version(Struct, frozen=True):
    """Of the greeting, and of query-version."""

    qemu: _Numbers

    def __str__(self) -> str:
        return f"{self.qemu.major}.{self.qemu.minor}.{self.qemu.micro}"


class Migration(Struct, frozen=True):
    """An answer of query-migrate."""

    status: Text = "none"


class MemoryData(Struct, frozen=True, rename="kebab"):
    """The part of MemoryDeviceInfo's data that all kinds share in some spelling."""

    id: Name | None = None
    size: Number = 0
    node: Number = 0
    memaddr: Number = 0
    addr: Number = 0
    max_size: Number = 0
    requested_size: Number = 0
    block_size: Number = 0


class MemoryDevice(Struct, frozen=True):
    """An element of query-memory-devices."""

    type: Text
    data: MemoryData

    def __post_init__(self) -> None:
        if self.type == "virtio-mem" and not is_power_of_two(self.data.block_size):
            raise ValueError(f"a device of which the block size, {self.data.block_size}, is a power of two")
