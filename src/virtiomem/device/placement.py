"""Choose the addresses of memory devices in a machine (hw/mem/memory-device.c, v7.2).

Behind boot memory comes one region for memory devices; `board` knows where. A
device goes to its own address or to the first gap that holds it; devices already there are passed in address order.
"""

from bisect import insort
from typing import NamedTuple

from virtiomem import border
from virtiomem.device.board import BOARDS, MachineKind
from virtiomem.errors import DeviceError
from virtiomem.units import U64_MAX, GiB, MiB, Span, align_up

BACKEND_ALIGNMENT = 2 * MiB
"""Alignment of a RAM backend in QEMU on x86-64 (QEMU_VMALLOC_ALIGN)."""

MAX_SLOTS = 256
"""Models: ACPI_MAX_RAM_SLOTS in include/hw/acpi/acpi.h (v7.2)."""

_SLOT_RESERVE = 1 * GiB
"""Room per DIMM slot, so that each can be aligned to 1G (enforce-aligned-dimm)."""


class Placed(NamedTuple):
    """A memory device and its range; ordered by address."""

    span: Span
    id: str


class DeviceMemory:
    """The region for memory devices of one machine; all sizes in bytes."""

    def __init__(
        self, *, machine: MachineKind = "q35", memory: int, max_memory: int | None = None, slots: int = 0
    ) -> None:
        """Lay out the machine; without `max_memory` there is no room for devices.

        Raises DeviceError when max_memory is below the boot memory, ArgumentError for what is not a size.
        """
        border.integer("memory", memory)
        border.integer("slots", slots, 0, MAX_SLOTS)
        if max_memory is not None:
            border.integer("max_memory", max_memory)
        self._room = memory if max_memory is None else max_memory
        if self._room < memory:
            raise DeviceError(
                f"invalid value of maxmem: maximum memory size ({self._room:#x}) must be at least the initial memory "
                f"size ({memory:#x})"
            )
        if slots and self._room == memory:
            raise DeviceError(
                f"invalid value of maxmem: memory slots were specified but maximum memory size ({self._room:#x}) is "
                f"equal to the initial memory size ({memory:#x})"
            )
        self._room -= memory
        self._board = BOARDS[machine]
        # Without maxmem QEMU makes no region for devices at all, whatever the slots.
        room = self._room + slots * _SLOT_RESERVE if self._room else 0
        self.region = Span.sized(self._board.region_start(memory), room)
        self._placed: list[Placed] = []

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The devices that are there, ascending by address."""
        return tuple(self._placed)

    def place(
        self,
        id: str,
        size: int,
        *,
        alignment: int = BACKEND_ALIGNMENT,
        memaddr: int | None = None,
    ) -> int:
        """Give the device `id` a range of `size` bytes and return its address.

        As in QEMU, memaddr 0 means "not set". Raises DeviceError with QEMU's words, ArgumentError for what is not a
        size or address. Models: memory_device_get_free_addr() in hw/mem/memory-device.c (v7.2).
        """
        border.name("id", id)
        border.integer("size", size)
        border.power_of_two("alignment", alignment)
        if memaddr is not None:
            border.integer("memaddr", memaddr)
        # Huge pages can back it only where host and guest addresses are aligned alike.
        alignment = max(alignment, BACKEND_ALIGNMENT)
        self._check_addable(size)
        if memaddr and memaddr % alignment:
            raise DeviceError(f"address must be aligned to {alignment:#x} bytes")
        if size % alignment:
            raise DeviceError(f"backend memory size must be multiple of {alignment:#x}")
        span = self._at(memaddr, size) if memaddr else self._first_fit(size, alignment)
        insort(self._placed, Placed(span, id))
        return span.start

    def remove(self, id: str) -> None:
        """Take the device away; raises DeviceError when no device has this id."""
        for index, device in enumerate(self._placed):
            if device.id == id:
                del self._placed[index]
                return
        raise DeviceError(f"Device '{id}' not found")

    def _check_addable(self, size: int) -> None:
        """Models: memory_device_check_addable() in hw/mem/memory-device.c (v7.2)."""
        if not self._room:
            raise DeviceError(f"memory devices (e.g. for memory hotplug) {self._board.not_enabled}")
        # Against maxmem and not against the region: the room for slots in it is for alignment alone.
        used = sum(device.span.size for device in self._placed)
        if size <= 0 or used + size > self._room:
            raise DeviceError(
                f"not enough space, currently {used:#x} in use of total space for memory devices {self._room:#x}"
            )

    def _at(self, memaddr: int, size: int) -> Span:
        span = Span.sized(memaddr, size)
        if not self.region.contains(span):
            raise DeviceError(
                f"can't add memory device [{memaddr:#x}:{size:#x}], usable range for memory devices "
                f"[{self.region.start:#x}:{self.region.size:#x}]"
            )
        for device in self._placed:
            if device.span.overlaps(span):
                raise DeviceError(f"address range conflicts with memory device id='{device.id}'")
        return span

    def _first_fit(self, size: int, alignment: int) -> Span:
        span = Span.sized(align_up(self.region.start, alignment), size)
        if span.stop > U64_MAX:
            raise DeviceError("can't add memory device, device too big")
        for device in self._placed:
            # One round is enough: behind a device that was passed, only those above it are left.
            if device.span.overlaps(span):
                span = Span.sized(align_up(device.span.stop, alignment), size)
        if not self.region.contains(span):
            raise DeviceError(
                "could not find position in guest address space for memory device - memory fragmented due to alignments"
            )
        return span

    def check(self) -> None:
        """Assert that devices are sorted, apart and inside the region."""
        for device in self._placed:
            assert self.region.contains(device.span), f"{device} lies outside the device memory region"
        for lower, upper in zip(self._placed, self._placed[1:], strict=False):
            assert lower.span.stop <= upper.span.start, f"{lower} and {upper} overlap or are out of order"
        assert sum(device.span.size for device in self._placed) <= self._room, "devices exceed maxmem"
