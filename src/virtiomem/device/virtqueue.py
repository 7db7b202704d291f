"""The device's side of a split virtqueue: take a chain, walk its descriptors, give it back (hw/virtio/virtio.c, v7.2).

The driver's memory is hostile ground. A shape that cannot be walked raises ProtocolError in QEMU's words, and nothing
of the chain has been touched; the device around the queue then stops.
"""

from typing import NamedTuple, Protocol

from virtiomem.errors import ProtocolError
from virtiomem.wire.ring import DESCRIPTOR_SIZE, INDEX, Descriptor, DescriptorFlag, Layout, Used

MAX_SEGMENTS = 1024
"""Models: VIRTQUEUE_MAX_SIZE in include/hw/virtio/virtio.h (v7.2): buffers that one chain may have."""

# Plain numbers: each descriptor is tested for all three, and a member of an enum is slow to look up.
_NEXT, _WRITE, _INDIRECT = map(int, DescriptorFlag)

_NO_INTERRUPT = 1
"""Models: VRING_AVAIL_F_NO_INTERRUPT: the driver polls."""


class GuestMemory(Protocol):
    """Guest memory as a device reaches it."""

    def read(self, addr: int, size: int) -> bytes:
        """Read `size` bytes."""

    def write(self, addr: int, data: bytes) -> None:
        """Write bytes."""


class Element(NamedTuple):
    """A chain that the driver made available: its head and its buffers as (address, bytes)."""

    head: int
    readable: tuple[tuple[int, int], ...]
    writable: tuple[tuple[int, int], ...]

    @property
    def room(self) -> int:
        """Bytes that the device may write."""
        return sum(size for _, size in self.writable)


class VirtQueue:
    """One queue whose place in memory the driver has set."""

    def __init__(self, memory: GuestMemory, layout: Layout, *, event_idx: bool = False) -> None:
        """Start with both indices at 0, as after a reset; `event_idx` when VIRTIO_F_EVENT_IDX is negotiated."""
        self._memory = memory
        self._layout = layout
        self._event_idx = event_idx
        self._next = 0
        self._seen = 0
        self._used = 0
        self._signalled: int | None = None

    def pop(self) -> Element | None:
        """The next available chain, or None; raises ProtocolError for one that cannot be walked.

        Models: virtqueue_split_pop() in hw/virtio/virtio.c (v7.2).
        """
        if self.empty:
            return None
        head = self._index(self._layout.avail_entry(self._next))
        self._next = (self._next + 1) & 0xFFFF
        # After the index has moved on, as in QEMU: a bad head is used up.
        if head >= self._layout.size:
            raise ProtocolError(f"Guest says index {head} is available")
        if self._event_idx:
            # Asks the driver to kick when it adds the next chain, and not before.
            self._memory.write(self._layout.avail_event, INDEX.pack(self._next))
        return self._walk(head)

    def gather(self, element: Element, size: int) -> bytes:
        """The first `size` readable bytes of a chain, fewer when it has fewer (iov_to_buf)."""
        data = bytearray()
        for addr, length in element.readable:
            data += self._memory.read(addr, min(length, size - len(data)))
            if len(data) >= size:
                break
        return bytes(data)

    def push(self, element: Element, data: bytes) -> None:
        """Scatter `data` into the writable buffers and return the chain.

        Models: iov_from_buf() and virtqueue_push() (v7.2).
        """
        rest = data
        for addr, length in element.writable:
            self._memory.write(addr, rest[:length])
            rest = rest[length:]
            if not rest:
                break
        self._memory.write(self._layout.used_entry(self._used), Used(element.head, len(data)).pack())
        self._used = (self._used + 1) & 0xFFFF
        # The index last: once it has moved, the driver may read the entry and the answer.
        self._memory.write(self._layout.used_idx, INDEX.pack(self._used))

    def should_notify(self) -> bool:
        """True when the driver wants to be interrupted for what was pushed.

        Models: virtio_split_should_notify() in hw/virtio/virtio.c (v7.2).
        """
        if not self._event_idx:
            return not self._index(self._layout.avail_flags) & _NO_INTERRUPT
        old, self._signalled = self._signalled, self._used
        # What the driver saw before the queue was enabled is unknown: one interrupt too many does no harm, one too few
        # hangs it.
        if old is None:
            return True
        event = self._index(self._layout.used_event)
        # vring_need_event(): the index the driver waits for lies among those pushed since; free-running, so modulo 2^16.
        return (self._used - event - 1) & 0xFFFF < (self._used - old) & 0xFFFF

    @property
    def empty(self) -> bool:
        """True when the driver has made nothing available that was not taken.

        Models: virtio_queue_empty() (v7.2), which looks at memory only when what it saw last is used up.
        """
        if self._seen == self._next:
            self._seen = self._index(self._layout.avail_idx)
        return self._seen == self._next

    def _walk(self, head: int) -> Element:
        """Collect the buffers of the chain at `head`, which may be one indirect table."""
        table, entries = self._layout.desc, self._layout.size
        descriptor = self._descriptor(table, head)
        if descriptor.flags & _INDIRECT:
            if not descriptor.len or descriptor.len % DESCRIPTOR_SIZE:
                raise ProtocolError("Invalid size for indirect buffer table")
            table, entries = descriptor.addr, descriptor.len // DESCRIPTOR_SIZE
            descriptor = self._descriptor(table, 0)
        readable: list[tuple[int, int]] = []
        writable: list[tuple[int, int]] = []
        while True:
            _collect(descriptor, readable, writable)
            # A chain longer than its table has visited a descriptor twice: no other memory of the way is needed.
            if len(readable) + len(writable) > entries:
                raise ProtocolError("Looped descriptor")
            if not descriptor.flags & _NEXT:
                return Element(head, tuple(readable), tuple(writable))
            if descriptor.next >= entries:
                raise ProtocolError(f"Desc next is {descriptor.next}")
            descriptor = self._descriptor(table, descriptor.next)

    def _descriptor(self, table: int, number: int) -> Descriptor:
        return Descriptor.unpack(self._memory.read(table + DESCRIPTOR_SIZE * number, DESCRIPTOR_SIZE))

    def _index(self, addr: int) -> int:
        value: int = INDEX.unpack(self._memory.read(addr, INDEX.size))[0]
        return value


def _collect(descriptor: Descriptor, readable: list[tuple[int, int]], writable: list[tuple[int, int]]) -> None:
    """Add one buffer to its side of the chain; an indirect flag further down means nothing, as in QEMU."""
    buffer = (descriptor.addr, descriptor.len)
    if descriptor.flags & _WRITE:
        side, limit = writable, MAX_SEGMENTS - len(readable)
    elif writable:
        raise ProtocolError("Incorrect order for descriptors")
    else:
        side, limit = readable, MAX_SEGMENTS
    # After the order of the chain, as QEMU decides: its words for the first fault are what is compared.
    if not descriptor.len:
        raise ProtocolError("virtio: zero sized buffers are not allowed")
    if len(side) == limit:
        raise ProtocolError("virtio: too many write descriptors in indirect table")
    side.append(buffer)
