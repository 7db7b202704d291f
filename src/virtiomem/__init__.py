"""The Linux virtio-mem stack: resource tree, memory hot(un)plug core, driver and device, each usable alone."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtiomem.kdump.ranges import crash_ranges
    from virtiomem.resource import iomem
    from virtiomem.resource.tree import Resource, ResourceConflict, ResourceTree

__version__ = "0.1.0"

__all__ = ["Resource", "ResourceConflict", "ResourceTree", "crash_ranges", "iomem"]

# Where each public name lives. They are imported when they are first used, so that `import virtiomem` costs nothing.
_HOMES = {
    "Resource": "virtiomem.resource.tree",
    "ResourceConflict": "virtiomem.resource.tree",
    "ResourceTree": "virtiomem.resource.tree",
    "crash_ranges": "virtiomem.kdump.ranges",
    "iomem": "virtiomem.resource",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'virtiomem' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    value = globals()[name] = getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
