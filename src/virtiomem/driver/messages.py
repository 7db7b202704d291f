"""Messages of the driver in the kernel log, and the patterns that find them again.

Models: the log lines of drivers/virtio/virtio_mem.c (v6.1) that something here reads.
"""

from enum import StrEnum

from virtiomem.errors import Errno
from virtiomem.resource.names import VIRTIO_DEVICE

MODULE = "virtio_mem"
BROKEN = "unknown error, marking device broken"
ADDING_FAILED = "adding memory failed"


class Key(StrEnum):
    """Quantities whose value a message gives."""

    START_ADDRESS = "start address"
    REGION_SIZE = "region size"
    DEVICE_BLOCK_SIZE = "device block size"
    NID = "nid"
    PLUGGED_SIZE = "plugged size"
    REQUESTED_SIZE = "requested size"


VALUE_LINE = rf"{MODULE} (?P<name>{VIRTIO_DEVICE.pattern}): (?P<key>[a-z ]+): (?P<value>0x[0-9a-f]+|-?[0-9]+)"
"""The pattern of a log line that states a value. It is not compiled here, since only readers of a log need it."""


def line(device: str, text: str) -> str:
    """A line of the log about a device."""
    return f"{MODULE} {device}: {text}"


def is_driver_line(text: str) -> bool:
    """True for a line that the driver has written, or the kernel about it."""
    return text.startswith((f"{MODULE} ", f"{MODULE}: "))


def is_broken_line(text: str, device: str) -> bool:
    """True for the line that says that the driver has given up on a device."""
    return f"{device}:" in text and BROKEN in text


def is_out_of_memory_line(text: str) -> bool:
    """True for the line that says that memory could not be added for lack of memory."""
    return text.endswith(f"{ADDING_FAILED}: {-Errno.ENOMEM}")
