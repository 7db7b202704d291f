"""The state of the memory hot(un)plug core: nodes, zones, blocks, groups, and who listens.

The verbs are in `hotplug` (adding, removing), `onlining` (online, offline) and `contig` (taking exact ranges of pages).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import NoneType

from virtiomem import border
from virtiomem.abi import BlockState, ZoneType
from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.errors import OK, ArgumentValueError, Errno
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.faults import Faults
from virtiomem.memory.group import MemoryGroups
from virtiomem.memory.notifier import MemoryEvent, MemoryNotify, NotifierChain
from virtiomem.memory.pages import PageUsers
from virtiomem.memory.settings import Policy
from virtiomem.memory.vmemmap import Vmemmap
from virtiomem.memory.zone import Node, Zone, populate_boot_zones
from virtiomem.releases.linux import DEFAULT, LinuxRelease
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.resource.walk import walk_system_ram_res
from virtiomem.units import U64_MAX, GiB, Span, align_down, align_up, format_size

MAX_BLOCKS = 1 << 19
"""Memory blocks that one kernel can have: 64 TiB of the smallest.

Differs: Linux has no such limit; it would run out of memory for their struct pages."""
MAX_NODE = (1 << 10) - 1
"""The highest number of a NUMA node (NODES_SHIFT 10)."""

OnlinePageCallback = Callable[[int, int], None]
"""Called with start and size, in bytes, of memory going online: hands each page to the allocator, or withholds it."""


def boot_ram(iomem: ResourceTree, architecture: Architecture = DEFAULT_ARCHITECTURE) -> list[Span]:
    """Boot memory: what has memory blocks at the top level of a boot-time tree, ascending."""
    return [Span(res.start, res.end + 1) for res in iomem.children if res.name in architecture.boot_names]


def probe_memory_block_size(boot_end: int, architecture: Architecture = DEFAULT_ARCHITECTURE) -> int:
    """The memory block size of a virtual machine whose boot RAM ends at `boot_end` (bytes).

    Models: probe_memory_block_size() in arch/x86/mm/init_64.c (v6.1), with a hypervisor present.
    """
    # Small machines keep the smallest block, so that hotplug stays fine-grained; more memory would make too many files
    # in sysfs.
    if boot_end < 64 * GiB:
        return architecture.section_size
    size = architecture.max_block_size
    while size > architecture.section_size and boot_end % size:
        size //= 2
    return size


def _check_nodes(nodes: Mapping[int, Sequence[Span]] | None) -> None:
    """Refuse what cannot be the boot memory of NUMA nodes."""
    border.instance("nodes", nodes, Mapping, NoneType)
    for nid, spans in (nodes or {}).items():
        border.integer("a node's number", nid, 0, MAX_NODE)
        border.instance("a node's memory", spans, list, tuple)
        for span in spans:
            border.instance("a node's memory", span, Span)
            border.integer("the start of a node's memory", span.start)
            border.integer("the end of a node's memory", span.stop, span.start, U64_MAX + 1)
    ranges = sorted(span for spans in (nodes or {}).values() for span in spans)
    for low, high in pairwise(ranges):
        if low.overlaps(high):
            raise ArgumentValueError(f"the memory of nodes must not overlap, as {low} and {high} do")


class Memory:
    """All memory of one kernel. Sizes and addresses are bytes; zones and groups count pages."""

    def __init__(
        self,
        iomem: ResourceTree,
        *,
        block_size: int | None = None,
        policy: Policy | None = None,
        nodes: Mapping[int, Sequence[Span]] | None = None,
        hotpluggable_end: int | None = None,
        release: LinuxRelease = DEFAULT,
        architecture: Architecture = DEFAULT_ARCHITECTURE,
        knows_domains: bool = True,
        cma: int | None = None,
        free: int | None = None,
    ) -> None:
        """Boot: every top-level System RAM resource in `iomem` is boot memory.

        `block_size`: bytes, a power of two from 128 MiB to 2 GiB on x86-64; None for what the architecture chooses.
        `nodes`: the boot memory of each NUMA node; None for a single node 0. `hotpluggable_end`: the last address that
        can be added; None for the architecture's. `release`: the Linux that core and driver behave as. `knows_domains`:
        firmware says which node a proximity domain is (SRAT). `cma`: bytes of the contiguous memory allocator, None for
        the architecture's. `free`: bytes that are free after boot, and that new memory is paid with; None: there is
        always enough. Raises ArgumentError for impossible values, and for more than `MAX_BLOCKS` memory blocks.
        """
        border.instance("iomem", iomem, ResourceTree)
        border.instance("architecture", architecture, Architecture)
        if block_size is not None:
            border.power_of_two("block_size", block_size, architecture.section_size, architecture.max_block_size)
        border.instance("policy", policy, Policy, NoneType)
        if hotpluggable_end is not None:
            border.integer("hotpluggable_end", hotpluggable_end)
        border.instance("release", release, LinuxRelease)
        border.integer("cma", 0 if cma is None else cma)
        border.integer("free", 0 if free is None else free)
        _check_nodes(nodes)
        ram = boot_ram(iomem, architecture)
        pluggable = architecture.pluggable(ram[0].start if ram else 0)
        # A plain int, whatever kind was given: a subclass, such as a Size of a scenario, is slow in every calculation.
        self.block_size = int(block_size or probe_memory_block_size(ram[-1].stop if ram else 0, architecture))
        self.iomem = iomem
        self.release = release
        self.architecture = architecture
        self.page_size = architecture.page_size
        self.pageblock_size = architecture.pageblock_size
        self.pages_per_block = architecture.pages(self.block_size)
        self.pageblocks_per_block = self.block_size // self.pageblock_size
        self.hotpluggable_start = pluggable.start
        self.hotpluggable_end = pluggable.stop - 1 if hotpluggable_end is None else hotpluggable_end
        self.policy = policy or Policy()
        self.nodes = {nid: Node(nid, spans) for nid, spans in (nodes or {0: [Span(0, 1 << 64)]}).items()}
        self.blocks: dict[int, MemoryBlock] = {}
        self.groups = MemoryGroups(self.pages_per_block)
        self.notifiers = NotifierChain()
        self.online_page_callback: OnlinePageCallback | None = None
        self.faults = Faults()
        self.firmware_map: list[Span] = []
        """Hotplugged entries of /sys/firmware/memmap: what an ordinary kexec will know of."""
        self.knows_domains = knows_domains
        self._boot(ram)
        self._reserve_cma(ram, (architecture.cma_size or 0) if cma is None else cma)
        if architecture.keeps_boot_memory:
            # Before any driver's notifier, as on arm64: of equal priorities the one that came first is asked first.
            self.notifiers.register(self._keep_boot_memory)
        # By type before node: users fill the highest zones of all nodes before a lower zone of any.
        zones = [zone for type_ in ZoneType for node in self.nodes.values() for zone in [node.zones[type_]]]
        self.vmemmap = Vmemmap(self.nodes, architecture, release, self.block_size)
        # After `_boot`: it has counted the pages that these are part of.
        if free is not None:
            self.vmemmap.boot_with(free // self.page_size)
        self.users = PageUsers(self.blocks, zones, self.block_size, architecture)

    def __repr__(self) -> str:
        online = sum(block.state is BlockState.ONLINE for block in self.blocks.values())
        return f"<Memory: {len(self.blocks)} blocks of {format_size(self.block_size)}, {online} online>"

    def _boot(self, ram: list[Span]) -> None:
        """Set up zones and blocks of boot memory. Models: memory_dev_init() in drivers/base/memory.c."""
        for node in self.nodes.values():
            mine = [part.clipped(span) for part in ram for span in node.memory]
            node.ram = tuple(sorted(span for span in mine if span.size))
            populate_boot_zones(node, self.architecture)
        # Rounded outwards: a block that boot memory only reaches into exists, too.
        parts = [range(part.start // self.block_size, -(-part.stop // self.block_size)) for part in ram]
        # Before the first block is made: one line of a map may claim all of 64 bits.
        if (count := sum(ids.stop - ids.start for ids in parts)) > MAX_BLOCKS:
            raise ArgumentValueError(f"iomem must have boot memory of at most {MAX_BLOCKS} memory blocks, not {count}")
        for ids in parts:
            for id_ in ids:
                # Two pieces of boot memory may share a block.
                if id_ not in self.blocks:
                    self._add_boot_block(id_)

    def _reserve_cma(self, ram: list[Span], size: int) -> None:
        """Count the contiguous memory allocator's pages in the zone of the highest boot memory below 4G.

        Models: dma_contiguous_reserve_area(), which does without when there is no room.
        """
        below = [part for part in ram if part.start < self.architecture.zones[-1][1].start]
        if not below or not size:
            return
        top = below[-1].clipped(Span(0, self.architecture.zones[-1][1].start)).stop
        span = Span(align_down(top - align_up(size, self.pageblock_size), self.pageblock_size), top)
        owner = next((node for node in self.nodes.values() if any(part.contains(span) for part in node.ram)), None)
        if owner is not None:
            zone = owner.kernel_zone_for(span.start // self.page_size, 1)
            zone.cma = align_up(size, self.pageblock_size) // self.page_size

    def _keep_boot_memory(self, event: MemoryEvent, notify: MemoryNotify) -> Errno:
        """Refuse that boot memory goes offline. Models: prevent_bootmem_remove_notifier() in arch/arm64/mm/mmu.c (v6.1)."""
        if event is MemoryEvent.GOING_OFFLINE and self.blocks[notify.start // self.block_size].boot:
            return Errno.EPERM
        return OK

    def _add_boot_block(self, id_: int) -> None:
        """A block of one node has the zone that all its memory is in. Models: early_node_zone_for_memory_block()."""
        span = self.span_of(id_)
        owners = [node for node in self.nodes.values() if any(part.overlaps(span) for part in node.ram)]
        # Of several nodes the last: Linux links the block to each in turn, and every link sets its node.
        block = MemoryBlock(id_, owners[-1].nid if owners else min(self.nodes), boot=True)
        block.state = BlockState.ONLINE
        start_pfn, pages = id_ * self.pages_per_block, self.pages_per_block
        touched = [zone for node in owners for zone in node if zone.populated and zone.intersects(start_pfn, pages)]
        # A boot block may lie in DMA and in DMA32. Without one zone of its own Linux never takes it offline.
        block.zone = touched[0] if len(touched) == 1 else None
        self.blocks[id_] = block

    def span_of(self, block_id: int) -> Span:
        """The bytes of a memory block."""
        return Span.of_block(block_id, self.block_size)

    def blocks_in(self, start: int, size: int) -> Iterator[MemoryBlock]:
        """The blocks that exist in a block-aligned range, ascending (walk_memory_blocks())."""
        ids: Iterable[int] = range(start // self.block_size, (start + size) // self.block_size)
        if size // self.block_size > len(self.blocks):  # a range far larger than what is there
            # Looking at each id of a terabyte that was never plugged would cost more than sorting what there is.
            ids = sorted(id_ for id_ in self.blocks if id_ in ids)
        for id_ in ids:
            block = self.blocks.get(id_)
            if block is not None:
                yield block

    def is_aligned(self, start: int, size: int) -> bool:
        """True for a non-empty range of whole blocks."""
        return size > 0 and start % self.block_size == 0 and size % self.block_size == 0

    def node_of(self, address: int) -> int:
        """The node that firmware says the address belongs to, else the lowest (phys_to_target_node())."""
        if not self.architecture.looks_up_nodes:
            return min(self.nodes)
        owners = (node.nid for node in self.nodes.values() for span in node.memory if span.start <= address < span.stop)
        return next(owners, min(self.nodes))

    def zone_of(self, address: int) -> Zone | None:
        """The zone of the online memory at an address; None when offline or in several zones."""
        block = self.blocks.get(address // self.block_size)
        return block.zone if block is not None else None

    def mask_of(self, start: int, size: int) -> tuple[MemoryBlock, int]:
        """The block that a range lies in and a bit for each of its pageblocks.

        The range must be whole pageblocks of one existing block.
        """
        block = self.blocks[start // self.block_size]
        offset, pageblock = start % self.block_size, self.pageblock_size
        assert offset + size <= self.block_size, f"{Span.sized(start, size)} crosses memory blocks"
        return block, ((1 << size // pageblock) - 1) << offset // pageblock

    def is_system_ram(self, start: int, size: int) -> bool:
        """True when busy System RAM covers all of a range."""
        res = self.iomem.lookup(start)
        while res is not None and not res.busy:
            res = res.lookup(start)
        if res is not None and res.contains(start, start + size - 1):  # one resource holds it: nearly always
            return res.flags & IORESOURCE_SYSTEM_RAM == IORESOURCE_SYSTEM_RAM
        return sum(part.size for part in self.system_ram_in(Span.sized(start, size))) == size

    def system_ram_in(self, span: Span) -> Iterator[Span]:
        """The busy System RAM in a span, clipped to it (walk_system_ram_res())."""
        for part in walk_system_ram_res(self.iomem, span.start, span.stop - 1):
            yield Span(part.start, part.end + 1)

    def pages_state(self) -> list[object]:
        """All that decides what becomes of a page that is to go: the same again, and the same will come of it."""
        blocks = [
            (block.id, block.state, block.zone, block.fake_offline, block.dropped, block.used.copy())
            for block in self.blocks.values()
        ]
        return [blocks, [use.boot.copy() for use in self.users], self.faults.pending()]

    def check(self) -> None:
        """Assert the core's invariants, and that tree, blocks, zones and groups agree."""
        self.iomem.check()
        self.notifiers.check()
        for node in self.nodes.values():
            node.check()
        self.users.check()
        for id_, block in self.blocks.items():
            self._check_block(id_, block)
        for group in self.groups:
            mine = [block for block in self.blocks.values() if block.group is group]
            kernel = sum(1 for block in mine if block.zone is not None and block.zone.is_kernel)
            movable = sum(1 for block in mine if block.zone is not None and not block.zone.is_kernel)
            assert group.blocks == len(mine), f"group {group.id} miscounts its blocks"
            assert group.present_kernel == kernel * self.pages_per_block, f"group {group.id} miscounts kernel pages"
            assert group.present_movable == movable * self.pages_per_block, f"group {group.id} miscounts movable pages"

    def _check_block(self, id_: int, block: MemoryBlock) -> None:
        assert block.id == id_, f"{block} is filed under {id_}"
        assert block.state is not BlockState.GOING_OFFLINE, f"{block} never arrived"
        if block.boot:
            assert block.state is BlockState.ONLINE, f"{block} is boot memory and not online"
            return
        start_pfn = id_ * self.pages_per_block
        if block.state is BlockState.ONLINE:
            assert block.zone is not None, f"{block} is online in no zone"
            assert block.zone.online.get(start_pfn) == self.pages_per_block, f"{block} is not counted in its zone"
        else:
            assert block.zone is None, f"{block} is offline but in a zone"
            assert not block.used, f"{block} is offline but in use"
            assert not block.fake_offline, f"{block} is offline but has fake-offline pages"
        assert self.is_system_ram(id_ * self.block_size, self.block_size), (
            f"{block} is not all System RAM in the resource tree"
        )
