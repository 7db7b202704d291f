"""Architectures of Linux as data: a row for each, and for each page size where there are several.

Everyone reads a field of the row at hand; no other module writes these numbers, or asks which architecture it is. What cannot
know its architecture, such as a listing on its own, takes `DEFAULT`.
"""

from typing import NamedTuple

from virtiomem.abi import ZoneType
from virtiomem.units import GiB, KiB, MiB, Span, align_down


class Architecture(NamedTuple):
    """What Linux takes for given on an architecture; sizes in bytes."""

    name: str
    page_size: int
    pageblock_size: int
    """What the page allocator can be asked to give up as a whole (pageblock_order)."""
    section_size: int
    """A memory section (SECTION_SIZE_BITS): the smallest memory block."""
    max_block_size: int
    """The largest memory block. If it equals `section_size`, every block has that size."""
    transparent_huge_page: int
    """A huge page of the page tables' second level: what QEMU on such a host takes for a device's block size."""
    zones: tuple[tuple[ZoneType, Span], ...]
    """Where boot memory of each zone lies, lowest first."""
    linear_map_size: int
    """How much of physical memory can be mapped, and so hotplugged (arch_get_mappable_range())."""
    kvm_memory_slots: int
    """Memory slots that KVM leaves to its user: KVM_USER_MEM_SLOTS, SHRT_MAX without KVM's own (v6.1)."""
    family: str = "x86-64"
    """What rows of the same architecture and other page sizes have in common."""
    elf_machine: int = 62
    """EM_X86_64, or what stands in its place in an ELF header."""
    debian: str = "amd64"
    """What Debian calls it."""
    kernel_name: str = "x86_64"
    """What Linux calls it (uname -m, /proc/sys/kernel/arch)."""
    direct_map: int = 0xFFFF_8880_0000_0000
    """Where the kernel maps all of memory, with the usual page tables and no KASLR: `map_base`."""
    maps_from_memory_start: bool = False
    """The direct map begins with the start of memory, rounded down as the linear map is; else with address 0."""
    reserves_inside_ram: bool = False
    """The map shows what boot reserved as `reserved`, inside System RAM."""
    dumps_first_mib: bool = False
    """A crash header has the first MiB of memory; else the kernel keeps that for the crash kernel's own use."""
    dumps_memblock: bool = False
    """The kernel makes a crash header of memblock, where neighbours that drivers manage are one; else of the map's lines."""
    exact_system_ram: bool = False
    """kexec-tools dumps what is called `System RAM` and nothing else, in a table that grows; else all that has the words."""
    keeps_crash_header: bool = True
    """The kernel can keep a loaded crash header up to date (ARCH_SUPPORTS_CRASH_HOTPLUG)."""
    console_parameters: str = "console=ttyS0 no_timer_check"
    """The kernel parameters that make it print on the first serial port: empty where the firmware says which it is. (A
    busy host makes x86's test of the timer fail under emulation.)"""
    linear_map_alignment: int = 0
    """Where that starts: boot memory, rounded down to a multiple of this; 0: it starts at address 0."""
    boot_names: frozenset[str] = frozenset({"System RAM"})
    """Top-level resources of the boot map that have memory blocks."""
    has_kexec_file_load: bool = True
    """Debian builds Linux with the system call that makes the header of a crash kernel itself (CONFIG_KEXEC_FILE)."""
    keeps_boot_memory: bool = False
    """Linux itself refuses to take boot memory offline (EPERM)."""
    looks_up_nodes: bool = True
    """Where a proximity domain is unknown, memory goes to the node whose range it lies in; else to the first node."""
    cma_size: int | None = None
    """The contiguous memory allocator's area where the command line says nothing; None: Debian builds without it."""

    def pluggable(self, boot_start: int) -> Span:
        """Return the range that can be hotplugged, given where boot memory starts (mhp_get_pluggable_range())."""
        base = align_down(boot_start, self.linear_map_alignment) if self.linear_map_alignment else 0
        return Span.sized(base, self.linear_map_size)

    def map_base(self, boot_start: int) -> int:
        """Return the offset from physical to direct-map addresses, given where boot memory starts."""
        start = self.pluggable(boot_start).start if self.maps_from_memory_start else 0
        return (self.direct_map - start) % (1 << 64)

    def pages(self, size: int) -> int:
        """The whole pages in a number of bytes."""
        return size // self.page_size


X86_64 = Architecture(
    name="x86-64",
    page_size=4 * KiB,
    pageblock_size=2 * MiB,
    section_size=128 * MiB,
    max_block_size=2 * GiB,
    transparent_huge_page=2 * MiB,
    zones=(
        (ZoneType.DMA, Span(0, 16 * MiB)),
        (ZoneType.DMA32, Span(16 * MiB, 4 * GiB)),
        (ZoneType.NORMAL, Span(4 * GiB, 1 << 64)),
    ),
    linear_map_size=1 << 52,
    kvm_memory_slots=32764,
)
"""Five-level paging. Sources: zone_sizes_init() in arch/x86/mm/init.c, probe_memory_block_size() in arch/x86/mm/init_64.c."""

ARM64 = Architecture(
    name="arm64",
    family="arm64",
    elf_machine=183,
    debian="arm64",
    kernel_name="aarch64",
    direct_map=0xFFFF_0000_0000_0000,
    maps_from_memory_start=True,
    reserves_inside_ram=True,
    dumps_first_mib=True,
    dumps_memblock=True,
    exact_system_ram=True,
    keeps_crash_header=False,
    page_size=4 * KiB,
    pageblock_size=2 * MiB,
    section_size=128 * MiB,
    max_block_size=128 * MiB,
    transparent_huge_page=2 * MiB,
    zones=((ZoneType.DMA, Span(0, 4 * GiB)), (ZoneType.NORMAL, Span(4 * GiB, 1 << 64))),
    linear_map_size=1 << 47,
    kvm_memory_slots=32767,
    linear_map_alignment=GiB,
    boot_names=frozenset({"System RAM", "reserved"}),
    keeps_boot_memory=True,
    has_kexec_file_load=False,
    console_parameters="",
    looks_up_nodes=False,
    cma_size=64 * MiB,
)
"""48 bits of address; zone DMA32 is always empty, since nothing in QEMU's tables limits DMA to less than 4G. Sources:
arch/arm64/mm/init.c, arch/arm64/mm/mmu.c, arch/arm64/include/asm/sparsemem.h."""

ARM64_16K = ARM64._replace(
    name="arm64-16k",
    direct_map=0xFFFF_8000_0000_0000,
    page_size=16 * KiB,
    pageblock_size=32 * MiB,
    transparent_huge_page=32 * MiB,
    linear_map_size=1 << 46,
)
"""47 bits of address: Debian builds it for 52, and a processor without LPA2, as QEMU's, has 47 (VA_BITS_MIN)."""
ARM64_64K = ARM64._replace(
    name="arm64-64k",
    page_size=64 * KiB,
    pageblock_size=512 * MiB,
    section_size=512 * MiB,
    max_block_size=512 * MiB,
    transparent_huge_page=512 * MiB,
    linear_map_alignment=512 * MiB,
)

# A family's usual page size comes first: `find` takes the first row when no page size is given.
ARCHITECTURES = (X86_64, ARM64, ARM64_16K, ARM64_64K)

FAMILIES = tuple(dict.fromkeys(row.family for row in ARCHITECTURES))

DEFAULT = X86_64
"""The architecture where none is named."""


def find(family: str, page_size: int | None = None) -> Architecture | None:
    """The row of an architecture and a page size in bytes, its usual one when None; None when there is no such row."""
    rows = (row for row in ARCHITECTURES if row.family == family and page_size in (None, row.page_size))
    return next(rows, None)


def named(kernel_name: str, page_size: int | None = None) -> Architecture | None:
    """The row of what Linux calls itself (``aarch64``); see `find`."""
    families = (row.family for row in ARCHITECTURES if row.kernel_name == kernel_name)
    return find(next(families, ""), page_size)
