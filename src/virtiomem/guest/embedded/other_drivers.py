"""Other drivers that add memory, each with its own flags and names.

Models: acpi_memory_enable_device(), acpi_scan_try_to_offline() (drivers/acpi), dev_dax_kmem_probe()
(drivers/dax/kmem.c), reserve_additional_memory() (drivers/xen/balloon.c), hv_mem_hot_add() (drivers/hv/hv_balloon.c),
v6.1.
"""

from itertools import count

from virtiomem import border
from virtiomem.errors import Errno, KernelError
from virtiomem.guest.embedded.hardware import Dimm
from virtiomem.memory import (
    MHP_MEMMAP_ON_MEMORY,
    MHP_MERGE_RESOURCE,
    MHP_NID_IS_MGID,
    Memory,
    MemoryBlock,
    hotplug,
    memmap,
)
from virtiomem.memory.onlining import device_offline, device_online
from virtiomem.memory.refusal import no_struct_pages, why_not_offline, why_refused
from virtiomem.reasons import Reason
from virtiomem.resource.flags import BUSY_RAM, IORESOURCE_SYSTEM_RAM
from virtiomem.resource.names import KMEM_RAM, SYSTEM_RAM
from virtiomem.resource.tree import Resource, ResourceConflict
from virtiomem.units import U64_MAX, KiB, MiB, Span, align_down, align_up

HYPERV_CHUNK = 128 * MiB
"""Hyper-V adds memory in pieces of this size (HA_CHUNK)."""
HYPERV_MESSAGE = 4 * KiB << 24
"""A message that asks to add memory counts its pages of 4K (HV_HYP_PAGE_SIZE) in 24 bits (union dm_mem_page_range)."""


class AcpiMemory:
    """DIMMs as ACPI brings them: plain System RAM, one resource each, never merged."""

    def __init__(self, memory: Memory) -> None:
        self.refused: dict[str, Reason] = {}
        """Why the kernel did not add a DIMM's memory, by the DIMM's id."""
        self.holding: list[Reason] = []
        """Reasons why the last DIMM to be removed stayed."""
        self._memory = memory
        self._groups: dict[str, int] = {}

    def add(self, dimm: Dimm) -> Errno:
        """Add a DIMM's memory as a static group; memory that exists already (EEXIST) is not an error."""
        mgid = self._memory.groups.register_static(dimm.node, max(dimm.size // self._memory.page_size, 1))
        flags = MHP_MEMMAP_ON_MEMORY if memmap.pageblocks_inside(self._memory, dimm.size) else 0
        # Before the attempt, which changes what is free.
        short = None if flags else no_struct_pages(self._memory, dimm.node, dimm.size)
        rc = hotplug.add_memory(self._memory, mgid, dimm.addr, dimm.size, MHP_NID_IS_MGID | flags)
        if rc not in (Errno.OK, Errno.EEXIST):
            self._memory.groups.unregister(mgid)
            refused = short if rc is Errno.ENOMEM else None
            self.refused[dimm.id] = refused or why_refused(self._memory, dimm.node, dimm.addr, dimm.size, rc)
            return rc
        self._groups[dimm.id] = mgid
        return Errno.OK

    def remove(self, dimm: Dimm) -> Errno:
        """Remove a DIMM's memory; EBUSY, with everything as before, when some of it cannot go offline.

        Differs: EINVAL for a DIMM that does not cover whole memory blocks and part of which already existed; Linux stops
        with a BUG.
        """
        self.holding = []
        # A DIMM that Linux never took is given back without a question.
        mgid = self._groups.get(dimm.id)
        if mgid is None:
            self.refused.pop(dimm.id, None)
            return Errno.OK
        if not self._memory.is_aligned(dimm.addr, dimm.size):
            return Errno.EINVAL
        if not self._offline(list(self._memory.blocks_in(dimm.addr, dimm.size))):
            return Errno.EBUSY
        hotplug.remove_memory(self._memory, dimm.addr, dimm.size)
        self._memory.groups.unregister(mgid)
        del self._groups[dimm.id]
        return Errno.OK

    def _offline(self, blocks: list[MemoryBlock]) -> bool:
        """Take all blocks offline, or none.

        What could not go at first is tried once more after the others, up to the first that cannot go even then.
        """
        rcs = [device_offline(self._memory, block) for block in blocks]
        for at, block in enumerate(blocks):
            if rcs[at]:
                rcs[at] = device_offline(self._memory, block)
                if rcs[at]:
                    break
        else:
            return True
        held = [why_not_offline(self._memory, block, rc) for rc, block in zip(rcs, blocks, strict=True) if rc]
        self.holding = [reason for reason in held if reason is not None]
        for rc, block in zip(rcs, blocks, strict=True):
            if rc is Errno.OK:
                device_online(self._memory, block)
        return False


class OtherDrivers:
    """Drivers that a scenario's add-memory stands for."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._dax = count()

    def add(self, kind: str, memaddr: int | None, size: int, node: int) -> None:
        """Add memory as dax/kmem, or the Xen or Hyper-V balloon, would. Raises KernelError when the kernel refuses."""
        border.integer("node", node, 0, hotplug.MAX_INT)
        if (memaddr or 0) + size > U64_MAX:
            raise KernelError(Errno.E2BIG, f"add-memory {kind}: {size:#x} bytes at {memaddr or 0:#x}")
        match kind:
            case "kmem":
                rc = self._add_kmem(_required(kind, memaddr), size, node)
            case "hyperv":
                rc = self._add_hyperv(_required(kind, memaddr), size, node)
            case _:
                rc = self._add_xen(memaddr, size, node)
        if rc:
            raise KernelError(rc, f"add-memory {kind}: {self._why(kind, memaddr, size, node, rc)}")

    def _why(self, kind: str, memaddr: int | None, size: int, node: int, rc: Errno) -> str:
        """Describe what refused the memory."""
        if memaddr is None or node not in self._memory.nodes:
            return f"{size:#x} bytes"
        start = memaddr
        if kind == "hyperv":  # the first chunk that is not there
            chunks = range(memaddr, memaddr + size, HYPERV_CHUNK)
            start = next((at for at in chunks if at // self._memory.block_size not in self._memory.blocks), memaddr)
            size = HYPERV_CHUNK
        return str(why_refused(self._memory, node, start, size, rc))

    def _add_kmem(self, memaddr: int, size: int, node: int) -> Errno:
        """Whole memory blocks inside the range, under a resource named for the dax device, never merged."""
        span = Span.sized(memaddr, size)
        inner = Span(align_up(span.start, self._memory.block_size), align_down(span.stop, self._memory.block_size))
        if not inner.size:
            return Errno.EINVAL
        if node not in self._memory.nodes:
            return Errno.EINVAL
        try:
            parent = self._memory.iomem.request_region(inner.start, inner.size, f"dax{next(self._dax)}.0")
        except ResourceConflict:
            return Errno.EBUSY
        # Exactly this, as kmem sets it: not busy, so that the memory can be requested inside.
        parent.flags = IORESOURCE_SYSTEM_RAM
        mgid = self._memory.groups.register_static(node, inner.size // self._memory.page_size)
        rc = hotplug.add_memory_driver_managed(self._memory, mgid, inner.start, inner.size, KMEM_RAM, MHP_NID_IS_MGID)
        if rc:
            self._memory.iomem.release_resource(parent)
            self._memory.groups.unregister(mgid)
        return rc

    def _add_hyperv(self, memaddr: int, size: int, node: int) -> Errno:
        """One chunk after another, merged; the first that fails ends it. More than one message names is EINVAL."""
        if size >= HYPERV_MESSAGE:
            return Errno.EINVAL
        for start in range(memaddr, memaddr + size, HYPERV_CHUNK):
            if rc := hotplug.add_memory(self._memory, node, start, HYPERV_CHUNK, MHP_MERGE_RESOURCE):
                return rc
        return Errno.OK

    def _add_xen(self, memaddr: int | None, size: int, node: int) -> Errno:
        """Whole sections at an address, or in the lowest gap of the tree that holds them; merged.

        Sections, not memory blocks: where blocks are larger, most gaps will not do, and the memory is refused.
        """
        section = self._memory.architecture.section_size
        size = align_up(size, section)
        resource = Resource(0, 0, SYSTEM_RAM, BUSY_RAM)
        low = 0 if memaddr is None else memaddr
        high = self._memory.hotpluggable_end if memaddr is None else memaddr + size - 1
        try:
            self._memory.iomem.allocate_resource(self._memory.iomem, resource, size, min=low, max=high, align=section)
        except KernelError as error:
            return error.errno
        if rc := hotplug.add_memory_resource(self._memory, node, resource, MHP_MERGE_RESOURCE):
            self._memory.iomem.release_resource(resource)
            return rc
        return Errno.OK


def _required(kind: str, memaddr: int | None) -> int:
    if memaddr is None:
        raise KernelError(Errno.EINVAL, f"add-memory {kind}: needs a memaddr")
    return memaddr
