"""Count the address bits that QEMU's machine needs: boot memory, the region for memory devices and the 64-bit PCI
window above it.
"""

from bisect import bisect_left

from virtiomem.guest.machine import MachineLayout
from virtiomem.units import GiB


def highest_address(machine: MachineLayout, *, amd: bool) -> int:
    """The last address that the machine uses."""
    return machine.board.last_address(machine.memory, machine.device_memory().region.size, amd=amd)


def largest_maximum(machine: MachineLayout, bits: int, *, amd: bool) -> int:
    """The most that `maxmem` can be with that many address bits: whole GiB."""
    # Not a list: the bisection measures a machine for a few of the sizes only.
    sizes = range(0, (1 << bits) + 1, GiB)
    fitting = bisect_left(
        sizes,
        1 << bits,
        # A machine cannot have less than its boot memory.
        lo=min(-(-machine.memory // GiB), len(sizes)),
        key=lambda size: highest_address(machine._replace(max_memory=size), amd=amd),
    )
    return max(fitting - 1, 0) * GiB
