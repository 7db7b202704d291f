"""QEMU's machines as data: where RAM lies, where memory devices go, and what a virtio-mem device is like on each.

Sources: hw/i386/pc.c, pc_q35.c, pc_piix.c, hw/pci-host, hw/arm/virt.c and hw/virtio/virtio-mem.c (v7.2).
"""

from typing import Literal, NamedTuple

from virtiomem.architecture import ARM64, ARM64_16K, ARM64_64K, X86_64, Architecture
from virtiomem.units import GiB, MiB, Span, TiB, align_up
from virtiomem.wire.mem import Feature

MachineKind = Literal["q35", "pc", "virt"]


_NOTHING = Feature(0)


class Board(NamedTuple):
    """A machine type; sizes and addresses in bytes."""

    name: MachineKind
    architectures: tuple[Architecture, ...]
    """What Linux on it can be, by its page size; the usual one first."""
    usable_extent: int
    """How far a device's usable region reaches beyond requested_size: two Linux sections (VIRTIO_MEM_USABLE_EXTENT)."""
    window64: int
    """The size of the 64-bit PCI window, and what it is aligned to where it is not right behind the memory devices."""
    bar_window: int
    """An address in the PCI window below 4G, whatever the boot memory."""
    interrupt_controller: str
    """What PCI's interrupt lines lead into: a name in QEMU's object tree, or the type of an object without one."""
    ram_start: int = 0
    whole_below: int = 1 << 64
    """Boot memory of less than this lies in one piece; else it has a hole below 4G."""
    low: int = 0
    """So much of boot memory with a hole lies below it; the rest from 4G up."""
    region_floor: int = 0
    """Memory devices lie no lower, however little boot memory there is."""
    high_io_floor: int = 0
    """Redistributors, PCI configuration space and PCI window lie behind memory devices, and no lower; 0: the window alone."""
    always_offers: Feature = _NOTHING
    """Features that a virtio-mem device offers whatever is asked for."""
    wakes_up: bool = True
    """It can sleep to memory and wake up, for which a device then offers PERSISTENT_SUSPEND where its release does."""
    has_device_tree: bool = False
    """QEMU starts Linux by itself, with a device tree, unless firmware is asked for; with that alone there is no ACPI."""
    program: str = "qemu-system-x86_64"
    """The QEMU that has it."""
    options: str = ""
    """What follows its name on QEMU's command line."""
    cpus: tuple[str, ...] = ("max",)
    """The processor for each of the architectures."""
    console: str = "ttyS0"
    """What Linux calls the first serial port."""
    second_port: str = "ttyS1"
    """What it calls the second one, or the first on a PCI card where the board has no second."""
    address_bits: int = 0
    """Physical address bits of QEMU's own processor models there; 0: not modelled."""
    avoids_hyper_transport: bool = False
    """With that processor, an AMD one, memory above 4G starts at 1T where any would reach into what HyperTransport has
    below it."""
    not_enabled: str = "are not enabled, please specify the maxmem option"
    """What memory devices are without any room for them."""

    def boot_memory(self, memory: int) -> list[Span]:
        """The ranges of `memory` bytes of boot memory: one, or below 4G and above. Models: pc_q35_init(), pc_init1()."""
        if memory < self.whole_below:
            return [Span.sized(self.ram_start, memory)]
        return [Span(0, self.low), Span.sized(4 * GiB, memory - self.low)]

    def region_start(self, memory: int) -> int:
        """Return where the region for memory devices starts, behind `memory` bytes of boot memory."""
        return align_up(max(self.boot_memory(memory)[-1].stop, self.region_floor), GiB)

    def pci_window64(self, region_end: int) -> Span:
        """The 64-bit PCI window, behind the region for memory devices. Models: pc_pci_hole64_start()."""
        if not self.high_io_floor:
            return Span.sized(align_up(region_end, GiB), self.window64)
        return Span.sized(align_up(self.ecam(region_end).stop, self.window64), self.window64)

    def address_limit(self, memory: int, room: int, bits: int) -> tuple[int, int]:
        """The last address of a processor with `bits` address bits, and the last that memory, `room` for devices and
        PCI window take.
        """
        return (1 << bits) - 1, self.last_address(memory, room, amd=bits == self.address_bits)

    def last_address(self, memory: int, room: int, *, amd: bool) -> int:
        """The last address that memory, `room` for devices and the PCI window take, on an AMD processor or another.

        Models: pc_max_used_gpa(), pc_set_amd_above_4g_mem_start() (hw/i386/pc.c, v7.2).
        """
        last = self.pci_window64(self.region_start(memory) + room).stop - 1
        if self.avoids_hyper_transport and amd and last >= HYPER_TRANSPORT.start:
            last += HYPER_TRANSPORT.stop - 4 * GiB
        return last

    def ecam(self, region_end: int) -> Span:
        """The PCI configuration space above memory devices. Models: virt_set_high_memmap() in hw/arm/virt.c (v7.2)."""
        redistributors = align_up(max(region_end, self.high_io_floor), _REDISTRIBUTORS)
        return Span.sized(align_up(redistributors + _REDISTRIBUTORS, _ECAM), _ECAM)


HYPER_TRANSPORT = Span(0xFD_0000_0000, TiB)
"""What AMD's HyperTransport keeps below 1 TiB; QEMU's default processor is an AMD one."""
_REDISTRIBUTORS = 64 * MiB
_ECAM = 256 * MiB

Q35 = Board(
    name="q35",
    architectures=(X86_64,),
    whole_below=0xB0000000,
    low=2 * GiB,
    region_floor=4 * GiB,
    address_bits=40,
    avoids_hyper_transport=True,
    usable_extent=256 * MiB,
    window64=32 * GiB,
    bar_window=0xE0000000,
    interrupt_controller="ioapic",
)
PC = Board(
    name="pc",
    architectures=(X86_64,),
    whole_below=0xE0000000,
    low=3 * GiB,
    region_floor=4 * GiB,
    address_bits=40,
    avoids_hyper_transport=True,
    usable_extent=256 * MiB,
    window64=2 * GiB,
    bar_window=0xE0000000,
    interrupt_controller="ioapic",
)
VIRT = Board(
    name="virt",
    architectures=(ARM64, ARM64_16K, ARM64_64K),
    ram_start=GiB,
    usable_extent=GiB,
    window64=512 * GiB,
    high_io_floor=256 * GiB,
    always_offers=Feature.UNPLUGGED_INACCESSIBLE,
    wakes_up=False,
    has_device_tree=True,
    program="qemu-system-aarch64",
    options=",gic-version=3,dtb-randomness=off",
    cpus=("cortex-a57", "neoverse-n1", "cortex-a57"),
    console="ttyAMA0",
    second_port="ttyS0",
    bar_window=0x10000000,
    interrupt_controller="child<arm-gicv3>",
    not_enabled="are not supported by the machine",
)

BOARDS: dict[MachineKind, Board] = {board.name: board for board in (Q35, PC, VIRT)}
"""Every machine type by its name."""


def board_of(program: str) -> Board:
    """The machine type that is tested with a QEMU, by its program's name: the first one that it has."""
    name = program.rpartition("/")[2]
    return next((board for board in BOARDS.values() if board.program in name), Q35)
