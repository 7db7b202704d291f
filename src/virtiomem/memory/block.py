"""Memory blocks: the units that sysfs shows as memoryN and that go online and offline as a whole.

Models: struct memory_block (drivers/base/memory.c, v6.1).
"""

from virtiomem.abi import BlockState
from virtiomem.memory.group import MemoryGroup
from virtiomem.memory.use import PageUse
from virtiomem.memory.vmemmap import NOTHING, Parts
from virtiomem.memory.zone import Zone

_NO_PAGES: frozenset[int] = frozenset()
_NO_USERS: dict[int, PageUse] = {}
"""The map that all unused blocks share; nothing is ever put in."""


class MemoryBlock:
    """One memory block; `id` is its address divided by the block size, in decimal in sysfs."""

    __slots__ = (
        "boot",
        "dropped",
        "fake_offline",
        "group",
        "id",
        "memmap_pageblocks",
        "nid",
        "paid",
        "poisoned",
        "state",
        "used",
        "zone",
    )

    def __init__(
        self, id_: int, nid: int, group: MemoryGroup | None = None, *, boot: bool = False, memmap_pageblocks: int = 0
    ) -> None:
        self.id = id_
        self.nid = nid
        self.group = group
        self.boot = boot
        self.memmap_pageblocks = memmap_pageblocks
        """How many of its first pageblocks take its own struct pages; they are never handed out."""
        self.paid: Parts = NOTHING
        """Pages elsewhere that it costs: its struct pages, unless they are inside, and what else describes it."""
        self.state = BlockState.OFFLINE
        self.zone: Zone | None = None
        """The one zone of an online block; None when offline, or for boot memory that lies in several."""
        self.fake_offline = 0
        """A bit for each pageblock that a driver withholds from the page allocator."""
        self.dropped = 0
        """The part of `fake_offline` that memory offlining may skip, because the driver dropped its reference."""
        self.poisoned = _NO_PAGES
        """Addresses of pages that the hardware has lost."""
        self.used = _NO_USERS
        """Who occupies which pageblock; free ones are left out. `occupy` puts them in."""

    def occupy(self, pageblock: int, use: PageUse) -> None:
        """Note who has a pageblock."""
        if not self.used:
            self.used = {}
        self.used[pageblock] = use

    def __repr__(self) -> str:
        return f"<memory{self.id} {self.state} {self.zone.type if self.zone else 'none'}>"
