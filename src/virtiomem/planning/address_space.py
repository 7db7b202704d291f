"""How many address bits QEMU's machine needs: boot memory, the region for memory devices and the 64-bit PCI window above it.

Models: pc_max_used_gpa(), pc_set_amd_above_4g_mem_start() in hw/i386/pc.c (v7.2).
"""

from virtiomem.guest.machine import MachineLayout
from virtiomem.units import GiB, TiB

_HT_START = 0xFD00000000
"""Where AMD's CPUs have HyperTransport, up to 1T; what would reach it moves above, boot memory from 4G up and all behind."""


def highest_address(machine: MachineLayout, *, amd: bool) -> int:
    """The last address that the machine uses."""
    region = machine.device_memory().region
    end = machine.board.pci_window64(region.stop).stop
    if amd and not machine.board.has_device_tree and end > _HT_START:
        end += TiB - 4 * GiB
    return end - 1


def largest_maximum(machine: MachineLayout, bits: int, *, amd: bool) -> int:
    """The most that `maxmem` can be with so many address bits: whole GiB."""
    end = highest_address(machine, amd=False) + 1
    limit = 1 << bits
    beside = end - machine.max_memory
    moved = TiB - 4 * GiB if amd and not machine.board.has_device_tree else 0
    most = limit - beside - moved
    if moved and most <= _HT_START - beside:
        most = min(limit, _HT_START) - beside
    return max(most // GiB * GiB, 0)
