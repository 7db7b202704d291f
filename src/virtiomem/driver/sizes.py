"""Sizes that follow from the sizes of blocks: the unit the driver moves, and the threshold of offline memory."""

from typing import NamedTuple

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.driver.parameters import DEFAULTS, Parameters
from virtiomem.units import GiB, is_power_of_two

OFFLINE_THRESHOLD = 1 * GiB
"""The least that it is (VIRTIO_MEM_DEFAULT_OFFLINE_THRESHOLD)."""


class Units(NamedTuple):
    """Unit that the driver plugs and unplugs, in bytes, and its thresholds."""

    plugged: int
    """Plugged and unplugged at a time: a sub-block or a big block."""
    added: int
    """Added to Linux and removed at a time: a memory block or a big block."""

    @property
    def big(self) -> bool:
        """True in big-block mode, where both are the same."""
        return self.plugged == self.added

    @property
    def offline_threshold(self) -> int:
        """Bytes of added memory that may be offline: the driver adds no more than this.

        Models: virtio_mem_init_hotplug() in drivers/virtio/virtio_mem.c (v6.1).
        """
        # Two units at least: with big blocks of 1G one that waits to be onlined must not keep the next from coming.
        return max(2 * self.added, OFFLINE_THRESHOLD)

    @property
    def resume_size(self) -> int:
        """Bytes that may still be offline when memory that goes online makes the driver add more: half the threshold."""
        return self.offline_threshold - self.offline_threshold // 2

    @property
    def most_offline(self) -> int:
        """Offline memory at which the driver can just add one unit more."""
        return self.offline_threshold - self.added

    def could_add(self, offline: int) -> bool:
        """True while the driver may add more: the offline part of added memory is below the threshold."""
        return offline <= self.most_offline


def choose_units(
    device_block_size: int,
    memory_block_size: int,
    parameters: Parameters = DEFAULTS,
    architecture: Architecture = DEFAULT,
) -> Units:
    """Choose the mode by the sizes of a device's and of Linux's blocks, in bytes.

    Sub-blocks where at least two of them fit a memory block, else big blocks: of `bbm_block_size` where that is a valid size.
    Models: virtio_mem_init_hotplug() in drivers/virtio/virtio_mem.c (v6.1).
    """
    # Linux takes nothing smaller than a pageblock from its allocator, the device plugs nothing smaller than its block.
    sub_block = max(architecture.pageblock_size, device_block_size)
    if sub_block < memory_block_size and not parameters.force_bbm:
        return Units(sub_block, memory_block_size)
    # Linux adds nothing smaller than a memory block.
    smallest, wanted = max(device_block_size, memory_block_size), parameters.bbm_block_size
    big_block = wanted if is_power_of_two(wanted) and wanted >= smallest else smallest
    return Units(big_block, big_block)
