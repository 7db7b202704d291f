"""Which of the two modes a device gets, and what the driver asks of a mode, whichever it is."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from virtiomem.driver.parameters import DEFAULTS, Parameters
from virtiomem.errors import Errno
from virtiomem.memory.notifier import MemoryNotify
from virtiomem.memory.pages import PAGEBLOCK_SIZE
from virtiomem.units import GiB, is_power_of_two

if TYPE_CHECKING:
    from virtiomem.wire.mem import Config


OFFLINE_THRESHOLD = 1 * GiB
"""The least that it is (VIRTIO_MEM_DEFAULT_OFFLINE_THRESHOLD)."""


class Units(NamedTuple):
    """What the driver moves at a time, in bytes."""

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
        """How much of what was added may be offline; see `offline_threshold`."""
        return offline_threshold(self.added)


def choose_units(device_block_size: int, memory_block_size: int, parameters: Parameters = DEFAULTS) -> Units:
    """Choose the mode by the sizes of a device's and of Linux's blocks, in bytes.

    Sub-blocks where at least two of them fit a memory block, else big blocks: of `bbm_block_size` where that can be.
    Models: virtio_mem_init_hotplug() in drivers/virtio/virtio_mem.c (v6.1).
    """
    sub_block = max(PAGEBLOCK_SIZE, device_block_size)
    if sub_block < memory_block_size and not parameters.force_bbm:
        return Units(sub_block, memory_block_size)
    smallest, wanted = max(device_block_size, memory_block_size), parameters.bbm_block_size
    big_block = wanted if is_power_of_two(wanted) and wanted >= smallest else smallest
    return Units(big_block, big_block)


def offline_threshold(unit_size: int) -> int:
    """How many bytes of added memory may be offline before a driver that adds `unit_size` at a time stops adding.

    Models: virtio_mem_init_hotplug() in drivers/virtio/virtio_mem.c (v6.1).
    """
    return max(2 * unit_size, OFFLINE_THRESHOLD)


class Mode(Protocol):
    """Sub-block or big-block mode of one device. Sizes and addresses are bytes."""

    name: str
    """``sbm`` or ``bbm``."""
    plug_size: int
    """Bytes plugged and unplugged at a time: a sub-block or a big block."""
    unit_size: int
    """Bytes added to Linux at a time: a memory block or a big block."""

    def refresh(self, config: "Config") -> None:
        """Take in a changed usable region."""

    def unplug_pending(self) -> Errno:
        """Unplug what is plugged but not in Linux, left over from errors."""

    def plug(self, diff: int) -> Errno:
        """Plug and add `diff` more bytes."""

    def unplug(self, diff: int) -> Errno:
        """Remove and unplug `diff` bytes."""

    def adopt(self, addr: int, plugged: int) -> Errno:
        """Plug the first `plugged` bytes of the unit that `addr` is in, and add it, out of turn."""

    def expects(self, notify: MemoryNotify) -> bool:
        """True when memory goes online or offline in the grain in which this mode added it."""

    def going_online(self, notify: MemoryNotify) -> Errno:
        """May it go online? EPERM when not."""

    def online(self, notify: MemoryNotify) -> None:
        """It is online."""

    def going_offline(self, notify: MemoryNotify) -> None:
        """Let go of the pages that are withheld, so that offlining can skip them."""

    def offline(self, notify: MemoryNotify) -> None:
        """It is offline."""

    def cancel_offline(self, notify: MemoryNotify) -> None:
        """It stays online: withhold again what `going_offline` let go of."""

    def online_page(self, start: int, size: int) -> None:
        """Hand memory that goes online to the page allocator, but withhold what is not plugged."""

    def remove(self) -> None:
        """The driver leaves: take back what must not be left behind."""

    def counts(self) -> dict[str, int]:
        """How many units are in each state."""

    def plugged_bytes(self) -> int:
        """How much this mode holds to be plugged."""

    def check(self) -> None:
        """Assert the mode's invariants, and that it agrees with the core."""
