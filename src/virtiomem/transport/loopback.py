"""The shortest channel: driver and device in one process, joined by their bytes alone."""

from collections.abc import Callable
from types import NoneType

from virtiomem import border
from virtiomem.device.mem import MemDevice
from virtiomem.errors import ProtocolError


class Loopback:
    """A `transport.channel.RequestChannel` straight into a MemDevice.

    A request that breaks the protocol leaves the device in need of a reset: it answers nothing until then.
    """

    def __init__(self, device: MemDevice, *, features: int | None = None) -> None:
        """Join `device`; `features` are those the driver accepts of the ones offered, all when None.

        Raises ArgumentError.
        """
        border.instance("device", device, MemDevice)
        border.instance("features", features, int, NoneType)
        # Without a ring there is no negotiation to fail: what is not offered is left out.
        self.features = int(device.features) if features is None else int(device.features) & features
        self._device = device
        self._needs_reset = False
        self._callback: Callable[[], None] | None = None
        device.on_config_change(self._notify)

    def __repr__(self) -> str:
        return f"<Loopback to {self._device!r}>"

    def send(self, request: bytes) -> bytes:
        """Put one request to the device; empty when it gave up."""
        # A device that needs a reset returns no buffer, and a driver waits for it forever: an empty answer says so.
        if self._needs_reset:
            return b""
        try:
            return self._device.handle(request)
        except ProtocolError:
            self._needs_reset = True
            # NEEDS_RESET comes with a configuration change notification (2.1.2).
            self._notify()
            return b""

    def config(self) -> bytes:
        """The device's configuration space."""
        return self._device.config.pack()

    def on_config_change(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at each configuration change notification; None stops it."""
        self._callback = callback

    def reset(self) -> None:
        """Reset the virtio device; plugged memory stays plugged."""
        self._needs_reset = False

    def _notify(self) -> None:
        if self._callback is not None:
            self._callback()
