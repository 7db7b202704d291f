"""What kind of thing a resource is, by its name: what the map colours it by."""

import re
from enum import Enum
from functools import lru_cache

from virtiomem.recording.palette import Appearance
from virtiomem.resource.names import CRASH_KERNEL, DAX_DEVICE, DRIVER_RAM, SYSTEM_RAM, VIRTIO_DEVICE, VIRTIO_MEM_RAM


class ResourceKind(Enum):
    """Kinds of resources, most telling first. The symbol is not shown; the words and colours are."""

    VIRTIO_MEM = Appearance("System RAM from virtio-mem", "V", "#a58ad6")
    DRIVER_RAM = Appearance("System RAM from another driver", "D", "#c9a0dc")
    RAM = Appearance("System RAM", "R", "#6ea6d9")
    REGION = Appearance("device region", "r", "#ded6f2")
    """A device's memory: RAM that a driver adds lies inside it."""
    KERNEL = Appearance("kernel image", "k", "#3f78b0")
    CRASH = Appearance("crash kernel", "c", "#d98a6a")
    FIRMWARE = Appearance("firmware, reserved", "f", "#b5b5b5")
    IO = Appearance("PCI and other devices", "i", "#d8cba8")

    @property
    def look(self) -> Appearance:
        """How this kind looks."""
        return self.value


_RULES = (
    (ResourceKind.VIRTIO_MEM, re.compile(re.escape(VIRTIO_MEM_RAM))),
    (ResourceKind.DRIVER_RAM, DRIVER_RAM),
    (ResourceKind.RAM, re.compile(SYSTEM_RAM)),
    (
        ResourceKind.REGION,
        re.compile(
            rf"{VIRTIO_DEVICE.pattern}|{DAX_DEVICE.pattern}|namespace\d+\.\d+|Persistent Memory.*|Soft Reserved|CXL Window \d+"
        ),
    ),
    (ResourceKind.KERNEL, re.compile(r"Kernel .*")),
    (ResourceKind.CRASH, re.compile(rf"{CRASH_KERNEL}|GART")),
    (
        ResourceKind.FIRMWARE,
        re.compile(r"(?i)reserved|RAM buffer|ACPI .*|.* ROM|Unusable memory|Unknown E820 type|Video RAM area"),
    ),
)


@lru_cache(maxsize=4096)
def resource_kind(name: str) -> ResourceKind:
    """The kind of a resource with this name."""
    return next((kind for kind, rule in _RULES if rule.fullmatch(name)), ResourceKind.IO)
