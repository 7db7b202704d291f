"""Table of every file and directory that a capture reads, what it keeps of each, and why.

This table is all there is to it: `collect` and `script` read nothing that does not stand here. Left out on purpose:
host names, user names, processes, network, disks, the kernel's virtual addresses (KASLR), and every kernel parameter
that says nothing of memory, for those may hold keys and passwords. What remains that an unprivileged user cannot see
are physical addresses (/proc/iomem, notes of a crash kernel): give a capture to those who may know them.
"""

from dataclasses import dataclass
from typing import Literal

from virtiomem.driver.messages import MODULE
from virtiomem.recording.zoneinfo import COUNTERS

SectionKind = Literal[
    "header", "file", "lines", "words", "directory", "blocks", "devices", "log", "notes", "pages", "dimms", "dax"
]


@dataclass(frozen=True, slots=True)
class SectionSource:
    """One heading of a capture.

    `what` are the names in a directory, the parameters of the command line, or the first words of the lines taken.
    """

    heading: str
    kind: SectionKind
    why: str
    what: tuple[str, ...] = ()
    on_request: bool = False
    """Whether it is read with --pages only."""


MEMORY_FILES = ("block_size_bytes", "auto_online_blocks", "crash_hotplug")

PARAMETERS = (
    *("mem", "memmap", "memblock", "movable_node", "movablecore", "kernelcore", "numa", "numa_balancing", "cma"),
    *("memhp_default_state", "memory_hotplug.*", "virtio_mem.*", "crashkernel", "elfcorehdr", "nokaslr", "iomem"),
    *("hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "transparent_hugepage", "acpi_no_memhotplug"),
    *("reserve_mem", "efi_fake_mem", "swiotlb"),
)
"""Kernel parameters that say something of memory; a dash and an underscore are the same to the kernel."""

MEMINFO = (
    *("MemTotal", "MemFree", "MemAvailable", "SwapFree", "Unevictable", "Mlocked", "SReclaimable", "SUnreclaim"),
    *("PageTables", "HugePages_Total", "HugePages_Free", "Hugepagesize"),
)
"""Lines of /proc/meminfo that say what is free, what holds memory, and whether it may go."""

SOURCES = (
    SectionSource("proc/iomem", "file", "the map: zeros instead of addresses unless read by root"),
    SectionSource("sys/devices/system/memory", "blocks", "memory blocks: state, zones, nodes"),
    SectionSource(
        *("proc/zoneinfo", "lines", "size of each zone"),
        ("Node", *COUNTERS),
    ),
    SectionSource("sys/bus/virtio/devices", "devices", "virtio-mem devices: driver, parent, node"),
    SectionSource("sys/bus/acpi/devices", "dimms", "memory devices of ACPI (DIMMs): status, memory blocks"),
    SectionSource("sys/bus/dax/devices", "dax", "DAX devices (CXL, persistent memory): driver, range, node"),
    SectionSource(
        "dev/kmsg",
        "log",
        "what the virtio_mem driver logged: addresses, sizes; what Linux said about memory it did not add",
        (f"{MODULE} ", "Block size [", "acpi PNP0C80", "kmem dax"),
    ),
    SectionSource(
        *("sys/module/virtio_mem/parameters", "directory", "how the driver was loaded"),
        ("bbm_block_size", "bbm_safe_unplug", "force_bbm", "unplug_online"),
    ),
    SectionSource(
        *("sys/module/memory_hotplug/parameters", "directory", "which zone new memory gets"),
        ("auto_movable_numa_aware", "auto_movable_ratio", "memmap_on_memory", "online_policy"),
    ),
    SectionSource("proc/cmdline", "words", "kernel parameters of memory, no others", PARAMETERS),
    SectionSource("proc/sys/kernel", "directory", "kernel release and architecture", ("arch", "osrelease", "ostype")),
    SectionSource(
        *("sys/kernel", "directory", "whether a crash kernel is loaded, where vmcoreinfo lies"),
        ("crash_elfcorehdr_size", "kexec_crash_loaded", "kexec_crash_size", "kexec_loaded", "vmcoreinfo"),
    ),
    SectionSource(
        "sys/devices/system/cpu",
        "notes",
        "CPUs, and where each leaves its registers in a crash",
        ("possible", "present"),
    ),
    SectionSource("proc/kcore", "header", "what the header of the loaded crash kernel dumps, nothing else of memory"),
    SectionSource(
        *("proc/meminfo", "lines", "what is free, and what the kernel and hugepages have"),
        tuple(f"{name}:" for name in MEMINFO),
    ),
    SectionSource(*("proc/vmstat", "lines", "how many pages are pinned"), ("nr_foll_pin_",)),
    SectionSource(
        "proc/kpageflags",
        "pages",
        "what each memory block's pages are used for, and which virtio-mem keeps unplugged (asked for with --pages)",
        on_request=True,
    ),
    SectionSource(
        "proc/pagetypeinfo", "file", "pageblocks by what they are for (asked for with --pages)", on_request=True
    ),
)
