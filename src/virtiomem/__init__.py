"""The Linux virtio-mem stack: resource tree, memory hot(un)plug core, driver and device, each usable alone."""

from importlib import import_module

TYPE_CHECKING = False  # typing's own would be most of what `import virtiomem` takes
if TYPE_CHECKING:
    from virtiomem import recording, scenario
    from virtiomem.clock import Clock
    from virtiomem.device.mem import MemDevice
    from virtiomem.driver import Parameters, VirtioMemModule
    from virtiomem.guest.embedded import EmbeddedGuest
    from virtiomem.kdump.ranges import crash_ranges
    from virtiomem.live.linux import LiveLinux
    from virtiomem.memory import Memory, Policy
    from virtiomem.resource import iomem
    from virtiomem.resource.tree import Resource, ResourceConflict, ResourceTree
    from virtiomem.transport.loopback import Loopback

__version__ = "0.2.0"

__all__ = [
    "Clock",
    "EmbeddedGuest",
    "LiveLinux",
    "Loopback",
    "MemDevice",
    "Memory",
    "Parameters",
    "Policy",
    "Resource",
    "ResourceConflict",
    "ResourceTree",
    "VirtioMemModule",
    "crash_ranges",
    "iomem",
    "recording",
    "scenario",
]

# Where each public name lives. They are imported when they are first used, so that `import virtiomem` costs nothing.
_HOMES = {
    "Clock": "virtiomem.clock",
    "EmbeddedGuest": "virtiomem.guest.embedded",
    "LiveLinux": "virtiomem.live.linux",
    "Loopback": "virtiomem.transport.loopback",
    "MemDevice": "virtiomem.device.mem",
    "Memory": "virtiomem.memory",
    "Parameters": "virtiomem.driver",
    "Policy": "virtiomem.memory",
    "Resource": "virtiomem.resource.tree",
    "ResourceConflict": "virtiomem.resource.tree",
    "ResourceTree": "virtiomem.resource.tree",
    "VirtioMemModule": "virtiomem.driver",
    "crash_ranges": "virtiomem.kdump.ranges",
}
_MODULES = {
    "errors": "virtiomem.errors",
    "iomem": "virtiomem.resource.iomem",
    "recording": "virtiomem.recording",
    "scenario": "virtiomem.scenario",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'virtiomem' has no attribute {name!r}")
    # Kept as a plain global: the next use of the name finds it without a call of this function.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # A REPL completes by dir(), which without this would lack every name that was not imported yet.
    return sorted({*globals(), *__all__})
