"""Where QEMU's x86 machines put memory: boot RAM, the device memory region, the devices in it, the 64-bit PCI window.

Models: pc_memory_init(), pc_pci_hole64_start() in hw/i386/pc.c, pc_init1() in hw/i386/pc_piix.c, pc_q35_init() in
hw/i386/pc_q35.c, memory_device_get_free_addr(), memory_device_check_addable() in hw/mem/memory-device.c (v7.2).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from virtiomem.errors import DeviceError
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.units import GiB, MiB, Span, TiB, align_up

BACKEND_ALIGNMENT = 2 * MiB
"""QEMU aligns the memory backends of x86-64 to this (QEMU_VMALLOC_ALIGN)."""
MIN_BLOCK_SIZE = 1 * MiB
"""VIRTIO_MEM_MIN_BLOCK_SIZE."""
MAX_RAM_SLOTS = 256
"""ACPI_MAX_RAM_SLOTS."""
HT_RESERVED = Span(0xFD00000000, 1 * TiB)
"""What AMD's HyperTransport keeps below 1 TiB; QEMU's default processor is an AMD one."""

_FOUR_GIB = 4 * GiB


@dataclass(frozen=True, slots=True)
class MachineKind:
    """What makes one machine type's map differ from another's."""

    low_limit: int
    """From this much RAM on, `low_ram` bytes of it lie below 4 GiB; else all of it does."""
    low_ram: int
    pci_hole64: int
    """Size of the 64-bit PCI window."""


KINDS: dict[Literal["q35", "pc"], MachineKind] = {
    "q35": MachineKind(low_limit=0xB0000000, low_ram=2 * GiB, pci_hole64=32 * GiB),
    "pc": MachineKind(low_limit=0xE0000000, low_ram=3 * GiB, pci_hole64=2 * GiB),
}


def device_alignment(block_size: int) -> int:
    """What address and size of a virtio-mem device with this block size must be multiples of, in bytes."""
    return max(block_size, BACKEND_ALIGNMENT)


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory map of a pc or q35 machine; sizes in bytes."""

    kind: Literal["q35", "pc"]
    memory: int
    max_memory: int
    """Boot RAM plus all that memory devices may have; equal to `memory` when there is no room for any."""
    slots: int

    @classmethod
    def of(cls, guest: GuestConfig, devices: Iterable[DeviceConfig] = ()) -> Self:
        """The machine of a configuration.

        Without `max-memory` there is as much room as the devices need, and none when there are none.
        """
        fixed = cls(guest.machine, guest.memory, guest.memory, guest.slots)
        if guest.max_memory is not None:
            return cls(guest.machine, guest.memory, guest.max_memory, guest.slots)
        base = end = fixed.device_region.start
        sizes = 0
        for device in devices:
            start = device.memaddr if device.memaddr is not None else end
            end = max(end, align_up(start, device_alignment(device.block_size)) + device.max_size)
            sizes += device.max_size
        room = align_up(max(end - base, sizes), GiB)
        return cls(guest.machine, guest.memory, guest.memory + room, guest.slots)

    @property
    def low_ram(self) -> Span:
        """Boot RAM below 4 GiB."""
        kind = KINDS[self.kind]
        return Span(0, self.memory if self.memory < kind.low_limit else kind.low_ram)

    @property
    def high_ram(self) -> Span:
        """Boot RAM from 4 GiB up; empty when all lies below."""
        return Span.sized(_FOUR_GIB, self.memory - self.low_ram.size)

    @property
    def ram(self) -> list[Span]:
        """Boot RAM, in address order."""
        return [span for span in (self.low_ram, self.high_ram) if span.size]

    @property
    def device_room(self) -> int:
        """Bytes that all memory devices may have together."""
        return self.max_memory - self.memory

    @property
    def device_region(self) -> Span:
        """Where memory devices live: from the next GiB on, with one GiB more a slot for alignment."""
        base = align_up(self.high_ram.stop, GiB)
        return Span.sized(base, self.device_room + GiB * self.slots if self.device_room else 0)

    @property
    def pci_hole64(self) -> Span:
        """The 64-bit PCI window, right behind the device region."""
        return Span.sized(align_up(self.device_region.stop, GiB), KINDS[self.kind].pci_hole64)

    def place(
        self, size: int, alignment: int, taken: Iterable[tuple[str, Span]] = (), memaddr: int | None = None
    ) -> int:
        """The address of a new memory device, in bytes.

        `taken` are the devices that are there (id, span). Raises DeviceError, in QEMU's words, when it cannot be there.
        """
        self._check_room(size, sum(span.size for _, span in taken))
        here = sorted(taken, key=lambda item: item[1])
        if memaddr is not None:
            return self._check_address(Span.sized(memaddr, size), alignment, here)
        address = align_up(self.device_region.start, alignment)
        for _, span in here:
            if Span.sized(address, size).overlaps(span):
                address = align_up(span.stop, alignment)
        if not self.device_region.contains(Span.sized(address, size)):
            raise DeviceError(
                "could not find position in guest address space for memory device - memory fragmented due to alignments"
            )
        return address

    def _check_room(self, size: int, used: int) -> None:
        """Refuse what the machine has no room for."""
        if not self.device_room:
            raise DeviceError(
                "memory devices (e.g. for memory hotplug) are not enabled, please specify the maxmem option"
            )
        if used + size > self.device_room:
            raise DeviceError(
                f"not enough space, currently {used:#x} in use of total space for memory devices {self.device_room:#x}"
            )

    def _check_address(self, span: Span, alignment: int, here: list[tuple[str, Span]]) -> int:
        """Refuse an address that was asked for."""
        region = self.device_region
        if span.start % alignment:
            raise DeviceError(f"address must be aligned to {alignment:#x} bytes")
        if not region.contains(span):
            raise DeviceError(
                f"can't add memory device [{span.start:#x}:{span.size:#x}], "
                f"usable range for memory devices [{region.start:#x}:{region.size:#x}]"
            )
        for owner, other in here:
            if span.overlaps(other):
                raise DeviceError(f"address range conflicts with memory device id='{owner}'")
        return span.start
