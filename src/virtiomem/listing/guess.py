"""Guess properties of a machine from its map alone."""

import re

from virtiomem.architecture import ARCHITECTURES, DEFAULT, Architecture
from virtiomem.resource.names import KERNEL_IMAGE, SYSTEM_RAM
from virtiomem.resource.node import Resource
from virtiomem.text import quoted
from virtiomem.units import MiB

_BIOS = (0xA0000, 0xFFFFF)
"""Video memory and the BIOS of a PC, which Linux there never takes for RAM: trim_bios_range() in
arch/x86/kernel/setup.c (v6.1)."""
_LOW = 16 * MiB
"""Every PC has RAM below."""
_NAMES = {
    "a device of loongarch": re.compile(r"LOON[0-9]{4}:[0-9]{2}"),
    "a name of a device tree": re.compile(r"[^\s@]++@(?:0x)?[0-9a-f]+"),
    "what 32-bit arm called the kernel": re.compile("Kernel text"),
}


def guess_architecture(root: Resource) -> Architecture:
    """The architecture by the names in a map; the usual one where nothing speaks for another."""
    nested = any(node.name == "reserved" and node.parent and node.parent.name == SYSTEM_RAM for _, node in root.walk())
    return next((row for row in ARCHITECTURES if nested and row.reserves_inside_ram), DEFAULT)


def unlike_x86(root: Resource) -> str:
    """Say why a map is not an x86-64's; empty where nothing speaks against it."""
    ram = [(node.start, node.end) for node in root.children if node.name == SYSTEM_RAM]
    for start, end in ram:
        if start <= _BIOS[0] and _BIOS[1] <= end:
            return f"System RAM {start:08x}-{end:08x} has no hole at {_BIOS[0]:x}-{_BIOS[1]:x}"
    names = dict.fromkeys(node.name for _, node in root.walk())
    for what, pattern in _NAMES.items():
        if name := next(filter(pattern.fullmatch, names), None):
            return f"{quoted(name)} is {what}"
    # Of a map that was cut at its beginning the kernel's own lines are seldom left.
    if ram and ram[0][0] >= _LOW and any(map(KERNEL_IMAGE.fullmatch, names)):
        return f"System RAM begins at {ram[0][0]:08x}"
    return ""
