"""Values that every virtio device shares: status, interrupt status and feature bits (virtio specification 2 and 6).

Models: include/uapi/linux/virtio_config.h and virtio_ring.h (v6.1).
"""

from enum import IntFlag


class Status(IntFlag):
    """The device status field (virtio specification 2.1)."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    """The device has given up; only a reset helps."""
    FAILED = 128
    """The driver has given up."""


class Isr(IntFlag):
    """Why the device interrupts; reading clears it (virtio specification 4.1.4.5)."""

    QUEUE = 1
    CONFIG = 2


class VirtioFeature(IntFlag):
    """Feature bits that belong to no device type (virtio specification 6)."""

    NOTIFY_ON_EMPTY = 1 << 24
    """Legacy: interrupt when the queue runs empty, even when the driver asked for silence."""
    ANY_LAYOUT = 1 << 27
    """Legacy: messages may be cut into descriptors anywhere."""
    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    VERSION_1 = 1 << 32
    RING_RESET = 1 << 40
