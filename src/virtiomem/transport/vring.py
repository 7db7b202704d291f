"""The driver's side of a split virtqueue, and a request channel through it.

`Ring` lays chains out in shared memory, makes them available and collects what the device returns; a batch of chains is
one notification. Every batch lays out descriptors and buffers again, while both indices run on.

A device answers when it likes: a chain is answered when its used element appears, in any order. The first look comes
with the notification itself, so a prompt device costs one round trip; further looks follow after pauses that double,
until all chains are back, the device says that it needs a reset, or the transport's patience is at an end. What has not
come by then never comes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from virtiomem.errors import ProtocolError
from virtiomem.transport.virtio_transport import Observation, Read, VirtioTransport, Write
from virtiomem.units import align_up
from virtiomem.wire.mem import RESPONSE_SIZE, Feature
from virtiomem.wire.ring import DESCRIPTOR_SIZE, INDEX, USED_SIZE, Descriptor, DescriptorFlag, Layout, Used
from virtiomem.wire.virtio import Isr, Status, VirtioFeature

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.25
"""Seconds between two looks for an answer."""

UNTOUCHED = 0xAA
"""Byte that fills response buffers beforehand."""

_NEXT, _WRITE, _INDIRECT = map(int, DescriptorFlag)


@dataclass(frozen=True, slots=True)
class Placement:
    """Layout of a chain in the queue: what the available ring says, and descriptors from number `first` on.

    `table` is its indirect table and lies at `table_addr`; empty for a direct chain.
    """

    head: int
    first: int
    descriptors: tuple[Descriptor, ...]
    table: tuple[Descriptor, ...] = ()
    table_addr: int = 0


Shape = Callable[[Placement, int], Placement]
"""Turns a well-formed placement, in a queue of that many entries, into another one."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One message: buffers that the device reads, and sizes of buffers that it writes."""

    readable: tuple[bytes, ...]
    writable: tuple[int, ...] = (RESPONSE_SIZE,)
    indirect: bool = False
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Result of a batch: the used entries in order, each chain's writable bytes, what the registers say."""

    used: tuple[Used, ...]
    data: tuple[bytes, ...]
    heads: tuple[int, ...]
    seen: Observation
    """As of the last look; the interrupt status is all that came since the batch was made available."""
    returned: int
    """How many chains came back; `used` holds at most as many as the ring."""

    def used_len(self, number: int) -> int | None:
        """The used length of a chain of the batch; None when the device did not return it."""
        return next((used.len for used in self.used if used.id == self.heads[number]), None)


class Ring:
    """Queue 0 of a device, as its driver keeps it."""

    def __init__(self, transport: VirtioTransport, size: int | None = None) -> None:
        """Lay the queue out at the start of the transport's memory, buffers from `arena` on; `start` enables it.

        `size` is the number of descriptors; as many as the device proposes when None.
        """
        self._transport = transport
        self.size = transport.queue_size() if size is None else size
        self._avail = 0
        self._used = 0
        self._lay_down()

    def _lay_down(self) -> None:
        """Lay it out in the transport's memory, which may lie elsewhere after a machine reset."""
        memory = self._transport.memory
        self.layout = Layout.packed_at(memory.addr, self.size)
        self.arena = align_up(self.layout.end, 64)
        self._arena_end = memory.addr + memory.size

    def start(self) -> None:
        """Clear both rings and enable the queue; the device has been reset and its features are settled."""
        # The device counts from 0 after a reset.
        self._avail = self._used = 0
        self._lay_down()
        # Also the available index: one that is left over would offer old chains as soon as the queue is enabled.
        blank = Write(self.layout.desc, bytes(self.layout.end - self.layout.desc))
        self._transport.exchange([blank], [], notify=False)
        self._transport.enable_queue(self.layout)

    def submit(self, chains: Sequence[Chain], times: int = 1) -> BatchResult:
        """Make chains available together, notify once, and collect what came back.

        `times` offers one chain again and again, in the same notification and however long the queue is, which no
        driver should.
        """
        writes, heads, answers = self._lay_out(chains, times)
        expected = len(heads) * times
        result = self._wait(self._look(expected, answers, writes), expected, answers)
        return replace(result, heads=heads)

    def _wait(self, result: BatchResult, expected: int, answers: Sequence[Read]) -> BatchResult:
        """Look again until all chains are back, the device gave up, or none came for as long as the transport has patience.

        One look follows the last moment, and one follows the sight of NEEDS_RESET: a look is not atomic.
        """
        pause, until = _FIRST_PAUSE, time.monotonic() + self._transport.patience
        # A transport without patience has been looked at with the notification; there is nothing to wait for.
        last = not self._transport.patience
        while result.returned < expected and not last:
            # One more look follows without a pause: the used ring was read before the status.
            gave_up = bool(result.seen.status & Status.NEEDS_RESET)
            if not gave_up:
                time.sleep(pause)
            last = gave_up or time.monotonic() >= until
            later = self._look(expected - result.returned, answers)
            result = _joined(result, later)
            pause = min(pause * 2, _LONGEST_PAUSE)
            # Something came, so that the device is at work: the whole patience begins again.
            if later.returned and not gave_up:
                pause, until, last = _FIRST_PAUSE, time.monotonic() + self._transport.patience, False
        return result

    def _look(self, expected: int, answers: Sequence[Read], writes: Sequence[Write] | None = None) -> BatchResult:
        """Take what the device has returned of `expected` chains, after `writes` and a notification if given."""
        fetched = [Read(self.layout.used_idx, INDEX.size)]
        # All entries that may have come are read with the index: asking for them afterwards would be a second round
        # trip.
        fetched += [Read(self.layout.used_entry(self._used + n), USED_SIZE) for n in range(min(expected, self.size))]
        notify = writes is not None
        got, seen = self._transport.exchange_and_observe(writes or (), [*fetched, *answers], notify=notify)
        returned = self._returned(got[0], expected)
        # Of a chain offered more often than the ring has entries, the earlier used entries have been overwritten.
        used = tuple(Used.unpack(data) for data in got[1 : 1 + returned][: self.size])
        self._used = (self._used + returned) & 0xFFFF
        return BatchResult(used, tuple(got[len(fetched) :]), (), seen, returned)

    def make_available(self, chains: Sequence[Chain]) -> None:
        """Make chains available without a notification, and expect nothing back: the device is about to be reset."""
        writes, _, _ = self._lay_out(chains, 1)
        self._transport.exchange(writes, [], notify=False)

    def _returned(self, idx: bytes, expected: int) -> int:
        # Both indices run on without end and wrap at 2^16, whatever the size of the ring.
        count = (INDEX.unpack(idx)[0] - self._used) & 0xFFFF
        # A device that returns what it was not given writes over buffers that are in use.
        if count > expected:
            raise ProtocolError(f"the device returned {count} chains where {expected} were available")
        return int(count)

    def _lay_out(self, chains: Sequence[Chain], times: int) -> tuple[list[Write], tuple[int, ...], list[Read]]:
        """Descriptors, buffers and available entries of a batch; where its answers will lie."""
        queue: list[Descriptor] = []
        heads: list[int] = []
        arena = bytearray()
        answers: list[Read] = []
        for chain in chains:
            placement = self._place(chain, len(queue), arena)
            answers.append(Read(self.arena + len(arena) - sum(chain.writable), sum(chain.writable)))
            if placement.table:
                # The table lies behind the chain's buffers, where `_place` has said that it would.
                arena += b"".join(descriptor.pack() for descriptor in placement.table)
            queue += placement.descriptors
            heads.append(placement.head)
        self._check_room(len(queue), len(arena))
        writes = [
            # In this order: buffers and descriptors before the entries that name them, the index last (2.7.13).
            Write(self.arena, bytes(arena)),
            Write(self.layout.desc, b"".join(descriptor.pack() for descriptor in queue)),
            *self._make_available(heads * times),
        ]
        return writes, tuple(heads), answers

    def _place(self, chain: Chain, first: int, arena: bytearray) -> Placement:
        """Put a chain's buffers into the arena and describe them."""
        buffers: list[tuple[int, int, int]] = []
        for data in chain.readable:
            buffers.append((self.arena + len(arena), len(data), 0))
            arena += data
        for size in chain.writable:
            buffers.append((self.arena + len(arena), size, _WRITE))
            # Filled, so that bytes which the device should have written and did not are seen.
            arena += bytes([UNTOUCHED]) * size
        placement = _describe(buffers, first, self.arena + len(arena) if chain.indirect else None)
        return placement if chain.shape is None else chain.shape(placement, self.size)

    def _make_available(self, heads: Sequence[int]) -> list[Write]:
        entries = enumerate(heads[: self.size])  # more than that are one head, again and again
        writes = [Write(self.layout.avail_entry(self._avail + n), INDEX.pack(head)) for n, head in entries]
        self._avail = (self._avail + len(heads)) & 0xFFFF
        return [*writes, Write(self.layout.avail_idx, INDEX.pack(self._avail))]

    def _check_room(self, descriptors: int, arena: int) -> None:
        if descriptors > self.size:
            raise ProtocolError(f"a batch of {descriptors} descriptors does not fit a queue of {self.size}")
        if self.arena + arena > self._arena_end:
            raise ProtocolError(f"a batch with {arena} bytes of buffers does not fit the shared memory")


def _joined(earlier: BatchResult, later: BatchResult) -> BatchResult:
    """Combine two looks at one batch."""
    seen = later.seen._replace(isr=earlier.seen.isr | later.seen.isr)
    return replace(later, used=earlier.used + later.used, returned=earlier.returned + later.returned, seen=seen)


def _describe(buffers: Sequence[tuple[int, int, int]], first: int, table_addr: int | None) -> Placement:
    """A well-formed chain of buffers (address, length, flags): direct, or one descriptor with a table behind it."""
    if table_addr is None:
        return Placement(first, first, _linked(buffers, first))
    table = _linked(buffers, 0)
    outer = Descriptor(table_addr, len(table) * DESCRIPTOR_SIZE, _INDIRECT)
    return Placement(first, first, (outer,), table, table_addr)


def _linked(buffers: Sequence[tuple[int, int, int]], first: int) -> tuple[Descriptor, ...]:
    last = len(buffers) - 1
    return tuple(
        Descriptor(addr, size, flags | _NEXT, first + n + 1) if n < last else Descriptor(addr, size, flags)
        for n, (addr, size, flags) in enumerate(buffers)
    )


class VringChannel:
    """A `transport.channel.RequestChannel` through a split virtqueue, over any transport.

    `indirect` sends each request through an indirect table, if the device offers it.
    """

    def __init__(self, transport: VirtioTransport, *, features: int | None = None, indirect: bool = False) -> None:
        """Bring the device up; `features` are those the driver wants of the device type's own, all when None.

        Raises ProtocolError when the device refuses them.
        """
        self._transport = transport
        self._ring = Ring(transport)
        self._wanted = sum(Feature) if features is None else features
        # Without it a device is a legacy one, with another layout and byte order.
        self._wanted |= VirtioFeature.VERSION_1 | (VirtioFeature.INDIRECT_DESC if indirect else 0)
        self._callback: Callable[[], None] | None = None
        self.features = 0
        self._indirect = False
        self.reset()

    def send(self, request: bytes) -> bytes:
        """Send one request and return the answer; empty when the device gave up."""
        result = self._ring.submit([Chain((request,), indirect=self._indirect)])
        self._interrupted(result.seen.isr)
        # As much as the device says it wrote: the rest of the buffer is our own filling.
        return result.data[0][: result.used[0].len] if result.used else b""

    def config(self) -> bytes:
        """The configuration space."""
        return self._transport.config()

    def on_config_change(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at each configuration change notification; None stops it."""
        self._callback = callback

    def poll(self) -> None:
        """Take a pending interrupt: this is how the driver learns of a change on the owner's side."""
        self._interrupted(self._transport.take_interrupt())

    def reset(self) -> None:
        """Reset the virtio device and bring it up again; plugged memory stays plugged."""
        self.features = self._transport.offered() & self._wanted
        initialize(self._transport, self._ring, self.features)
        self._indirect = bool(self.features & VirtioFeature.INDIRECT_DESC)

    def _interrupted(self, isr: int) -> None:
        if isr & Isr.CONFIG and self._callback is not None:
            self._callback()


def initialize(transport: VirtioTransport, ring: Ring, features: int) -> None:
    """Bring a device up as the specification wants it (3.1.1), with these features.

    Raises ProtocolError when the device does not accept them.
    """
    # Whatever ran before, a firmware or another driver, may have left the queue enabled.
    transport.set_status(0)
    transport.set_status(Status.ACKNOWLEDGE)
    transport.set_status(Status.ACKNOWLEDGE | Status.DRIVER)
    transport.accept(features)
    # The steps of 3.1.1, in its order: features are settled before the queue is set up, DRIVER_OK comes last.
    ready = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK
    transport.set_status(ready)
    # Read back, for a device refuses by not keeping the bit (QEMU: UNPLUGGED_INACCESSIBLE offered and not accepted).
    if not transport.status() & Status.FEATURES_OK:
        raise ProtocolError(f"the device does not accept features {features:#x} of {transport.offered():#x} offered")
    ring.start()
    transport.set_status(ready | Status.DRIVER_OK)
