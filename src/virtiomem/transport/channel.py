"""Channel from a driver to a virtio-mem device: one request out, one answer back, and a configuration space to read."""

from collections.abc import Callable
from typing import Protocol


class RequestChannel(Protocol):
    """Requests to one device and their answers; all that a driver knows of it."""

    features: int
    """Feature bits negotiated (virtio specification 5.15.3)."""

    def send(self, request: bytes) -> bytes:
        """Put one request (24 bytes) on the guest-request queue and return what the device wrote (10 bytes).

        An empty answer means that the device never returned the buffer.
        Raises BackendError when the device cannot be reached any more.
        """

    def config(self) -> bytes:
        """The device's configuration space, 56 bytes, read consistently (generation counter)."""

    def on_config_change(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at each configuration change notification; None stops it."""

    def reset(self) -> None:
        """Reset the virtio device (status 0); plugged memory stays plugged (virtio specification 5.15.6)."""
