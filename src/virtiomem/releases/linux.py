"""Linux's releases, as their memory hotplug core and virtio-mem driver behave, and what distributions built of them."""

from collections.abc import Mapping
from typing import NamedTuple

from virtiomem.abi import OnlineType
from virtiomem.releases.table import Change, Releases, is_version
from virtiomem.units import MiB


class LinuxRelease(NamedTuple):
    """Behaviour of a release of Linux; the values here are those of 6.1."""

    name: str = "6.1"
    refuses_poison: bool = False
    """A memory block with a poisoned page does not go online (EHWPOISON)."""
    brackets_events: bool = False
    """Notifiers hear PREPARE_ONLINE before a memory block goes online, and FINISH_OFFLINE when it is offline."""
    memmap_flag_is_a_hint: bool = False
    """MHP_MEMMAP_ON_MEMORY, where it is impossible, means an ordinary memmap; else EINVAL."""
    memmap_can_be_forced: bool = False
    """memory_hotplug.memmap_on_memory may be `force`; else that is ignored."""
    memmap_in_each_block: bool = False
    """Struct pages may lie inside a range of many memory blocks, in each of them; else only in a range of one."""
    ecam_name: str = "PCI MMCONFIG"
    """What the map calls the PCI configuration space."""
    lists_local_apic: bool = True
    """The map has a line for the local APIC, on QEMU's machines."""
    keeps_crash_header: bool = False
    """A crash header made by kexec_file_load() has a fixed room, and is made again when a block is online or offline."""
    exclusion_goes_on: bool = False
    """What a crash header leaves out is cut from every range that it touches, not only up to the first."""
    notes_possible_cpus: bool = False
    """A crash header made by kexec_file_load() has a note for every CPU that there may be; else for those that there are."""
    loads_from_the_top: bool = False
    """kexec_file_load() puts an ordinary image into the highest RAM that has room; else into the lowest."""
    loads_flush: bool = False
    """It may end with the last byte of that RAM; else it stays a byte below, before it is aligned."""
    retries_emptied_blocks: bool = False
    """A memory block with nothing plugged that could not be removed is tried again, in every pass and by the timer."""
    folds_removal_errnos: bool = False
    """The driver takes every failure to offline and remove memory for EBUSY, except ENOMEM."""
    has_bbm_safe_unplug: bool = True
    """The module has the parameter bbm_safe_unplug; else big blocks are always unplugged the safe way."""
    failed_probe: tuple[str, str] = ("warning", "virtio_mem: probe of {device} failed with error {errno}")
    """Level and text of the log line about a device that could not be set up."""
    acpi_name_of_ecam: str = "pnp 00:05"
    """What the map calls the firmware's device that has the PCI configuration space, on a q35."""
    suspends: bool = False
    """The driver lets the guest sleep where plugged memory outlives it; else it refuses (EPERM)."""
    movable_shares_watermarks: bool = True
    """Zone Movable has a share of min_free_kbytes by its size; else the kernel zones keep all of it."""
    fake_offline_heeds_config: bool = False
    """Taking pages from the allocator stops with EAGAIN once the device's configuration has changed."""


class LinuxBuild(NamedTuple):
    """Choices of a distribution when it built a release; the values here are those of Debian's 6.1."""

    name: str = "6.1"
    default_state: OnlineType = OnlineType.OFFLINE
    """What becomes of added memory where the command line does not say."""
    crash_header_cpus: int = 0
    """CONFIG_NR_CPUS_DEFAULT: notes that a crash header has room for, where the kernel keeps it up to date."""
    crash_header_ranges: int = 0
    """CONFIG_CRASH_MAX_MEMORY_RANGES: ranges likewise."""
    kernel_images: Mapping[str, tuple[tuple[int, int, str], ...]] = {
        "x86-64": (
            (0x01000000, 0x01E01EF1, "Kernel code"),
            (0x02000000, 0x02826FFF, "Kernel rodata"),
            (0x02A00000, 0x02C45DFF, "Kernel data"),
            (0x032B1000, 0x037FFFFF, "Kernel bss"),
        ),
        "arm64": (
            (0x40210000, 0x4158FFFF, "Kernel code"),
            (0x41590000, 0x41A0FFFF, "reserved"),
            (0x41A10000, 0x41CAFFFF, "Kernel data"),
        ),
    }
    """First and last byte of the kernel's own lines in the map, by architecture, booted with nokaslr (6.1.0-56)."""

    boot_takes: int = 126 * MiB
    """Memory that boot takes, with our initramfs, in addition to a share of memory: see `memory.vmemmap.free_after_boot`."""


_DRIVER = "drivers/virtio/virtio_mem.c"

_ARM64_IMAGES = {
    "arm64": (
        (0x40200000, 0x41A7FFFF, "Kernel code"),
        (0x41A80000, 0x4208FFFF, "reserved"),
        (0x42090000, 0x4243FFFF, "Kernel data"),
    ),
    "arm64-16k": (
        (0x40200000, 0x41F2FFFF, "Kernel code"),
        (0x41F30000, 0x428EFFFF, "reserved"),
        (0x428F0000, 0x42DDFFFF, "Kernel data"),
    ),
}
"""Of Debian's 6.12 (linux-image-6.12.117); later ones were not examined."""

LINUX = Releases(
    LinuxRelease(),
    (
        Change(
            "6.2",
            "refuses_poison",
            True,
            "drivers/base/memory.c: memory_block_online()",
            "a memory block with a poisoned page does not go online (EHWPOISON); before, it does, and the poison is"
            " forgotten",
            "mm/hwpoison: introduce per-memory_block hwpoison counter",
        ),
        Change(
            "6.6",
            "keeps_crash_header",
            True,
            "arch/x86/kernel/crash.c: arch_crash_handle_hotplug_event()",
            "a crash header made by kexec_file_load has a fixed room, and is made again when a memory block is online or"
            " offline: after a shrink it still has the block that was removed last; before, it is as it was at loading",
            "x86/crash: add x86 crash hotplug support",
        ),
        Change(
            "6.6",
            "notes_possible_cpus",
            True,
            "kernel/crash_core.c: crash_prepare_elf64_headers()",
            "a crash header made by kexec_file_load has a note for each possible CPU; before, for each present one",
            "crash: change crash_prepare_elf64_headers() to for_each_possible_cpu()",
        ),
        Change(
            "6.8",
            "loads_from_the_top",
            True,
            "kernel/kexec_file.c: kexec_walk_resources()",
            "kexec_file_load puts an ordinary image into the highest System RAM that has room and is not driver-managed; before,"
            " into the lowest",
            "kexec_file: load kernel at top of system RAM if required",
        ),
        Change(
            "6.8",
            "loads_flush",
            True,
            "kernel/kexec_file.c: locate_mem_hole_top_down()",
            "a segment may end where that RAM ends; before, one whose size is a multiple of its alignment stays one alignment"
            " below",
            "kexec_file: fix incorrect temp_start value in locate_mem_hole_top_down()",
        ),
        Change(
            "6.8",
            "exclusion_goes_on",
            True,
            "kernel/crash_core.c: crash_exclude_mem_range()",
            "what a crash header leaves out is cut from every range that it touches; before, it stops at the first that it"
            " cuts",
            "crash_core: fix and simplify the logic of crash_exclude_mem_range()",
        ),
        Change(
            "6.6",
            "memmap_flag_is_a_hint",
            True,
            "mm/memory_hotplug.c: add_memory_resource()",
            "MHP_MEMMAP_ON_MEMORY, where it is impossible, means an ordinary memmap; before, EINVAL",
            "mm/memory_hotplug: allow memmap on memory hotplug request to fallback",
        ),
        Change(
            "6.6",
            "memmap_can_be_forced",
            True,
            "mm/memory_hotplug.c: set_memmap_mode()",
            "`memory_hotplug.memmap_on_memory` may be `force`; before, that is ignored",
            "mm/memory_hotplug: support memmap_on_memory when memmap is not aligned to pageblocks",
        ),
        Change(
            "6.8",
            "memmap_in_each_block",
            True,
            "mm/memory_hotplug.c: create_altmaps_and_memory_blocks()",
            "with `memory_hotplug.memmap_on_memory` a DIMM of any size has its struct pages inside, in each memory block;"
            " before, only one of a single block",
            "mm/memory_hotplug: split memmap_on_memory requests across memblocks",
        ),
        Change(
            "6.9",
            "brackets_events",
            True,
            "drivers/base/memory.c: memory_block_online(), memory_block_offline()",
            "two more notifier events: PREPARE_ONLINE, which may refuse, before the others, and FINISH_OFFLINE when a block"
            " is offline, or did not come online after all",
            "mm/memory_hotplug: introduce MEM_PREPARE_ONLINE/MEM_FINISH_OFFLINE notifiers",
        ),
        Change(
            "6.19",
            "brackets_events",
            False,
            "drivers/base/memory.c: memory_block_online(), memory_block_offline()",
            "PREPARE_ONLINE and FINISH_OFFLINE are gone again",
            "mm/memory_hotplug: Remove MEM_PREPARE_ONLINE/MEM_FINISH_OFFLINE notifiers",
        ),
        Change(
            "6.9",
            "failed_probe",
            ("err", "virtio_mem {device}: probe with driver virtio_mem failed with error {errno}"),
            "drivers/base/dd.c: call_driver_probe()",
            "the log says `virtio_mem virtio0: probe with driver virtio_mem failed with error -16`, no longer"
            " `virtio_mem: probe of virtio0 failed with error -16`",
            "driver: core: Log probe failure as error and with device metadata",
        ),
        Change(
            "7.3",
            "acpi_name_of_ecam",
            "PNP0C01:00",
            "drivers/acpi, drivers/pnp/system.c (seen on 7.3.4)",
            "the map names what the firmware reserves of it for its ACPI device, `PNP0C01:00`, no longer `pnp 00:05`",
        ),
        Change(
            "6.8",
            "ecam_name",
            "PCI ECAM",
            "arch/x86/pci/mmconfig-shared.c",
            "the map calls the PCI configuration space `PCI ECAM`, no longer `PCI MMCONFIG`",
            "x86/pci: Rename 'MMCONFIG' to 'ECAM', use pr_fmt",
        ),
        Change(
            "6.12",
            "lists_local_apic",
            False,
            "arch/x86/kernel/apic/apic.c",
            "the map has no line `Local APIC` on QEMU's machines",
        ),
        Change(
            "6.6",
            "movable_shares_watermarks",
            False,
            "mm/page_alloc.c: __setup_per_zone_wmarks()",
            "zone Movable takes no share of `min_free_kbytes`, so that kernel zones keep all of it, and new memory cannot be paid"
            " with it; before, their share goes to Movable as that grows",
        ),
        Change(
            "6.5",
            "retries_emptied_blocks",
            True,
            f"{_DRIVER}: virtio_mem_cleanup_pending_mb()",
            "a memory block of sub-blocks with nothing plugged that could not be removed is tried again, in every pass and"
            " by the timer: Movable, then kernel zones, then offline; before, it stays and is filled first",
            "virtio-mem: keep retrying on offline_and_remove_memory() errors in Sub Block Mode (SBM)",
        ),
        Change(
            "6.5",
            "folds_removal_errnos",
            True,
            f"{_DRIVER}: virtio_mem_offline_and_remove_memory()",
            "every failure to offline and remove memory counts as EBUSY, except ENOMEM; before, one that the driver does"
            " not know breaks a device of big blocks",
            "virtio-mem: convert most offline_and_remove_memory() errors to -EBUSY",
        ),
        Change(
            "6.5",
            "has_bbm_safe_unplug",
            False,
            f"{_DRIVER}: virtio_mem_bbm_offline_remove_and_unplug_bb()",
            "the parameter `bbm_safe_unplug` is gone and ignored with a warning: big blocks are always unplugged the safe"
            " way",
            "virtio-mem: remove unsafe unplug in Big Block Mode (BBM)",
        ),
        Change(
            "6.10",
            "suspends",
            True,
            f"{_DRIVER}: virtio_mem_freeze(), virtio_mem_restore()",
            "the guest may suspend to idle, and to memory with nothing plugged or PERSISTENT_SUSPEND; before, every suspend is"
            " refused (EPERM), as hibernation still is",
            "virtio-mem: support suspend+resume",
        ),
        Change(
            "6.5",
            "fake_offline_heeds_config",
            True,
            f"{_DRIVER}: virtio_mem_fake_offline()",
            "pages are no longer taken from the allocator once the configuration has changed (EAGAIN)",
            "virtio-mem: check if the config changed before fake offlining memory",
        ),
    ),
    proven=("6.1", "6.12", "6.18", "7.3"),
)

DEBIAN = Releases(
    LinuxBuild(),
    (
        Change(
            "6.6",
            "crash_header_cpus",
            8192,
            "kernel/crash_core.c: CONFIG_NR_CPUS_DEFAULT",
            "Debian's kernel has room for the notes of 8192 CPUs in a crash header that it keeps",
        ),
        Change(
            "6.6",
            "crash_header_ranges",
            8192,
            "kernel/crash_core.c: CONFIG_CRASH_MAX_MEMORY_RANGES",
            "Debian's kernel has room for 8192 ranges in a crash header that it keeps; what the CPUs leave is for ranges, too",
        ),
        Change(
            "6.12",
            "boot_takes",
            124 * MiB,
            "linux-image-6.12.117+deb12-cloud-amd64 (measured)",
            "less memory is free after boot by 124M and 1/54 of it; before, by 126M and 1/54 (and by 7M more from 640M on)",
        ),
        Change(
            "6.12",
            "default_state",
            OnlineType.ONLINE,
            "mm/memory_hotplug.c: CONFIG_MHP_DEFAULT_ONLINE_TYPE",
            "Debian builds with `online` as what becomes of added memory where the command line does not say; before,"
            " `offline`",
        ),
        Change(
            "6.12",
            "kernel_images",
            {
                "x86-64": (
                    (0x01000000, 0x01FFFFFF, "Kernel code"),
                    (0x02000000, 0x02AA7FFF, "Kernel rodata"),
                    (0x02C00000, 0x02E72C7F, "Kernel data"),
                    (0x036D6000, 0x03BFFFFF, "Kernel bss"),
                ),
                **_ARM64_IMAGES,
            },
            "linux-image-6.12.117+deb12-cloud-amd64",
            "Debian's kernel image is larger",
        ),
        Change(
            "6.18",
            "kernel_images",
            {
                "x86-64": (
                    (0x01000000, 0x0208FE77, "Kernel code"),
                    (0x02200000, 0x02E3CFFF, "Kernel rodata"),
                    (0x03000000, 0x0333903F, "Kernel data"),
                    (0x03C56000, 0x03FFFFFF, "Kernel bss"),
                ),
                **_ARM64_IMAGES,
            },
            "linux-image-6.18.15+deb13-cloud-amd64",
            "Debian's kernel image is larger",
        ),
        Change(
            "7.3",
            "kernel_images",
            {
                "x86-64": (
                    (0x01000000, 0x0216F05F, "Kernel code"),
                    (0x02200000, 0x02F67FFF, "Kernel rodata"),
                    (0x03000000, 0x0335B67F, "Kernel data"),
                    (0x03CFC000, 0x041FFFFF, "Kernel bss"),
                ),
                **_ARM64_IMAGES,
            },
            "linux-image-7.3.4+deb13-cloud-amd64",
            "Debian's kernel image is larger",
        ),
    ),
    proven=("6.1", "6.12", "6.18", "7.3"),
)

DEFAULT = LINUX.newest
"""The release that is modelled where none is named."""


def release_of(guest: Mapping[str, object]) -> LinuxRelease:
    """The release that a recording's `guest` names; the default where it names none."""
    return known_release(guest.get("kernel")) or DEFAULT


def stand_in(kernel: object) -> str | None:
    """Warn about a kernel version that another release is modelled for; None where it is modelled itself."""
    if not isinstance(kernel, str) or not is_version(kernel) or not LINUX.stands_in_for(kernel):
        return None
    return f"Linux {kernel} is not known: it is taken for {LINUX.release(kernel).name}"


def known_release(kernel: object) -> LinuxRelease | None:
    """The release that is modelled for a kernel's version, such as uname says; None for what is not a version."""
    return LINUX.release(kernel) if isinstance(kernel, str) and is_version(kernel) else None
