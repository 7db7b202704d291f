"""What counts as System RAM in a map, and where it comes from."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from virtiomem.resource.node import Resource

BOOT = "boot or DIMM"
"""Plain `System RAM`: firmware, ACPI DIMMs, Xen and Hyper-V balloons all use this name."""
_DRIVER = re.compile(r"System RAM \((.*)\)")
_PARENTS = ((re.compile(r"virtio[0-9]+"), "virtio_mem"), (re.compile(r"dax[0-9]+\.[0-9]+"), "kmem"))


class Ram(NamedTuple):
    """One range of RAM: its resource and who brought it."""

    resource: Resource
    kind: str


def is_ram(name: str) -> bool:
    """True for `System RAM` and for driver-managed `System RAM (…)`."""
    return name == "System RAM" or _DRIVER.fullmatch(name) is not None


def system_ram(root: Resource) -> Iterator[Ram]:
    """The outermost System RAM in address order; RAM inside RAM, as old kernels show it, is counted once."""
    inside = -1
    for _, node in root.walk():
        if node.start > inside and is_ram(node.name):
            inside = node.end
            yield Ram(node, _kind(node))


def _kind(node: Resource) -> str:
    """Who brought it: the driver in its name, or the one whose device it is in (before 5.8 the name did not say)."""
    match = _DRIVER.fullmatch(node.name)
    if match is not None:
        return match[1]
    parent = "" if node.parent is None else node.parent.name
    return next((kind for pattern, kind in _PARENTS if pattern.fullmatch(parent)), BOOT)


def totals(found: list[Ram]) -> dict[str, tuple[int, int]]:
    """Ranges and bytes by kind, boot memory first."""
    kinds = sorted({ram.kind for ram in found}, key=lambda kind: (kind != BOOT, kind))
    by_kind = {kind: [ram.resource.size for ram in found if ram.kind == kind] for kind in kinds}
    return {kind: (len(sizes), sum(sizes)) for kind, sizes in by_kind.items()}
