"""QEMU's devices for the embedded guest: the same guest and driver, on the real device.

One stopped QEMU holds all devices of a scenario where the scenario has them.
"""

from collections.abc import Sequence

from virtiomem.errors import ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.guest.embedded.guest import EmbeddedGuest
from virtiomem.guest.machine import MachineLayout
from virtiomem.transport.qemu_device import MachineSpec, QemuDevice, QemuMachine
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import VringChannel
from virtiomem.wire.mem import Feature


class QemuDevices:
    """A QEMU with the devices of a scenario; see `guest.embedded.hardware.Devices`.

    Raises DeviceError, in QEMU's words, for an impossible device, and BackendError when QEMU is missing or too old.
    """

    def __init__(self, guest: GuestConfig, devices: Sequence[DeviceConfig], *, binary: str | None = None) -> None:
        layout = MachineLayout.of(guest, devices)
        machine = MachineSpec(layout.kind, layout.memory, layout.max_memory, len(guest.nodes))
        self._machine = QemuMachine([_spec(device) for device in devices], machine, binary=binary)
        self._channels = {name: device.channel() for name, device in self._machine.devices.items()}

    @property
    def qemu(self) -> str:
        """QEMU's version."""
        return self._machine.version

    def owner(self, device: str) -> QemuDevice:
        """The user's side of a device."""
        return self._machine.devices[device]

    def channel(self, device: str) -> VringChannel:
        """The driver's side of a device, which hears of a resize at once."""
        return self._channels[device]

    def refusal(self, device: str) -> None:
        """Why a device refused a request; QEMU does not tell."""

    def system_reset(self) -> None:
        """Reset the machine and bring every device up again, for the kernel that boots next."""
        self._machine.system_reset()
        # A machine reset takes the rings away, and the next kernel's driver expects a device that answers.
        for channel in self._channels.values():
            channel.reset()

    def wake_up(self) -> None:
        """Reset the machine as its QEMU does when it wakes up; the stopped machine here never really sleeps."""
        if not any(channel.features & Feature.PERSISTENT_SUSPEND for channel in self._channels.values()):
            self.system_reset()

    def close(self) -> None:
        """End QEMU; harmless when repeated."""
        self._machine.close()


def guest_on_qemu(
    guest: GuestConfig,
    driver: DriverConfig,
    devices: Sequence[DeviceConfig],
    boot_iomem: str,
    *,
    binary: str | None = None,
) -> EmbeddedGuest:
    """The embedded guest, with QEMU's devices in place of ours; closing it ends QEMU.

    Raises ScenarioError for a guest that starts from a capture, DeviceError for an impossible device, and BackendError
    when QEMU is missing or too old.
    """
    if guest.capture is not None:
        raise ScenarioError(
            "QEMU's devices start empty; only our own can go on where a capture was taken", where="guest.capture"
        )
    real = QemuDevices(guest, devices, binary=binary)
    try:
        return EmbeddedGuest(guest, driver, devices, boot_iomem, hardware=real)
    # An interrupt as well: nothing else would end this QEMU.
    except BaseException:
        real.close()
        raise


def _spec(config: DeviceConfig) -> DeviceSpec:
    return DeviceSpec(
        config.id,
        config.max_size,
        block_size=config.block_size,
        requested_size=config.requested_size,
        memaddr=config.memaddr,
        node=config.node,
    )
