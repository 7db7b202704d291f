"""A machine for scripted hypervisors to show: an embedded guest with one virtio-mem device, or two."""

import threading
from collections.abc import Callable
from pathlib import Path

from virtiomem.errors import DeviceError
from virtiomem.recording.values import Load, PlugDimm, Resize, Step, UnplugDimm, Use, VirtioMemInfo
from virtiomem.scenario import embedded_guest, loads
from virtiomem.units import GiB, MiB, Size

BOOT = 1 * GiB
MAX = 2 * GiB
BLOCK = 2 * MiB
SCENARIO = """
[guest]
memory = "1G"
max-memory = "16G"
default-state = "{default}"
slots = 4
"""
DEVICE = '[[device]]\nid = "{name}"\nmax-size = "2G"\n'


class Played:
    """An embedded guest that is asked from any thread; listeners hear of its changes."""

    def __init__(self, folder: Path, *names: str, default: str = "online", driver: bool = True) -> None:
        text = SCENARIO.format(default=default) + "".join(DEVICE.format(name=name) for name in names)
        self.guest = embedded_guest(loads(text, source=str(folder)))
        self.listeners: list[Callable[[str, int], None]] = []
        self.status = "running"
        self.busy: str | None = None
        """A job of the hypervisor's that runs: migration, save."""
        self._lock = threading.RLock()
        if driver:
            self.play(Load())

    @property
    def devices(self) -> list[VirtioMemInfo]:
        with self._lock:
            return [device for device in self.guest.memory_devices if isinstance(device, VirtioMemInfo)]

    def set(self, name: str, size: int) -> None:
        """Set a requested size; DeviceError when the device refuses."""
        self.play(Resize(device=name, requested_size=Size(size)))

    def use(self, size: int) -> None:
        """Let the kernel use memory, which keeps it from being unplugged."""
        self.play(Use(id="pinned", size=Size(size), kind="unmovable"))

    def play(self, step: Step) -> None:
        with self._lock:
            before = {device.id: device.size for device in self.devices}
            error = self.guest.act(step)
            after = {device.id: device.size for device in self.devices}
        if error is not None:
            raise DeviceError(error)
        for name, size in after.items():
            if before.get(name) != size:
                for listener in self.listeners:
                    listener(name, size)

    def plug_dimm(self, name: str, size: int) -> None:
        self.play(PlugDimm(id=name, size=Size(size)))

    def unplug_dimm(self, name: str) -> None:
        self.play(UnplugDimm(id=name))

    def close(self) -> None:
        self.guest.close()
