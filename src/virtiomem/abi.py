"""The words of Linux's files for memory hotplug and sleep: sysfs, /proc/zoneinfo and the parameters of memory_hotplug.

Every module that reads, models or writes these files takes the words from here. Models: drivers/base/memory.c,
include/linux/mmzone.h, mm/memory_hotplug.c (v6.1).
"""

from enum import IntFlag, StrEnum


class BlockState(StrEnum):
    """Words of a memory block's `state` file."""

    ONLINE = "online"
    GOING_OFFLINE = "going-offline"
    OFFLINE = "offline"


class BlockFile(StrEnum):
    """The files of a memory block's directory, as in `memory_memblk_attrs`."""

    PHYS_INDEX = "phys_index"
    PHYS_DEVICE = "phys_device"
    REMOVABLE = "removable"
    STATE = "state"
    ONLINE = "online"
    VALID_ZONES = "valid_zones"


READ_OF_BLOCKS = (BlockFile.STATE, BlockFile.VALID_ZONES, BlockFile.REMOVABLE)
"""The counters that a recording keeps. Both shell programs read the same ones."""


class OnlineType(StrEnum):
    """Ways a block goes online. memhp_default_state= and auto_online_blocks use the same words."""

    OFFLINE = "offline"
    ONLINE = "online"
    ONLINE_KERNEL = "online_kernel"
    ONLINE_MOVABLE = "online_movable"


class MemmapOnMemory(StrEnum):
    """memory_hotplug.memmap_on_memory: whether struct pages may lie in the memory that they describe."""

    NO = "N"
    YES = "Y"
    FORCE = "force"
    """Also where that wastes pages."""


class OnlinePolicy(StrEnum):
    """memory_hotplug.online_policy: how plain `online` chooses."""

    CONTIG_ZONES = "contig-zones"
    AUTO_MOVABLE = "auto-movable"


class PageFlag(IntFlag):
    """The bits of /proc/kpageflags that anything here reads (include/uapi/linux/kernel-page-flags.h, fs/proc/page.c; v6.1)."""

    UPTODATE = 1 << 3
    DIRTY = 1 << 4
    LRU = 1 << 5
    SLAB = 1 << 7
    BUDDY = 1 << 10
    MMAP = 1 << 11
    """Mapped by a process: its count in /proc/kpagecount is not 0."""
    ANON = 1 << 12
    SWAPCACHE = 1 << 13
    SWAPBACKED = 1 << 14
    TAIL = 1 << 16
    """Of a compound page, but not its first: Linux 6.1 shows most flags on the first page only."""
    HUGE = 1 << 17
    """Of a hugetlb page, in use or not."""
    UNEVICTABLE = 1 << 18
    HWPOISON = 1 << 19
    NOPAGE = 1 << 20
    """There is no struct page in use: the block is offline, or no memory."""
    OFFLINE = 1 << 23
    """A driver (virtio-mem, a balloon) keeps it from the allocator."""
    PGTABLE = 1 << 26
    RESERVED = 1 << 32
    MLOCKED = 1 << 33


class Sleep(StrEnum):
    """Depths of sleep; /sys/power/state calls them `freeze`, `mem` and `disk` (kernel/power/main.c, v6.1)."""

    IDLE = "idle"
    MEMORY = "memory"
    DISK = "disk"


AUTO_MOVABLE_RATIO = 301
"""The default of memory_hotplug.auto_movable_ratio: movable pages allowed for each kernel page, in percent."""


class ZoneType(StrEnum):
    """The zones of x86-64, lowest first, spelled as in sysfs and /proc/zoneinfo."""

    DMA = "DMA"
    """Below 16 MiB."""
    DMA32 = "DMA32"
    """Below 4 GiB."""
    NORMAL = "Normal"
    """All other memory the kernel may use for itself."""
    MOVABLE = "Movable"
    """Only what can be moved away again."""
    DEVICE = "Device"
    """Never populated here, but /proc/zoneinfo lists it."""


def block_size_bytes(block_size: int) -> str:
    """The `block_size_bytes` file: hexadecimal without a prefix."""
    return f"{block_size:x}"


def phys_index(block: int) -> str:
    """The `phys_index` file of the block of that id: eight hexadecimal digits."""
    return f"{block:08x}"
