"""QEMU's machines as data: where RAM lies, where memory devices go, and what a virtio-mem device is like on each.

Sources: hw/i386/pc.c, pc_q35.c, pc_piix.c, hw/pci-host and hw/virtio/virtio-mem.c (v7.2).
"""

from dataclasses import dataclass
from typing import Literal

from virtiomem.architecture import X86_64, Architecture
from virtiomem.units import GiB, MiB, Span, align_up

MachineKind = Literal["q35", "pc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A machine type; sizes and addresses in bytes."""

    name: MachineKind
    architecture: Architecture
    whole_below: int
    """Boot memory of less than this lies in one piece; else it has a hole below 4G."""
    low: int
    """So much of boot memory with a hole lies below it; the rest from 4G up."""
    region_floor: int
    """Memory devices lie no lower, however little boot memory there is."""
    usable_extent: int
    """How far a device's usable region reaches beyond requested_size: two Linux sections (VIRTIO_MEM_USABLE_EXTENT)."""
    window64: int
    """The 64-bit PCI window."""

    def boot_memory(self, memory: int) -> list[Span]:
        """The ranges of `memory` bytes of boot memory: one, or below 4G and above. Models: pc_q35_init(), pc_init1()."""
        if memory < self.whole_below:
            return [Span(0, memory)]
        return [Span(0, self.low), Span.sized(4 * GiB, memory - self.low)]

    def region_start(self, memory: int) -> int:
        """Where the region for memory devices starts, behind `memory` bytes of boot memory."""
        return align_up(max(self.boot_memory(memory)[-1].stop, self.region_floor), GiB)

    def pci_window64(self, region_end: int) -> Span:
        """The 64-bit PCI window, right behind the region for memory devices. Models: pc_pci_hole64_start()."""
        return Span.sized(align_up(region_end, GiB), self.window64)


Q35 = Board(
    name="q35",
    architecture=X86_64,
    whole_below=0xB0000000,
    low=2 * GiB,
    region_floor=4 * GiB,
    usable_extent=256 * MiB,
    window64=32 * GiB,
)
PC = Board(
    name="pc",
    architecture=X86_64,
    whole_below=0xE0000000,
    low=3 * GiB,
    region_floor=4 * GiB,
    usable_extent=256 * MiB,
    window64=2 * GiB,
)

BOARDS: dict[MachineKind, Board] = {board.name: board for board in (Q35, PC)}
"""Every machine type by its name."""
