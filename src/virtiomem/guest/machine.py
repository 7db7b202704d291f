"""A scenario's machine: its boot memory, the room for memory devices, and the 64-bit PCI window behind it.

Where each of them lies is `device.board`'s knowledge.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

from virtiomem.device.board import BOARDS, Board, MachineKind
from virtiomem.device.placement import BACKEND_ALIGNMENT, DeviceMemory
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.resource.node import Resource
from virtiomem.units import GiB, MiB, Span, align_up

MAX_DEVICES = 30
"""Virtio-mem devices that QEMU finds slots for on the root bus of either machine; the rest of its 32 are taken."""
_FIRMWARE = 256 * MiB
"""Firmware keeps less than this at the end of the RAM below 4G."""


def machine_of(listing: Resource) -> tuple[MachineKind, int] | None:
    """The machine type and the bytes of boot memory that a map shows; None where its RAM is not as any has it around 4G."""
    ram = [(node.start, node.end + 1) for node in listing.children if node.name == SYSTEM_RAM]
    low = max((end for start, end in ram if start < 4 * GiB), default=0)
    high = next((end - start for start, end in ram if start == 4 * GiB), 0)
    boards = (board for board in BOARDS.values() if high and board.low - _FIRMWARE < low <= board.low)
    return next(((board.name, board.low + high) for board in boards), None)


class MachineLayout(NamedTuple):
    """The memory map of a machine; sizes in bytes."""

    kind: MachineKind
    memory: int
    max_memory: int
    """Boot memory plus all that memory devices may have; equal to `memory` when there is no room for any."""
    slots: int

    @classmethod
    def of(cls, guest: GuestConfig, devices: Sequence[DeviceConfig] = (), dimms: Sequence[int] = ()) -> Self:
        """The machine of a configuration.

        Without `max-memory` there is as much room as these devices, and DIMMs of these sizes, need, and at least 1G for
        each slot.
        """
        if guest.max_memory is not None:
            return cls(guest.machine, guest.memory, guest.max_memory, guest.slots)
        base = end = DeviceMemory(machine=guest.machine, memory=guest.memory).region.start
        for device in devices:
            start = device.memaddr or align_up(end, max(device.block_size, BACKEND_ALIGNMENT))
            end = max(end, start + device.max_size)
        # Both are needed: QEMU counts sizes against maxmem, and devices at fixed addresses also need the gaps between
        # them.
        sizes = sum(device.max_size for device in devices)
        slots = max(guest.slots, len(dimms))
        room = align_up(max(end - base, sizes) + max(sum(dimms), slots * GiB), GiB)
        return cls(guest.machine, guest.memory, guest.memory + room, slots)

    @property
    def ram(self) -> list[Span]:
        """Boot memory, ascending."""
        return self.board.boot_memory(self.memory)

    @property
    def board(self) -> Board:
        """The machine type."""
        return BOARDS[self.kind]

    def device_memory(self) -> DeviceMemory:
        """The region for memory devices, with none in it."""
        return DeviceMemory(machine=self.kind, memory=self.memory, max_memory=self.max_memory, slots=self.slots)

    @property
    def pci_window64(self) -> Span:
        """The 64-bit PCI window, behind the device region."""
        return self.board.pci_window64(self.device_memory().region.stop)
