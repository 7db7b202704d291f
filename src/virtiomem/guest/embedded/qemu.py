"""QEMU's devices for the embedded guest: the same guest and driver, on the real device.

One stopped QEMU holds all devices of a scenario where the scenario has them.
"""

from collections.abc import Sequence

from virtiomem.errors import ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.guest.embedded.guest import EmbeddedGuest
from virtiomem.guest.machine import Machine
from virtiomem.qemu.process import BINARY
from virtiomem.transport.qemu_device import MachineSpec, QemuDevice, QemuMachine
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import VringChannel


class QemuDevices:
    """A QEMU with the devices of a scenario; see `guest.embedded.hardware.Devices`.

    Raises DeviceError, in QEMU's words, for a device that cannot be, and BackendError when QEMU is missing or too old.
    """

    def __init__(self, guest: GuestConfig, devices: Sequence[DeviceConfig], *, binary: str = BINARY) -> None:
        layout = Machine.of(guest, devices)
        machine = MachineSpec(layout.kind, layout.memory, layout.max_memory, len(guest.nodes))
        self._machine = QemuMachine([_spec(device) for device in devices], machine, binary=binary)
        self._handles = {name: QemuHandle(device) for name, device in self._machine.devices.items()}

    @property
    def qemu(self) -> str:
        """QEMU's version."""
        return self._machine.version

    def handle(self, device: str) -> "QemuHandle":
        """The device of that id."""
        return self._handles[device]

    def system_reset(self) -> None:
        """Reset the machine and bring every device up again, for the kernel that boots next."""
        self._machine.system_reset()
        for handle in self._handles.values():
            handle.channel.reset()

    def close(self) -> None:
        """End QEMU; harmless when repeated."""
        self._machine.close()


class QemuHandle:
    """One device of it; see `guest.embedded.hardware.DeviceHandle`."""

    def __init__(self, device: QemuDevice) -> None:
        self._device = device
        self.channel: VringChannel = device.channel()

    @property
    def plugged_size(self) -> int:
        """Bytes plugged, as QEMU reports them."""
        return self._device.size()

    @property
    def requested_size(self) -> int:
        """Bytes asked for."""
        return self._device.requested_size()

    @property
    def refusal(self) -> None:
        """Why it refused a request; QEMU does not tell."""

    def resize(self, requested_size: int) -> None:
        """Ask for that many bytes; the driver hears of it at once. Raises DeviceError in QEMU's words."""
        self._device.set_requested_size(requested_size)


def guest_on_qemu(
    guest: GuestConfig,
    driver: DriverConfig,
    devices: Sequence[DeviceConfig],
    boot_iomem: str,
    *,
    binary: str = BINARY,
) -> EmbeddedGuest:
    """The embedded guest, with QEMU's devices in place of ours; closing it ends QEMU.

    Raises ScenarioError for a guest that starts from a capture, DeviceError for a device that cannot be, and BackendError
    when QEMU is missing or too old.
    """
    if guest.capture is not None:
        raise ScenarioError(
            "QEMU's devices start empty; only our own can go on where a capture was taken", where="guest.capture"
        )
    real = QemuDevices(guest, devices, binary=binary)
    try:
        return EmbeddedGuest(guest, driver, devices, boot_iomem, hardware=real)
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
