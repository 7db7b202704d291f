"""Return the kind of a resource, by its name."""

import re
from functools import lru_cache

from virtiomem.recording.palette import ResourceKind
from virtiomem.resource.names import CRASH_KERNEL, DAX_DEVICE, DRIVER_RAM, SYSTEM_RAM, VIRTIO_DEVICE, VIRTIO_MEM_RAM

# The first that fits: what virtio-mem added is also a driver's RAM.
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
