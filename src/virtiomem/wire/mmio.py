"""Layout of a virtio device as memory-mapped registers (virtio specification 4.2.2), version 2.

Models: include/uapi/linux/virtio_mmio.h (v6.1).
"""

from enum import IntEnum

MAGIC = 0x74726976
"""The bytes "virt"."""
VERSION = 2


class Mmio(IntEnum):
    """Offsets of the registers; each is 32 bits wide, and of the addresses the low half comes first."""

    MAGIC_VALUE = 0x000
    VERSION = 0x004
    DEVICE_ID = 0x008
    DEVICE_FEATURES = 0x010
    DEVICE_FEATURES_SEL = 0x014
    DRIVER_FEATURES = 0x020
    DRIVER_FEATURES_SEL = 0x024
    QUEUE_SEL = 0x030
    QUEUE_NUM_MAX = 0x034
    QUEUE_NUM = 0x038
    QUEUE_READY = 0x044
    QUEUE_NOTIFY = 0x050
    INTERRUPT_STATUS = 0x060
    INTERRUPT_ACK = 0x064
    STATUS = 0x070
    QUEUE_DESC = 0x080
    QUEUE_DRIVER = 0x090
    QUEUE_DEVICE = 0x0A0
    CONFIG_GENERATION = 0x0FC
    CONFIG = 0x100
