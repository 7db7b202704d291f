"""The built-in layout of a `virt` machine: the /proc/iomem listing that Debian's Linux prints on QEMU 7.2 at boot.

Differs: of what Linux reserves inside its RAM only the kernel's own init section, and what its contiguous memory allocator
and bounce buffers take, are there; where it puts the rest (struct pages, initramfs, device tree) depends on its build. With
UEFI all RAM is one piece here; firmware keeps pieces of it, and puts the kernel elsewhere.
"""

from virtiomem.errors import ArgumentValueError
from virtiomem.guest.base import GuestConfig
from virtiomem.guest.machine import MachineLayout
from virtiomem.releases.linux import DEBIAN
from virtiomem.resource.names import CRASH_KERNEL, SYSTEM_RAM
from virtiomem.units import MiB, Span, align_down, format_size

_BOUNCE_BUFFERS = 64 * MiB
"""swiotlb, right below or above the CMA: both are taken from the top of zone DMA."""
_BAR = 0x4000
"""A virtio-pci-modern BAR."""
_CRASH_ALIGN = 2 * MiB
_KERNEL = 64 * MiB
"""Room for the kernel at the start of RAM."""
_LOW_WINDOW = Span(0x10000000, 0x3EFF0000)

Line = tuple[int, int, int, str]
"""Depth, first byte, last byte, name."""

_DEVICE_TREE: tuple[Line, ...] = (
    (0, 0x9000000, 0x9000FFF, "pl011@9000000"),
    (1, 0x9000000, 0x9000FFF, "9000000.pl011 pl011@9000000"),
    (0, 0x9010000, 0x9010FFF, "pl031@9010000"),
    (1, 0x9010000, 0x9010FFF, "rtc-pl031"),
    (0, 0x9030000, 0x9030FFF, "pl061@9030000"),
    (1, 0x9030000, 0x9030FFF, "9030000.pl061 pl061@9030000"),
)
_ACPI: tuple[Line, ...] = (
    (0, 0x9000000, 0x9000FFF, "ARMH0011:00"),
    (1, 0x9000000, 0x9000FFF, "ARMH0011:00 ARMH0011:00"),
    (0, 0x9020000, 0x9020017, "QEMU0002:00"),
    *((0, 0xA000000 + 0x200 * at, 0xA0001FF + 0x200 * at, f"LNRO0005:{at:02x}") for at in range(32)),
)


def lines(machine: MachineLayout, devices: int, guest: GuestConfig, crashkernel: int) -> list[Line]:
    """The lines of a machine with this many virtio-mem devices, before their driver is loaded."""
    window = "PCI Bus 0000:00" if guest.has_acpi else "pcie@10000000"
    region_end = machine.device_memory().region.stop
    ecam, high = machine.board.ecam(region_end), machine.pci_window64
    return [
        (0, 0x8000000, 0x800FFFF, "GICD"),
        (0, 0x80A0000, 0x8FFFFFF, "GICR"),
        *(_ACPI if guest.has_acpi else _DEVICE_TREE),
        (0, _LOW_WINDOW.start, _LOW_WINDOW.stop - 1, window),
        *_ram(machine, guest, crashkernel),
        (0, ecam.start, ecam.stop - 1, "PCI ECAM"),
        (0, high.start, high.stop - 1, window),
        *(
            (1, start, start + _BAR - 1, f"0000:00:{slot:02x}.0")
            for slot, start in enumerate(range(high.start, high.start + _BAR * devices, _BAR), 1)
        ),
    ]


def _ram(machine: MachineLayout, guest: GuestConfig, crashkernel: int) -> list[Line]:
    """RAM, one line per node, with the kernel and what it reserves below 4G. Since: 6.12 (kernel_images)."""
    # A `virt` has no hole below 4G: RAM begins at 1G and is one piece.
    (ram,) = machine.ram
    images = DEBIAN.release(guest.release.name).kernel_images
    architecture = guest.architecture
    # A page size without images of its own takes those of the usual one.
    inside = [*images.get(architecture.name, images[architecture.family]), *_reserved_low(ram, guest, crashkernel)]
    parts = sorted(span for node in guest.nodes for span in node.spans) or [ram]
    found: list[Line] = []
    for part in (span.clipped(ram) for span in parts if span.overlaps(ram)):
        found.append((0, part.start, part.stop - 1, SYSTEM_RAM))
        found += [(1, first, last, name) for first, last, name in inside if part.start <= first and last < part.stop]
    return found


def _reserved_low(ram: Span, guest: GuestConfig, crashkernel: int) -> list[tuple[int, int, str]]:
    """CMA, crash kernel and bounce buffers, from the top of zone DMA downwards: exact where RAM goes on behind it.

    Models: reserve_crashkernel() in arch/arm64/mm/init.c (v6.1). Raises ArgumentValueError for a crash kernel without room.
    """
    default = guest.architecture.cma_size or 0
    stop = ram.clipped(guest.architecture.zones[0][1]).stop
    cma = stop - (default if guest.cma is None else guest.cma)
    crash = align_down(cma - crashkernel, _CRASH_ALIGN)
    if not crashkernel:
        return [(cma - _BOUNCE_BUFFERS, stop - 1, "reserved")]
    if crash - _BOUNCE_BUFFERS < ram.start + _KERNEL:
        raise ArgumentValueError(f"{format_size(crashkernel)} for a crash kernel leaves no room for the kernel itself")
    return [
        (crash - _BOUNCE_BUFFERS, crash - 1, "reserved"),
        (crash, crash + crashkernel - 1, CRASH_KERNEL),
        *([(cma, stop - 1, "reserved")] if cma < stop else []),
    ]
