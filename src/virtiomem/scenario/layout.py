"""The built-in layout: the /proc/iomem listing that Debian's Linux prints on a pc or q35 machine of QEMU at boot.

A scenario without a listing of its own starts here. The kernel's lines stand where a `nokaslr` boot puts them. With
QEMU's default processor there is a hole for HyperTransport below 1 TiB; a machine that reaches into it is taken to
have another one.
"""

from itertools import count

from virtiomem import border
from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.device.board import HYPER_TRANSPORT
from virtiomem.errors import ArgumentValueError
from virtiomem.guest.base import GuestConfig
from virtiomem.guest.machine import MAX_DEVICES, MachineLayout
from virtiomem.releases.linux import DEBIAN, DEFAULT, LinuxBuild, LinuxRelease
from virtiomem.releases.qemu import QemuRelease
from virtiomem.resource.names import CRASH_KERNEL, SYSTEM_RAM
from virtiomem.scenario import virt_layout
from virtiomem.scenario.virt_layout import Line
from virtiomem.units import GiB, MiB, Span, TiB, align_down, align_up, format_size

MIN_MEMORY = 64 * MiB
"""Less boot RAM than this does not hold the kernel's own lines."""

_FIRMWARE_TABLES = 0x20000
"""What SeaBIOS keeps at the end of low RAM."""
_MMCONFIG = Span(0xB0000000, 0xC0000000)
_IOAPIC = 0xFEC00000
MAX_CRASH_KERNEL = 2 * GiB
"""End of the RAM below 4 GiB in which to look for it, on a q35 machine."""
_CRASH_ALIGN = 16 * MiB
_BAR = 0x4000
"""A virtio-pci-modern BAR."""
_SMALL_BAR = 0x1000
"""One with an MSI-X table, or an AHCI controller's."""
_HIGH_BARS = 128 * GiB
"""What the firmware keeps for BARs at the top of the 1 TiB that QEMU's default processor addresses: an eighth of it."""


def boot_listing(
    machine: MachineLayout,
    devices: int,
    release: LinuxRelease = DEFAULT,
    *,
    crashkernel: int = 0,
    guest: GuestConfig | None = None,
) -> str:
    """The listing of a machine with this many virtio-mem devices, before their driver is loaded.

    `crashkernel`: bytes reserved for a crash kernel. `guest` has the release of QEMU, and what else a `virt` machine's depends
    on. Raises ArgumentError, also where there is no room for the crash kernel.
    """
    border.instance("release", release, LinuxRelease)
    border.instance("machine", machine, MachineLayout)
    border.integer("devices", devices, 0, MAX_DEVICES)
    guest = guest or GuestConfig(machine=machine.kind)
    if machine.board.has_device_tree:
        border.integer("crashkernel", crashkernel, 0, MAX_CRASH_KERNEL)
        return _text(virt_layout.lines(machine, devices, guest, crashkernel))
    build, qemu = DEBIAN.release(release.name), guest.qemu_release
    low = _low_memory(machine, build, _crash_kernel(machine, build, crashkernel))
    window = _window(machine, release)
    return _text(
        [
            *low,
            *window,
            *_bars(machine, devices, qemu),
            *_chips(machine, release),
            *_high_memory(machine, devices, qemu),
        ]
    )


def _text(lines: list[Line]) -> str:
    return "".join(f"{'  ' * depth}{first:08x}-{last:08x} : {name}\n" for depth, first, last, name in lines)


def _crash_kernel(machine: MachineLayout, build: LinuxBuild, size: int) -> list[Line]:
    """Return the crash kernel's line: at the highest multiple of 16M below 4 GiB that the firmware's tables leave free.

    Models: reserve_crashkernel() in arch/x86/kernel/setup.c (v6.1). Differs: an initramfs of more than 16M, which a boot
    loader puts there, would move it further down.
    """
    border.integer("crashkernel", size, 0, MAX_CRASH_KERNEL)
    if not size:
        return []
    start = align_down(machine.ram[0].stop - _FIRMWARE_TABLES - size, _CRASH_ALIGN)
    if start <= build.kernel_images[DEFAULT_ARCHITECTURE.name][-1][1]:
        raise ArgumentValueError(f"{format_size(size)} for a crash kernel leaves no room for the kernel itself")
    return [(1, start, start + size - 1, CRASH_KERNEL)]


def _low_memory(machine: MachineLayout, build: LinuxBuild, crash_kernel: list[Line]) -> list[Line]:
    """The first MiB, low RAM with the kernel in it, and what the firmware keeps. Since: 6.12 (kernel_images)."""
    top = machine.ram[0].stop
    return [
        (0, 0x0, 0xFFF, "Reserved"),
        (0, 0x1000, 0x9FBFF, SYSTEM_RAM),
        (0, 0x9FC00, 0x9FFFF, "Reserved"),
        (0, 0xA0000, 0xBFFFF, "PCI Bus 0000:00"),
        (0, 0xC0000, 0xC05FF, "Video ROM"),
        (0, 0xF0000, 0xFFFFF, "Reserved"),
        (1, 0xF0000, 0xFFFFF, "System ROM"),
        (0, 0x100000, top - _FIRMWARE_TABLES - 1, SYSTEM_RAM),
        *((1, first, last, name) for first, last, name in build.kernel_images[DEFAULT_ARCHITECTURE.name]),
        *crash_kernel,
        (0, top - _FIRMWARE_TABLES, top - 1, "Reserved"),
    ]


def _window(machine: MachineLayout, release: LinuxRelease) -> list[Line]:
    """The PCI window below 4 GiB. Since: 6.8 (ecam_name), 7.3 (acpi_name_of_ecam)."""
    top = machine.ram[0].stop
    window = "PCI Bus 0000:00"
    # Without PCI Express there is no configuration space in the map.
    if machine.kind == "pc":
        return [(0, top, _IOAPIC - 1, window)]
    return [
        (0, top, _MMCONFIG.start - 1, window),
        (0, _MMCONFIG.start, _MMCONFIG.stop - 1, f"{release.ecam_name} 0000 [bus 00-ff]"),
        (1, _MMCONFIG.start, _MMCONFIG.stop - 1, "Reserved"),
        (2, _MMCONFIG.start, _MMCONFIG.stop - 1, release.acpi_name_of_ecam),
        (0, _MMCONFIG.stop, _IOAPIC - 1, window),
    ]


def _names(machine: MachineLayout, devices: int) -> list[str]:
    """The PCI addresses of the virtio-mem devices, which take the first free slots."""
    # Slot 0 is the host bridge, and on a pc slot 1 the ISA bridge, which a q35 has in slot 1f.
    first = 2 if machine.kind == "pc" else 1
    return [f"0000:00:{slot:02x}.0" for slot in range(first, first + devices)]


def _bars(machine: MachineLayout, devices: int, release: QemuRelease) -> list[Line]:
    """The devices' BARs in the window below 4 GiB, at its end: large ones below small ones, unless they lie in the high window.

    Models: pci_bios_init_root_regions_mem() in SeaBIOS. Since: 10.0 (has_msix).
    """
    names = _names(machine, devices)
    # SeaBIOS places BARs by size, large ones first, from the address that leaves just room for all of them below the IOAPIC.
    small = [*(names if release.has_msix else ()), *(("0000:00:1f.2",) if machine.kind == "q35" else ())]
    end = _IOAPIC - _SMALL_BAR * len(small)
    large = [] if _high_bars(machine, devices, release) else names
    return [
        *_in_a_row(large, align_down(end - _BAR * len(large), _BAR), _BAR),
        *_in_a_row(small, end, _SMALL_BAR),
    ]


def _in_a_row(names: list[str], start: int, size: int) -> list[Line]:
    return [(1, at, at + size - 1, name) for name, at in zip(names, count(start, size))]


def _high_bars(machine: MachineLayout, devices: int, release: QemuRelease) -> Span | None:
    """The 64-bit PCI window where the firmware has put BARs into it; else QEMU alone says where it lies.

    Twice as far below the end as it takes, for HyperTransport has the end; SeaBIOS does not look whether memory devices
    are there. Models: pci_bios_map_devices() in SeaBIOS 1.16.3. Since: 8.2 (maps_bars_high).
    """
    region_end = align_up(machine.device_memory().region.stop, GiB)
    if not (release.maps_bars_high and devices and len(machine.ram) > 1 and region_end <= HYPER_TRANSPORT.start):
        return None
    return Span.sized(max(region_end, 1 * TiB - _HIGH_BARS) - _HIGH_BARS, machine.board.window64)


def _chips(machine: MachineLayout, release: LinuxRelease) -> list[Line]:
    """Interrupt controllers, timer and the firmware's flash. Since: 6.12 (lists_local_apic)."""
    local_apic = [(0, 0xFEE00000, 0xFEE00FFF, "Local APIC")] if release.lists_local_apic else []
    q35_only = [(0, 0xFED1C000, 0xFED1FFFF, "Reserved")] if machine.kind == "q35" else []
    return [
        (0, _IOAPIC, _IOAPIC + 0x3FF, "IOAPIC 0"),
        (0, 0xFED00000, 0xFED003FF, "HPET 0"),
        (1, 0xFED00000, 0xFED003FF, "PNP0103:00"),
        *q35_only,
        *local_apic,
        (0, 0xFFFC0000, 0xFFFFFFFF, "Reserved"),
    ]


def _high_memory(machine: MachineLayout, devices: int, release: QemuRelease) -> list[Line]:
    """RAM from 4 GiB up, the 64-bit PCI window with the BARs that are in it, and the HyperTransport hole."""
    high = _high_bars(machine, devices, release)
    window = high or machine.pci_window64
    lines: list[Line] = []
    for ram in machine.ram[1:]:
        lines.append((0, ram.start, ram.stop - 1, SYSTEM_RAM))
        # Linux keeps clear of what may be hidden behind odd ends of RAM, up to the next 64M (e820__reserve_resources_late).
        if ram.stop % (64 * MiB):
            lines.append((0, ram.stop, align_up(ram.stop, 64 * MiB) - 1, "RAM buffer"))
    lines.append((0, window.start, window.stop - 1, "PCI Bus 0000:00"))
    if high:
        lines += _in_a_row(_names(machine, devices), high.start, _BAR)
    # A machine that reaches into the hole has another processor, which has none.
    if window.stop <= HYPER_TRANSPORT.start:
        lines.append((0, HYPER_TRANSPORT.start, HYPER_TRANSPORT.stop - 1, "Reserved"))
    return lines
