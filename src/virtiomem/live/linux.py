"""A running Linux as objects: its memory blocks, its virtio-mem devices, and what could go offline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from virtiomem import border
from virtiomem.architecture import DEFAULT
from virtiomem.errors import UsageError
from virtiomem.live.capture import MEMORY, Capture
from virtiomem.live.captured_devices import CapturedDevice, devices_of, map_of, ownership
from virtiomem.live.collect import collect
from virtiomem.live.lsmem import Ownership
from virtiomem.live.reading import load_any
from virtiomem.live.shrink import ShrinkPlan, plan_shrink
from virtiomem.live.sysfs import MemorySysfs
from virtiomem.live.views import architecture_of, driver_config_of, memory_of
from virtiomem.text import nearest, quoted

HEADINGS = (
    "proc/iomem",
    MEMORY,
    "proc/zoneinfo",
    "sys/bus/virtio/devices",
    "dev/kmsg",
    "sys/module/virtio_mem/parameters",
)
"""Files that report a running Linux's virtio-mem devices."""


@dataclass(frozen=True, slots=True, repr=False)
class LiveLinux:
    """The memory of a Linux at one moment: of this machine (`here`), or of one that a file describes (`load`).

    `owners`: by memory block, the virtio-mem device that it belongs to. `hidden`: True when nothing tells where some
    device is, or whether there is one, since /proc/iomem shows its addresses only with CAP_SYS_ADMIN.
    """

    capture: Capture
    memory: MemorySysfs
    devices: list[CapturedDevice]
    owners: dict[int, Ownership]
    hidden: bool

    @classmethod
    def here(cls, sysroot: str | Path = "/") -> Self:
        """Read the Linux whose /proc and /sys are below `sysroot`; nothing is changed.

        Raises UsageError where it has no memory blocks, BackendError where there is no such directory.
        """
        border.instance("sysroot", sysroot, str, Path)
        return cls.of(collect(sysroot, only=HEADINGS))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that describes a Linux: a capture, a recording, lsmem's output (docs/input.md).

        Raises UsageError for every other file, and says what it is.
        """
        border.instance("path", path, str, Path)
        return cls.of(load_any(path, verb="blocks"))

    @classmethod
    def of(cls, capture: Capture) -> Self:
        """Read a capture. Raises UsageError where it has no memory blocks, ListingError for a damaged map."""
        memory = memory_of(capture)
        devices = devices_of(capture, memory)
        listed = not capture.section("sys/bus/virtio/devices").remark
        # A masked map hides nothing where sysfs lists all devices and each one's place is known from elsewhere.
        hidden = map_of(capture) is None and not (listed and all(device.region for device in devices))
        return cls(capture, memory, devices, ownership(capture, memory, devices), hidden)

    def __repr__(self) -> str:
        names = ", ".join(device.name for device in self.devices) or "no virtio-mem device"
        return f"<LiveLinux of {self.capture.source}: {len(self.memory.blocks)} memory blocks, {names}>"

    def plan_shrink(self, by: int, device: str | None = None) -> ShrinkPlan:
        """Plan which memory blocks would go offline and away if a device shrank by that many bytes; nothing is changed.

        `device` is its name, which is not needed where there is one. Raises UsageError for no such device, or a size that is
        not a positive multiple of its block size.
        """
        border.integer("by", by)
        # Before the device is looked for: with hidden addresses some are missing, and `no such device` would be wrong.
        if self.hidden:
            raise UsageError(
                f"{self.capture.iomem_source}: no addresses in it, so no device is known (read it as root)"
            )
        row = architecture_of(self.capture) or DEFAULT
        chosen = self._device(device)
        return plan_shrink(chosen, self.memory, self.owners, by, driver_config_of(self.capture), row)

    def _device(self, name: str | None) -> CapturedDevice:
        """The device of that name, or the only one."""
        names = [device.name for device in self.devices]
        if not names:
            raise UsageError("there is no virtio-mem device here that could shrink")
        found = [device for device in self.devices if name in (None, device.name)]
        if len(found) != 1:
            wrong = "there are several" if name is None else f"no {quoted(name)}{nearest(name, names)}"
            raise UsageError(f"which device shrinks: {wrong} (virtio-mem devices here: {', '.join(names)})")
        return found[0]
