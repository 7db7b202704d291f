"""Use of the pages of online memory: free, movable, unmovable, or withheld by a driver.

The grain is a pageblock: enough to see why a block does not go away. Boot memory never goes away,
so its users are only counted.

Differs: which pages a real kernel uses, and where it puts them, cannot be predicted; here the caller says
so, with a seed.

A kernel that has just booted fills its memory from the lowest address on, one that has run for weeks takes any free page:
`PageUsers.use` takes the share that is left to chance.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, repeat
from typing import TYPE_CHECKING

from virtiomem import border
from virtiomem.architecture import Architecture
from virtiomem.errors import OK, Errno, KernelError
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.use import PageUse
from virtiomem.memory.zone import Zone
from virtiomem.units import U64_MAX, format_size

if TYPE_CHECKING:
    from random import Random

Place = tuple[MemoryBlock, int]
"""A hotplugged block and the index of a pageblock in it."""


class PageUsers:
    """Users of pages and free places; knows online blocks by zone through `zones`."""

    def __init__(
        self, blocks: dict[int, MemoryBlock], zones: list[Zone], block_size: int, architecture: Architecture
    ) -> None:
        """`blocks` and `zones` (lowest first) are the core's own and change under us; `block_size` in bytes."""
        self._blocks = blocks
        self._zones = zones
        self._pages_per_block = architecture.pages(block_size)
        self._pageblocks = range(block_size // architecture.pageblock_size)
        self._pageblock_size = architecture.pageblock_size
        self._pageblock_pages = architecture.pages(architecture.pageblock_size)
        self._uses: dict[str, PageUse] = {}
        self._boot_used: Counter[Zone] = Counter()
        """Pageblocks used in each zone's boot memory, by all users."""
        self._kernel: PageUse | None = None
        """The kernel's own pages, where it has told of them: then users' pages, which move, are not followed."""

    def __iter__(self) -> Iterator[PageUse]:
        return iter([*self._uses.values(), *filter(None, [self._kernel])])

    def use(self, id_: str, size: int, *, movable: bool, seed: int = 0, scatter: float = 1.0) -> None:
        """Occupy `size` bytes, rounded up to pageblocks.

        The highest zone is filled first, movable users in Movable, others in the kernel zones only; where in a zone,
        the seed decides for the share `scatter` (0 to 1) of it, and the rest takes the lowest places that are free
        then. Raises KernelError: EEXIST for an id in use, ENOMEM when there is not enough room, and then nothing is
        taken; ArgumentError.
        """
        border.name("id", id_)
        border.integer("size", size)
        border.integer("seed", seed, -U64_MAX)
        border.real("scatter", scatter, 0, 1)
        if id_ in self._uses:
            raise KernelError(Errno.EEXIST, f"use {id_!r}: memory of that name is in use already")
        wanted = -(-size // self._pageblock_size)
        zonelist = self._zonelist(movable=movable)
        # Counted before anything is taken: a use that finds no room has changed nothing.
        rooms = [(zone, self._boot_room(zone), _Places(self._online(zone), self)) for zone in zonelist]
        available = sum(self._room(zone, boot + len(places)) for zone, boot, places in rooms)
        if wanted > available:
            room = format_size(available * self._pageblock_size)
            raise KernelError(Errno.ENOMEM, f"use {id_!r}: {format_size(size)} wanted, {room} free")
        use = self._uses[id_] = PageUse(id_, movable)
        # Known by its id, so that `free` finds it, but without pages: the kernel has told where those lie that count.
        if self._kernel is not None:
            return
        from random import Random  # not above: few runs have users of pages

        chance = Random(seed)
        for zone, boot, places in rooms:
            taken = min(wanted - use.pageblocks, self._room(zone, boot + len(places)))
            for index in _chosen(chance, boot + len(places), taken, scatter):
                if index < boot:
                    self._put_in_boot(use, zone)
                else:
                    self._put(use, *places[index - boot])

    def free(self, id_: str) -> None:
        """Give back what `use` took. Raises KernelError (ENOENT) for an unknown id; ArgumentError."""
        border.name("id", id_)
        use = self._uses.pop(id_, None)
        if use is None:
            raise KernelError(Errno.ENOENT, f"free {id_!r}: no memory of that name is in use")
        for number, index in use.places:
            self._take_from(self._blocks[number], index)
        self._boot_used.subtract(use.boot)
        for zone, pageblocks in use.boot.items():
            zone.used -= pageblocks * self._pageblock_pages

    def hold(self, places: Iterable[tuple[int, int]]) -> None:
        """Let the kernel have pages of its own in these places, and in no others: memory blocks, and which pageblock of each.

        Places that are in no kernel zone, or that a driver withholds, are passed over; the others count as free, for struct
        pages, which are counted, are among what lies there. From then on `use` takes no pages:
        what does not move is where the kernel told.
        """
        if self._kernel is not None:
            for number, index in self._kernel.places:
                # Not by `_take_from`: these never counted as used in their zone.
                del self._blocks[number].used[index]
        self._kernel = PageUse("the kernel", movable=False)
        for number, index in places:
            block = self._blocks.get(number)
            zone = block.zone if block is not None and not block.boot else None
            if block is not None and zone is not None and zone.is_kernel and not block.fake_offline >> index & 1:
                block.occupy(index, self._kernel)
                self._kernel.places.add((number, index))

    def clear(self) -> None:
        """Forget every user: the machine was reset."""
        for id_ in list(self._uses):
            self.free(id_)

    def unmovable_in(self, block: MemoryBlock, mask: int) -> int:
        """Count the pageblocks in `mask` that hold something that cannot be moved."""
        return sum(1 for index, use in block.used.items() if mask >> index & 1 and not use.movable)

    def evacuate(self, block: MemoryBlock, mask: int) -> Errno:
        """Move everything movable out of the pageblocks in `mask`: ENOMEM, and nothing moved, without enough room."""
        moving = [index for index in block.used if mask >> index & 1]
        if not moving:
            return OK
        # All places first: a move that stops halfway would have to be undone.
        targets = list(islice(self._targets(block, mask), len(moving)))
        if len(targets) < len(moving):
            return Errno.ENOMEM
        for index, (zone, place) in zip(moving, targets, strict=True):
            use = self._take_from(block, index)
            use.places.discard((block.id, index))
            if place is None:
                self._put_in_boot(use, zone)
            else:
                self._put(use, *place)
        return OK

    def _targets(self, block: MemoryBlock, mask: int) -> Iterator[tuple[Zone, Place | None]]:
        """Yield places where movable pages can go, highest zone first, but not into `mask` itself; None is boot memory."""
        for zone in self._zonelist(movable=True):
            places = (place for place in self._free_places(zone) if place[0] is not block or not mask >> place[1] & 1)
            boot = self._boot_room(zone)
            # Struct pages have no place, so some places only look free: no more than the zone has free pages.
            room = self._room(zone, boot + len(zone.online) * len(self._pageblocks))
            yield from islice(chain(zip(repeat(zone), places), repeat((zone, None), boot)), room)

    def _put(self, use: PageUse, block: MemoryBlock, index: int) -> None:
        block.occupy(index, use)
        use.places.add((block.id, index))
        assert block.zone is not None, f"{block} is in no zone"
        block.zone.used += self._pageblock_pages

    def _take_from(self, block: MemoryBlock, index: int) -> PageUse:
        """Take a pageblock from its user."""
        assert block.zone is not None, f"{block} is in no zone"
        block.zone.used -= self._pageblock_pages
        return block.used.pop(index)

    def _put_in_boot(self, use: PageUse, zone: Zone) -> None:
        use.boot[zone] = use.boot.get(zone, 0) + 1
        self._boot_used[zone] += 1
        zone.used += self._pageblock_pages

    def _room(self, zone: Zone, places: int) -> int:
        """Return how many of `places` free places can be used: struct pages take up the others, without a place of
        their own.
        """
        return min(places, (zone.managed - zone.used) // self._pageblock_pages)

    def _zonelist(self, *, movable: bool) -> list[Zone]:
        """Zones to allocate from, highest first."""
        return [zone for zone in reversed(self._zones) if zone.populated and (movable or zone.is_kernel)]

    def _boot_room(self, zone: Zone) -> int:
        """Free pageblocks in a zone's boot memory."""
        return max(zone.boot_managed // self._pageblock_pages - self._boot_used[zone], 0)

    def _free_places(self, zone: Zone) -> Iterator[Place]:
        """Free pageblocks in a zone's hotplugged blocks, lowest address first."""
        for block in self._online(zone):
            for index in self._free_in(block):
                yield block, index

    def _online(self, zone: Zone) -> list[MemoryBlock]:
        """A zone's hotplugged blocks, lowest address first."""
        return [self._blocks[start_pfn // self._pages_per_block] for start_pfn in sorted(zone.online)]

    def _free_in(self, block: MemoryBlock) -> Sequence[int]:
        """Free pageblocks of a block, ascending."""
        possible = self._pageblocks[block.memmap_pageblocks :]
        return [index for index in possible if not block.fake_offline >> index & 1 and index not in block.used]

    def _count_free(self, block: MemoryBlock) -> int:
        """Number of free pageblocks of a block."""
        if block.memmap_pageblocks:
            return len(self._free_in(block))
        return len(self._pageblocks) - block.fake_offline.bit_count() - len(block.used)  # none is both: see check()

    def check(self) -> None:
        """Assert that users and blocks agree."""
        for use in self:
            for number, index in use.places:
                block = self._blocks[number]
                assert block.used.get(index) is use, f"{block}: pageblock {index} is not where {use.id!r} thinks it is"
                assert block.zone is not None, f"{block}: offline but used by {use.id!r}"
                assert not block.fake_offline >> index & 1, f"{block}: pageblock {index} is both used and fake-offline"
                assert use.movable or block.zone.is_kernel, f"{block}: unmovable {use.id!r} lies in Movable"
        assert +self._boot_used == sum((Counter(use.boot) for use in self), Counter()), "boot memory is miscounted"
        placed = sum(len(use.places) for use in self)
        assert placed == sum(len(block.used) for block in self._blocks.values()), "a used pageblock has no user"


class _Places:
    """Free places of some blocks, by number, as they were before any of them is taken; listed where one is asked for."""

    def __init__(self, blocks: Sequence[MemoryBlock], users: PageUsers) -> None:
        self._blocks = blocks
        self._users = users
        self._ends = list(accumulate(users._count_free(block) for block in blocks))
        self._free: dict[int, Sequence[int]] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Place:
        at = bisect_right(self._ends, number)
        block = self._blocks[at]
        if at not in self._free:
            self._free[at] = self._users._free_in(block)
        return block, self._free[at][number - self._ends[at]]


def _chosen(chance: "Random", places: int, taken: int, scatter: float) -> Iterable[int]:
    """Choose as many of the free places as are taken: boot memory's come first, then ascending addresses."""
    # All are drawn and only some used: with another `scatter` the same seed begins with the same places.
    anywhere = chance.sample(range(places), taken)[: round(taken * scatter)]
    if len(anywhere) == taken:
        return anywhere
    there = set(anywhere)
    return chain(anywhere, islice((place for place in range(places) if place not in there), taken - len(anywhere)))
