"""What QEMU refuses when a virtio-mem device is created (hw/virtio/virtio-mem.c, v7.2)."""

from virtiomem.device.board import Q35, Board
from virtiomem.errors import DeviceError
from virtiomem.releases.qemu import QemuRelease
from virtiomem.units import U64_MAX, MiB, is_power_of_two
from virtiomem.wire.mem import Feature

MIN_BLOCK_SIZE = 1 * MiB
"""Models: VIRTIO_MEM_MIN_BLOCK_SIZE in hw/virtio/virtio-mem.c (v7.2)."""

MAX_REGION_SIZE = (1 << 47) - 1
"""QEMU maps a region into its own address space; Linux gives a process 47 bits on x86-64."""


def offered_features(release: QemuRelease, unplugged_inaccessible: str | None = None, board: Board = Q35) -> Feature:
    """The feature bits of the device type that a release of QEMU offers on a board, with that value of its property.

    Since: 8.1 (auto_is_inaccessible), 9.2 (offers_persistent_suspend).
    """
    features = Feature.ACPI_PXM | board.always_offers
    if unplugged_inaccessible == "on" or (release.auto_is_inaccessible and unplugged_inaccessible != "off"):
        features |= Feature.UNPLUGGED_INACCESSIBLE
    if release.offers_persistent_suspend and board.wakes_up:
        features |= Feature.PERSISTENT_SUSPEND
    return features


def check_realize(addr: int, region_size: int, block_size: int, requested_size: int, node: int, nodes: int) -> None:
    """Refuse what QEMU refuses, in its order and words."""
    if region_size > MAX_REGION_SIZE:
        limit = f"QEMU can map no more than {MAX_REGION_SIZE:#x} bytes"
        raise DeviceError(f"cannot set up guest memory: Cannot allocate memory: {region_size:#x} bytes, {limit}")
    if block_size < MIN_BLOCK_SIZE:
        raise DeviceError(f"'block-size' property has to be at least {MIN_BLOCK_SIZE:#x}")
    if not is_power_of_two(block_size):
        raise DeviceError("'block-size' property has to be a power of two")
    if not 0 <= node < nodes:
        raise DeviceError(f"'node' property has value '{node}', which exceedsthe number of numa nodes: {nodes}")
    if requested_size % block_size:
        raise DeviceError(f"'requested-size' property has to be multiples of 'block-size' ({block_size:#x})")
    if addr % block_size:
        raise DeviceError(f"'memaddr' property has to be multiples of 'block-size' ({block_size:#x})")
    if region_size % block_size:
        raise DeviceError(f"'memdev' property memdev size has to be multiples of'block-size' ({block_size:#x})")
    if region_size <= 0 or not 0 <= addr <= U64_MAX + 1 - region_size:
        raise DeviceError(f"no region of {region_size:#x} bytes at {addr:#x} in 64 bits")
    if not 0 <= requested_size <= U64_MAX:
        raise DeviceError(f"'requested-size' property is no 64-bit number of bytes: {requested_size:#x}")
