"""The states of memory blocks, and the order in which the driver plugs and unplugs.

Pure data: the driver follows it, and so do predictions of the driver.

Models: enum virtio_mem_sbm_mb_state, virtio_mem_sbm_plug_request(), virtio_mem_sbm_unplug_request(),
virtio_mem_bbm_unplug_request() (drivers/virtio/virtio_mem.c, v6.1).
"""

from enum import IntEnum


class MB(IntEnum):
    """State of a memory block. Each *partial* state is its full state + 1."""

    UNUSED = 0
    """Nothing plugged, not in Linux."""
    PLUGGED = 1
    """Plugged, not in Linux: left over from an error, to be unplugged."""
    OFFLINE = 2
    """In Linux, offline, all sub-blocks plugged."""
    OFFLINE_PARTIAL = 3
    """In Linux, offline, some sub-blocks plugged."""
    KERNEL = 4
    """In Linux, online in a kernel zone, all sub-blocks plugged."""
    KERNEL_PARTIAL = 5
    """In Linux, online in a kernel zone, some sub-blocks plugged, or none where removal failed."""
    MOVABLE = 6
    """In Linux, online in Movable, all sub-blocks plugged."""
    MOVABLE_PARTIAL = 7
    """In Linux, online in Movable, some sub-blocks plugged, or none where removal failed."""


FULL = {MB.OFFLINE_PARTIAL: MB.OFFLINE, MB.KERNEL_PARTIAL: MB.KERNEL, MB.MOVABLE_PARTIAL: MB.MOVABLE}
PARTIAL = {full: partial for partial, full in FULL.items()}

PLUG_ORDER = (MB.KERNEL_PARTIAL, MB.MOVABLE_PARTIAL, MB.OFFLINE_PARTIAL)
"""States searched for unplugged sub-blocks before a block is added; online blocks first. `sbm` says why."""

UNPLUG_OFFLINE = (MB.OFFLINE_PARTIAL, MB.OFFLINE)
UNPLUG_ORDER = (*UNPLUG_OFFLINE, MB.MOVABLE_PARTIAL, MB.KERNEL_PARTIAL, MB.MOVABLE, MB.KERNEL)
"""Where sub-blocks are unplugged: offline blocks first, partial blocks before whole ones, Movable before kernel; in each
state the highest block first."""


EMPTIED_ORDER = (MB.MOVABLE_PARTIAL, MB.KERNEL_PARTIAL, MB.OFFLINE_PARTIAL)
"""Where blocks with nothing plugged are tried again that could not be removed; in each state the lowest block first.

As in a later release than 6.1: see `releases.linux.LinuxRelease.retries_emptied_blocks`."""


def state_of(*, offline: bool, movable: bool, partial: bool) -> MB:
    """The state of a memory block that is in Linux: offline, or online in Movable or in another zone."""
    full = MB.OFFLINE if offline else MB.MOVABLE if movable else MB.KERNEL
    return PARTIAL[full] if partial else full


def unplug_rank(state: MB) -> int:
    """The place of a memory block's state in the order of unplugging."""
    return UNPLUG_ORDER.index(state)


BIG_BLOCK_PASSES = (0, 1, 2)
"""The passes over the big blocks, highest first, each of which takes what `big_block_rank` says up to its number."""


def big_block_rank(*, offline: bool, movable: bool) -> int:
    """The first pass that unplugs a big block: one that is offline, one with no memory in kernel zones, any other."""
    return 0 if offline else 1 if movable else 2
