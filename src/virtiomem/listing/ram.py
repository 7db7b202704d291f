"""Find the System RAM in a map, and which driver added it."""

from collections.abc import Iterator
from typing import NamedTuple

from virtiomem.resource.names import DAX_DEVICE, DRIVER_RAM, VIRTIO_DEVICE, is_system_ram
from virtiomem.resource.node import Resource

BOOT = "boot or DIMM"
"""Plain `System RAM`: its name does not say which driver added it."""
_PARENTS = ((VIRTIO_DEVICE, "virtio_mem"), (DAX_DEVICE, "kmem"))


class RamRange(NamedTuple):
    """One range of RAM: its resource and who brought it."""

    resource: Resource
    kind: str


def system_ram(root: Resource) -> Iterator[RamRange]:
    """The outermost System RAM in address order; RAM inside RAM, as old kernels show it, is counted once."""
    inside = -1
    for _, node in root.walk():
        if node.start > inside and is_system_ram(node.name):
            inside = node.end
            yield RamRange(node, _kind(node))


def _kind(node: Resource) -> str:
    """Name the driver that added it: by its name, or by the device it is in (before 5.8 the name did not say)."""
    match = DRIVER_RAM.fullmatch(node.name)
    if match is not None:
        return match[1]
    parent = "" if node.parent is None else node.parent.name
    return next((kind for pattern, kind in _PARENTS if pattern.fullmatch(parent)), BOOT)


def totals(found: list[RamRange]) -> dict[str, tuple[int, int]]:
    """Ranges and bytes by kind, boot memory first."""
    kinds = sorted({ram.kind for ram in found}, key=lambda kind: (kind != BOOT, kind))
    by_kind = {kind: [ram.resource.size for ram in found if ram.kind == kind] for kind in kinds}
    return {kind: (len(sizes), sum(sizes)) for kind, sizes in by_kind.items()}
