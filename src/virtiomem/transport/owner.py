"""The user's side of our own device: its size is set and read, and its machine is reset, by call."""

from virtiomem.device.mem import MemDevice


class EmbeddedOwner:
    """The `transport.virtio_transport.Owner` of a MemDevice in this process."""

    def __init__(self, mem: MemDevice) -> None:
        self._mem = mem

    def set_requested_size(self, size: int) -> None:
        """Set the property; raises DeviceError in QEMU's words."""
        self._mem.requested_size = size

    def requested_size(self) -> int:
        """The property."""
        return self._mem.requested_size

    def size(self) -> int:
        """The plugged size."""
        return self._mem.plugged_size

    def system_reset(self) -> None:
        """Reset the machine."""
        self._mem.system_reset()

    def set_busy(self, busy: bool) -> None:
        """Start or cancel a migration."""
        self._mem.busy = busy
