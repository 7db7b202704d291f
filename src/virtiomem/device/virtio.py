"""The virtio device around a MemDevice: status, features, interrupts, its queue, and giving up.

A malformed request or ring stops the device until the next reset: it sets NEEDS_RESET, notifies the driver of a
configuration change and looks at nothing more. Plugged memory, sizes and the configuration generation survive
every reset of the virtio device.

Models: hw/virtio/virtio.c and hw/virtio/virtio-pci.c (v7.2), as a driver sees them through virtio-pci.
"""

from virtiomem.device.mem import MemDevice
from virtiomem.device.virtqueue import Element, GuestMemory, VirtQueue
from virtiomem.errors import ProtocolError
from virtiomem.wire.mem import REQUEST_SIZE, RESPONSE_SIZE, Feature
from virtiomem.wire.ring import Layout
from virtiomem.wire.virtio import Isr, Status, VirtioFeature

QEMU_FEATURES = (
    VirtioFeature.INDIRECT_DESC | VirtioFeature.EVENT_IDX | VirtioFeature.VERSION_1 | VirtioFeature.RING_RESET
)
"""What virtio-mem-pci of QEMU 7.2 offers in addition to the device's own bits."""

LEGACY_FEATURES = VirtioFeature.NOTIFY_ON_EMPTY | VirtioFeature.ANY_LAYOUT
"""What it takes, but no longer offers: virtio_pci_common_read() hides these (hw/virtio/virtio-pci.c, v7.2)."""


class VirtioDevice:
    """A virtio-mem device as its driver meets it: registers, a queue in guest memory, an interrupt status."""

    def __init__(self, mem: MemDevice, memory: GuestMemory) -> None:
        """Put `mem` on the bus; the queue lies in `memory`."""
        self.mem = mem
        self.offered = int(mem.features) | int(QEMU_FEATURES)
        self.accepted = 0
        self.status = 0
        self.generation = 0
        """Configuration generation, one byte; no reset touches it."""
        self.complaint: str | None = None
        """Why the device gave up, in QEMU's words; None while it works."""
        self._isr = 0
        self._memory = memory
        self._queue: VirtQueue | None = None
        mem.on_config_change(self._notify_config)

    # --- registers ---

    @property
    def queue_size(self) -> int:
        """Descriptors that the device proposes for its one queue, guest-request.

        Models: virtio_mem_device_realize() in hw/virtio/virtio-mem.c (v7.2). Since: 10.0 (queue_size).
        """
        return self.mem.release.queue_size

    def accept(self, features: int) -> None:
        """The driver chooses features; what is not offered is dropped, and after FEATURES_OK nothing changes.

        Models: virtio_set_features() in hw/virtio/virtio.c (v7.2).
        """
        if not self.status & Status.FEATURES_OK:
            self.accepted = features & (self.offered | LEGACY_FEATURES)

    def set_status(self, status: int) -> None:
        """The driver writes the status byte; 0 resets. FEATURES_OK is refused by leaving the status as it was.

        Models: virtio_set_status() in hw/virtio/virtio.c (v7.2): only with VERSION_1 are features looked at.
        """
        if not status:
            self.reset()
            return
        asks = status & Status.FEATURES_OK and not self.status & Status.FEATURES_OK
        # Refused by silence: the driver reads the status back and finds FEATURES_OK missing.
        if asks and self._accepted(VirtioFeature.VERSION_1) and not self._features_acceptable():
            return
        self.status = status & 0xFF

    def read_isr(self) -> int:
        """Why the device interrupts; reading clears it."""
        isr, self._isr = self._isr, 0
        return isr

    def enable_queue(self, layout: Layout) -> None:
        """The driver has placed the queue and enables it."""
        self._queue = VirtQueue(self._memory, layout, event_idx=self._accepted(VirtioFeature.EVENT_IDX))

    def reset(self) -> None:
        """Reset the virtio device; memory stays plugged. Models: virtio_reset() in hw/virtio/virtio.c (v7.2)."""
        self.status = 0
        self.accepted = 0
        self.complaint = None
        self._isr = 0
        self._queue = None

    def system_reset(self) -> None:
        """Reset the machine: every device on it, and the memory."""
        self.reset()
        self.mem.system_reset()

    # --- the queue ---

    def notify(self) -> None:
        """The driver notifies the device: answer what is available, in order, until it is done or the device gives up.

        Models: virtio_mem_handle_request() in hw/virtio/virtio-mem.c (v7.2).
        """
        while (element := self.take()) is not None:
            self.answer(element)

    def take(self) -> Element | None:
        """Take the next available chain off the queue; None when the queue is empty, or the device is broken."""
        if self._queue is None or self.complaint is not None:
            return None
        try:
            return self._queue.pop()
        except ProtocolError as error:
            self._give_up(str(error))
            return None

    def answer(self, element: Element) -> None:
        """Handle a chain that was taken and return it; does nothing once the device has given up or was reset."""
        if self._queue is None or self.complaint is not None:
            return
        try:
            self._handle(self._queue, element)
        except ProtocolError as error:
            self._give_up(str(error))

    def _handle(self, queue: VirtQueue, element: Element) -> None:
        data = queue.gather(element, REQUEST_SIZE)
        if len(data) < REQUEST_SIZE:
            raise ProtocolError(f"virtio-mem protocol violation: invalid request size: {REQUEST_SIZE}")
        if element.room < RESPONSE_SIZE:
            raise ProtocolError(f"virtio-mem protocol violation: not enough space for response: {element.room}")
        # Handled before it is returned: a driver that sees the chain back may rely on the memory.
        queue.push(element, self.mem.handle(data))
        if self._should_interrupt(queue):
            self._isr |= Isr.QUEUE

    def _should_interrupt(self, queue: VirtQueue) -> bool:
        """Models: virtio_should_notify() in hw/virtio/virtio.c (v7.2)."""
        if self._accepted(VirtioFeature.NOTIFY_ON_EMPTY) and queue.empty:
            return True
        return queue.should_notify()

    # --- state ---

    def _give_up(self, complaint: str) -> None:
        """Models: virtio_error() in hw/virtio/virtio.c (v7.2): a legacy driver is not notified."""
        self.complaint = complaint
        if self._accepted(VirtioFeature.VERSION_1):
            # Before the interrupt: the driver reads the status when it comes.
            self.status |= Status.NEEDS_RESET
            self._notify_config()

    def _notify_config(self) -> None:
        """Models: virtio_notify_config() in hw/virtio/virtio.c (v7.2): only a driver that is ready is notified."""
        if self.status & Status.DRIVER_OK:
            # Both bits: virtio_notify_config() sets 0x3.
            self._isr |= Isr.QUEUE | Isr.CONFIG
            self.generation = (self.generation + 1) & 0xFF

    def _accepted(self, feature: int) -> bool:
        return bool(self.accepted & feature)

    def _features_acceptable(self) -> bool:
        """Models: virtio_mem_validate_features() in hw/virtio/virtio-mem.c (v7.2)."""
        return bool(not self.offered & Feature.UNPLUGGED_INACCESSIBLE or self._accepted(Feature.UNPLUGGED_INACCESSIBLE))

    def check(self) -> None:
        """Assert every invariant."""
        self.mem.check()
        assert self.accepted & (self.offered | LEGACY_FEATURES) == self.accepted, (
            "a feature is accepted that was not offered"
        )
        assert 0 <= self.generation <= 0xFF, "the configuration generation is not a byte"
        assert self._isr in {0, Isr.QUEUE, Isr.QUEUE | Isr.CONFIG}, "unknown interrupt status"
