"""QEMU's memory devices: what query-memory-devices answers, and how a requested-size is set."""

from typing import Any

from msgspec import Struct

from virtiomem.qemu.validation import Name, Number, Text
from virtiomem.recording.values import DeviceInfo, DimmInfo, VirtioMemInfo
from virtiomem.units import is_power_of_two

QUERY = "query-memory-devices"
SET = "qom-set"
GET = "qom-get"


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

    @property
    def info(self) -> DeviceInfo:
        """The device as in a recording: any kind other than virtio-mem as a DIMM, a device without an id named by its
        address.
        """
        data = self.data
        # An address is unique and stays: the position in the list changes when another device is added.
        name = data.id if data.id is not None else f"{data.memaddr or data.addr:#x}"
        if self.type != "virtio-mem":
            # DIMMs have `addr`, virtio devices `memaddr`.
            return DimmInfo(id=name, addr=data.addr or data.memaddr, size=data.size, node=data.node)
        return VirtioMemInfo(
            id=name,
            memaddr=data.memaddr,
            max_size=data.max_size,
            requested_size=data.requested_size,
            size=data.size,
            block_size=data.block_size,
            node=data.node,
        )


def path_of(device: str) -> str:
    """Return the place in the object tree of a device that was started with an id."""
    return f"/machine/peripheral/{device}"


def property_of(path: str, name: str) -> dict[str, Any]:
    """The arguments of a qom-get."""
    return {"path": path, "property": name}


def requested_size(path: str, size: int) -> dict[str, Any]:
    """The arguments of the qom-set that sets a device's requested-size, in bytes."""
    return property_of(path, "requested-size") | {"value": size}
