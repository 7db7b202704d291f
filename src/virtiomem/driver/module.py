"""The virtio_mem kernel module: its parameters, loading and unloading, and the online-page callback of all devices.

Models: register_virtio_mem_device(), virtio_mem_online_page_cb() (drivers/virtio/virtio_mem.c, v6.1).
"""

from collections.abc import Sequence
from dataclasses import replace

from virtiomem import border
from virtiomem.abi import Sleep
from virtiomem.clock import Clock
from virtiomem.driver.messages import MODULE
from virtiomem.driver.parameters import DEFAULTS, Parameters
from virtiomem.driver.virtio_mem import Log, VirtioMem
from virtiomem.errors import OK, ArgumentValueError, Errno
from virtiomem.memory.core import Memory
from virtiomem.memory.onlining import generic_online_page
from virtiomem.releases.linux import LinuxRelease
from virtiomem.transport.channel import RequestChannel


class VirtioMemModule:
    """The loaded module; make it to load it, `unload` it to be rid of it."""

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        devices: Sequence[tuple[str, RequestChannel]],
        parameters: Parameters = DEFAULTS,
        log: Log = lambda level, text: None,  # noqa: ARG005
    ) -> None:
        """Load the module and probe every device, given as (name, channel); one that fails is left out.

        Raises ArgumentError.
        """
        border.instance("memory", memory, Memory)
        border.instance("clock", clock, Clock)
        border.instance("parameters", parameters, Parameters)
        border.function("log", log)
        _check_devices(devices)
        parameters = _known(parameters, memory.release, log)
        self.memory = memory
        self.devices: list[VirtioMem] = []
        """Devices that were probed, in order."""
        self.failed: dict[str, Errno] = {}
        """Devices whose probe failed, by name."""
        for name, channel in devices:
            device = VirtioMem(name, channel, memory, clock, parameters, log)
            if rc := device.probe():
                self.failed[name] = rc
                self._note_failure(name, rc, log)
            else:
                self.devices.append(device)
                # One callback for all devices. After the probe is early enough: it only queued the first pass. Where
                # every probe fails it is not set, and memory of others goes online without it.
                memory.online_page_callback = self.online_page

    def __repr__(self) -> str:
        failed = "".join(f", {name} failed ({rc.name})" for name, rc in self.failed.items())
        return f"<VirtioMemModule: {self.devices}{failed}>"

    def _note_failure(self, device: str, rc: Errno, log: Log) -> None:
        """Log what the driver core says about a failed probe. Models: call_driver_probe(). Since: 6.9 (failed_probe)."""
        level, text = self.memory.release.failed_probe
        log(level, text.format(device=device, errno=-rc))

    def online_page(self, start: int, size: int) -> None:
        """Memory goes online: a device's own memory is that device's business, all other is handed out whole."""
        owner = next((device for device in self.devices if device.contains(start, size)), None)
        if owner is None:
            generic_online_page(self.memory, start, size)
        else:
            owner.mode.online_page(start, size)

    def freeze(self, to: Sleep) -> Errno:
        """Let every device sleep, or none: EPERM when one refuses, and those that slept already are awake again.

        Models: dpm_suspend() in drivers/base/power/main.c (v6.1), which goes from the last device to the first; the notifiers
        that hear of hibernation go the other way. Raises ArgumentError.
        """
        border.instance("to", to, Sleep)
        asleep: list[VirtioMem] = []
        for device in self.devices if to is Sleep.DISK else reversed(self.devices):
            if rc := device.freeze(to):
                for other in reversed(asleep):
                    other.restore()
                return rc
            asleep.append(device)
        return OK

    def restore(self) -> None:
        """The guest is awake."""
        for device in self.devices:
            device.restore()

    def unload(self) -> None:
        """Remove every device, the last one first (driver_detach()), then the module; memory that is online stays."""
        while self.devices:
            self.devices[-1].remove()
            self.devices.pop()
        # Last: without the callback, memory of these devices would go online whole.
        self.memory.online_page_callback = None

    def check(self) -> None:
        """Assert the invariants of every device."""
        for device in self.devices:
            device.check()


def _known(parameters: Parameters, release: LinuxRelease, log: Log) -> Parameters:
    """The parameters that the module has; the kernel warns of another and ignores it. Since: 6.5 (has_bbm_safe_unplug)."""
    if release.has_bbm_safe_unplug or parameters.bbm_safe_unplug:
        return parameters
    log("warning", f"{MODULE}: unknown parameter 'bbm_safe_unplug' ignored")
    return replace(parameters, bbm_safe_unplug=True)


def _check_devices(devices: object) -> None:
    """Refuse what cannot be names and transports."""
    border.instance("devices", devices, list, tuple)
    assert isinstance(devices, list | tuple)
    for device in devices:
        border.instance("a device", device, list, tuple)
        if len(device) != 2:
            raise ArgumentValueError(f"a device must be a name and a channel, not {len(device)} things")
        border.name("a device's name", device[0])
        for verb in ("send", "config", "on_config_change", "reset"):
            border.function(f"{verb} of a device's channel", getattr(device[1], verb, None))
