"""Memory that a map shows as reserved for a crash kernel: whether there is any, and what is wrong with it.

Linux reserves it at boot, of the RAM that the firmware reports. A map that was edited or pasted may show anything.
"""

from virtiomem.resource.names import CRASH_KERNEL, DAX_DEVICE, DRIVER_RAM, KERNEL_IMAGE, VIRTIO_DEVICE, is_system_ram
from virtiomem.resource.node import Resource
from virtiomem.units import MiB, format_size

SMALLEST = 64 * MiB
"""The smallest that Linux itself proposes, for machines of 512M to 2G (Documentation/admin-guide/kdump/kdump.rst, v6.1)."""
_NOTHING_READ = (
    "no memory for a crash kernel was read, and lines of the map may be missing: whether any is reserved is not known"
)
_NOT_IN_MAP = "a crash kernel is loaded, and its memory is not in the map: it is taken for RAM to dump"
_HOTPLUGGED = (VIRTIO_DEVICE, DAX_DEVICE, DRIVER_RAM)


def no_dump(tree: Resource, *, loaded: bool | None = None, partly: bool = False) -> list[str]:
    """Why a crash leaves no dump at all, or may leave none, a sentence each.

    `loaded`: whether the machine says that a crash kernel is loaded; `partly`: something of the map may be missing.
    """
    lines = [node for _, node in tree.walk() if node.name == CRASH_KERNEL]
    if not lines and loaded:
        return [_NOT_IN_MAP]
    # Every whole map has the kernel's own lines: who picked lines out of it may have left out this one, too.
    if not lines and (partly or not any(KERNEL_IMAGE.fullmatch(node.name) for _, node in tree.walk())):
        return [_NOTHING_READ]
    said = _faults(lines)
    if not any(is_reserved(node.start, node.end) for node in lines):
        said.append("no crash kernel is reserved (boot with crashkernel=256M): a crash leaves no dump")
    elif loaded is False:
        said.append("no crash kernel is loaded (kexec -p): until one is, a crash leaves no dump")
    return said


def is_reserved(start: int, end: int) -> bool:
    """Return whether a `Crash kernel` line reserves memory: Linux and kexec-tools take one byte for none."""
    return end > start


def _faults(lines: list[Resource]) -> list[str]:
    """Faults of the reservations, lines of one kind in a sentence. A low one may be small: the largest counts."""
    found: dict[str, list[Resource]] = {}
    for node in lines:
        if wrong := _wrong(node):
            found.setdefault(wrong, []).append(node)
    largest = max(lines, key=lambda node: node.size, default=None)
    # A size of one byte has been said already: Linux prints that where nothing is reserved.
    if largest is not None and 1 < largest.size < SMALLEST:
        wrong = f"{format_size(largest.size)} is too little for a kernel and its initramfs: they take"
        found.setdefault(f"{wrong} {format_size(SMALLEST)} and more (crashkernel=256M)", []).append(largest)
    return [f"{_lines_text(nodes)}: {wrong}" for wrong, nodes in found.items()]


def _lines_text(nodes: list[Resource]) -> str:
    more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    return f"Crash kernel {nodes[0].start:08x}-{nodes[0].end:08x}{more}"


def _wrong(node: Resource) -> str:
    """Fault of one line; empty where it has none."""
    if not is_reserved(node.start, node.end):
        return "one byte, which is how Linux prints that nothing is reserved"
    around: list[str] = []
    above = node.parent
    while above is not None:
        around.append(above.name)
        above = above.parent
    added = next((name for name in around if any(pattern.fullmatch(name) for pattern in _HOTPLUGGED)), None)
    if added is not None:
        return f"inside {added}, which a driver added: it is reserved at boot, of the firmware's System RAM"
    # One that fills a System RAM stands around it.
    if not any(map(is_system_ram, (*around, *(child.name for child in node.children)))):
        return "in no System RAM, though Linux reserves it there at boot: RAM is missing from the map, or the line is wrong"
    return ""
