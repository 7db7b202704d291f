"""QEMU's virtio-mem device: blocks, requests, and the sizes its owner sets (hw/virtio/virtio-mem.c, v7.2).

The device holds a region of guest-physical addresses, cut into blocks. The owner says how much of it the guest should
have (`requested_size`); the driver plugs and unplugs blocks until it is so. A request is refused or done whole, never
in part, and is decided in one order:

    1. ERROR   empty, not block aligned, or not inside the usable region
    2. NACK    PLUG would exceed requested_size
    3. ERROR   a block is already in the state that is asked for
    4. BUSY    the machine is migrating
    5. ACK

The wire carries the answer only; `MemDevice.refusal` keeps the reason (`decisions`).

**Why in this order.** Each answer tells the driver something else, and the first that applies must win:

- NACK before the state of blocks: it means that the driver's idea of requested_size is old, which is not an error.
  Linux makes another pass at once, with the configuration that has changed by then; after ERROR it never sends a request
  again. So a driver that plugs what is plugged already, while that is also too much, gets the harmless answer. (The
  specification asks for ERROR.)
- The state of blocks before BUSY: ERROR is a bug in the driver, and waiting does not cure it. BUSY promises that the same
  request can succeed later, which is false for blocks in the wrong state. `_plug` and `_unplug` look at `busy` first,
  because the block map tests and changes blocks in one go; `_refuse_blocks` then finds out which of the two it is.
- STATE and ranges are decided without `busy`: looking changes nothing. UNPLUG_ALL has no range, and only BUSY can
  refuse it.

**The usable region** is where blocks may be plugged: requested_size and some room beyond (`usable_extent`: two sections of
Linux, so that a driver can leave out what it cannot plug). It grows with requested_size at once. When requested_size falls it
stays, for blocks beyond the new size are still plugged and the driver has to be able to name them. Only UNPLUG_ALL, also
the one of a reset, shrinks it: nothing is plugged then.

**Units.** A request is an address in bytes and a number of the *device's* blocks (`block_size`, 2M as a rule). Linux
thinks in its own memory blocks (128M to 2G), unknown to the device: 128M are 64 device blocks in one request, and a
memory block that is partly plugged is nothing special here. Behind `request` everything counts in blocks from `addr`.

Bytes that are not a request at all raise ProtocolError: the virtio device around this one then needs a reset.
"""

from collections.abc import Callable, Iterator
from typing import Final

from virtiomem import border
from virtiomem.architecture import DEFAULT
from virtiomem.device import decisions
from virtiomem.device.block_map import BlockMap
from virtiomem.device.board import Q35, Board
from virtiomem.device.decisions import Decision
from virtiomem.device.realize import check_realize
from virtiomem.errors import ArgumentValueError, DeviceError, ProtocolError
from virtiomem.reasons import Reason
from virtiomem.releases.qemu import QEMU, QemuRelease
from virtiomem.units import U64_MAX, Span, align_up, format_size
from virtiomem.wire.mem import Config, Feature, RequestType, Response, ResponseType, State, unpack_request

_ACK: Final = Response(ResponseType.ACK)
_STATE: Final = tuple(Response(ResponseType.ACK, state) for state in State)

# Plain numbers: a request is compared with up to four of them, and a member of an enum is slow to look up.
_PLUG: Final = int(RequestType.PLUG)
_UNPLUG: Final = int(RequestType.UNPLUG)
_UNPLUG_ALL: Final = int(RequestType.UNPLUG_ALL)
_GET_STATE: Final = int(RequestType.STATE)


class MemDevice:
    """One virtio-mem device.

    `addr`, `region_size` and `block_size` never change; `busy` is true while the machine migrates.
    """

    def __init__(
        self,
        *,
        addr: int,
        region_size: int,
        block_size: int = DEFAULT.transparent_huge_page,
        requested_size: int = 0,
        node: int = 0,
        nodes: int = 1,
        features: Feature = Feature.ACPI_PXM,
        release: QemuRelease = QEMU.oldest,
        board: Board = Q35,
    ) -> None:
        """Realize the device: sizes and address in bytes, `nodes` is the number of NUMA nodes of the machine.

        Raises DeviceError with QEMU's words; ArgumentError for what is not a number. Models:
        virtio_mem_device_realize() in hw/virtio/virtio-mem.c (v7.2), where requested_size may exceed the region.
        """
        numbers = {"addr": addr, "region_size": region_size, "block_size": block_size, "node": node, "nodes": nodes}
        for what, number in {**numbers, "requested_size": requested_size, "features": features}.items():
            border.instance(what, number, int)
        check_realize(addr, region_size, block_size, requested_size, node, nodes)
        self.addr = addr
        self.region_size = region_size
        self.block_size = block_size
        self.node = node
        self.features = features
        self.release = release
        self.busy = False
        self._leaving = False
        self._usable_extent = board.usable_extent
        self._refused: tuple[Decision, tuple[int, ...]] | None = None
        self._block_shift = block_size.bit_length() - 1
        self._block_mask = block_size - 1
        self._requested_size = requested_size
        self._plugged_size = 0
        self._usable_size = self._usable_for(requested_size)
        self._usable_blocks = self._usable_size // block_size
        self._blocks = BlockMap(region_size // block_size)
        self._size_listeners: list[Callable[[int], None]] = []
        self._config_listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        sizes = f"{format_size(self._plugged_size)} plugged, {format_size(self._requested_size)} requested"
        return f"<MemDevice at {self.addr:#x}: {sizes}, {format_size(self.region_size)} at most>"

    # --- the owner's side: properties and events ---

    @property
    def requested_size(self) -> int:
        """Bytes that the guest should have; survives every reset.

        Setting it raises DeviceError when it is not a multiple of the block size or exceeds the region. A value that is
        taken always notifies the driver, also when it is the value that was there. ArgumentError for what is not a number.
        """
        return self._requested_size

    @requested_size.setter
    def requested_size(self, size: int) -> None:
        border.instance("requested_size", size, int)
        if self._leaving:
            raise DeviceError("'requested-size' cannot be changed if the device is in the process of unplug")
        # QEMU's monitor takes negative numbers for a uint64, too, for backward compatibility; they are refused below.
        if not -(U64_MAX + 1) // 2 <= size <= U64_MAX:
            raise DeviceError("Parameter 'requested-size' expects uint64")
        if size % self.block_size:
            raise DeviceError(f"'requested-size' has to be multiples of 'block-size' ({self.block_size:#x})")
        if not 0 <= size <= self.region_size:
            raise DeviceError(f"'requested-size' cannot exceed the memory backend size({self.region_size:#x})")
        self._requested_size = size
        # It grows at once and shrinks only when all is unplugged: what lies above a smaller end may still be plugged.
        self._resize_usable(self._usable_for(size), can_shrink=False)
        # Also for the value that was there: a driver that waits to retry then tries at once.
        for listener in self._config_listeners:
            listener()

    @property
    def plugged_size(self) -> int:
        """Bytes plugged; QEMU's property `size`."""
        return self._plugged_size

    @property
    def usable_region_size(self) -> int:
        """Bytes from `addr` in which the driver may plug."""
        return self._usable_size

    def set_usable_region_size(self, size: int) -> None:
        """Have another usable region than QEMU's device chooses, until it chooses again; for a model of another device.

        Raises ArgumentError for what is not whole blocks inside the region, or leaves a plugged block outside.
        """
        border.instance("size", size, int)
        plugged = max((span.stop - self.addr for span in self.plugged_ranges()), default=0)
        if size % self.block_size or not plugged <= size <= self.region_size:
            raise ArgumentValueError(
                f"size must be whole blocks of {self.block_size:#x} from {plugged:#x} to {self.region_size:#x}, not {size:#x}"
            )
        self._resize_usable(size, can_shrink=True)

    @property
    def region(self) -> Span:
        """The whole region."""
        return Span.sized(self.addr, self.region_size)

    def plugged_ranges(self) -> Iterator[Span]:
        """Maximal plugged ranges, ascending."""
        for first, stop in self._blocks.runs():
            yield self._span(first, stop)

    @property
    def refusal(self) -> Reason | None:
        """The reason for the last refusal; None while nothing was refused."""
        if self._refused is None:
            return None
        decision, values = self._refused
        return decision.reason(values)

    def on_size_change(self, listener: Callable[[int], None]) -> None:
        """Call `listener` with the new plugged size after each change (MEMORY_DEVICE_SIZE_CHANGE, unthrottled)."""
        border.function("listener", listener)
        self._size_listeners.append(listener)

    def on_config_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each accepted requested_size (virtio_notify_config)."""
        border.function("listener", listener)
        self._config_listeners.append(listener)

    def ask_to_leave(self) -> None:
        """Ask for the device's removal (device_del): from now on requested_size is locked, until the guest lets go.

        Raises DeviceError, in QEMU's words, when it has to stay. Since: 8.2 (can_be_removed).
        Models: virtio_mem_unplug_request_check() in hw/virtio/virtio-mem.c (v8.2).
        """
        if not self.release.can_be_removed:
            raise DeviceError("virtio based memory devices cannot be unplugged.")
        for what, is_so in (
            ("'unplugged-inaccessible' != 'on'", not self.features & Feature.UNPLUGGED_INACCESSIBLE),
            ("some of its memory is still plugged", self._plugged_size),
            ("'requested-size' != '0'", self._requested_size),
        ):
            if is_so:
                raise DeviceError(f"virtio-mem device cannot get unplugged while {what}")
        self._leaving = True

    def system_reset(self) -> None:
        """Reset the machine: unplug everything, unless busy.

        Models: virtio_mem_system_reset() in hw/virtio/virtio-mem.c (v7.2), which ignores what unplugging answers.
        """
        self._unplug_all()

    def wake_up(self) -> None:
        """Wake up with the machine from a suspend to memory: a reset, but memory stays plugged where that is promised.

        Models: virtio_mem_system_reset_hold() in hw/virtio/virtio-mem.c (v9.2).
        """
        if not self.features & Feature.PERSISTENT_SUSPEND:
            self.system_reset()

    # --- the driver's side: configuration and requests ---

    @property
    def config(self) -> Config:
        """The configuration space as it is now."""
        return Config(
            block_size=self.block_size,
            node_id=self.node,
            addr=self.addr,
            region_size=self.region_size,
            usable_region_size=self._usable_size,
            plugged_size=self._plugged_size,
            requested_size=self._requested_size,
        )

    def handle(self, request: bytes) -> bytes:
        """Answer one request as it comes over the wire; raises ProtocolError when the bytes are not a request,
        ArgumentError for no bytes.

        Models: virtio_mem_handle_request() in hw/virtio/virtio-mem.c (v7.2).
        """
        try:
            kind, addr, nb_blocks = unpack_request(request)
        except TypeError:
            border.instance("request", request, bytes)
            raise
        return self.request(kind, addr, nb_blocks).pack()

    def request(self, type: int, addr: int = 0, nb_blocks: int = 0) -> Response:
        """Answer one request; `addr` in bytes, `nb_blocks` in blocks.

        Raises ProtocolError for an unknown type, ArgumentError for what is not a number of the wire's.
        """
        try:
            # Before the address is looked at: this request has none, and what stands in its place is ignored.
            if type == _UNPLUG_ALL:
                return self._unplug_all()
            offset = addr - self.addr
            first = offset >> self._block_shift
            stop = first + nb_blocks
            # One test for what nearly every request passes; which rule was broken is found out only for the answer.
            if offset & self._block_mask or not 0 <= first < stop <= self._usable_blocks:
                return self._misplaced(type, addr, nb_blocks)
            if type == _GET_STATE:
                return _STATE[self._blocks.state(first, stop)]
            if type == _PLUG:
                return self._plug(first, stop)
            if type == _UNPLUG:
                return self._unplug(first, stop)
            return self._misplaced(type, addr, nb_blocks)
        except TypeError:  # looked for only now: a million requests a second are of the right kind
            for what, number in (("type", type), ("addr", addr), ("nb_blocks", nb_blocks)):
                border.instance(what, number, int)
            raise

    def _plug(self, first: int, stop: int) -> Response:
        size = self._plugged_size + (stop - first << self._block_shift)
        # Before the state of the blocks and before BUSY: a driver that asks for too much is to read the configuration
        # again (NACK), not to wait (BUSY).
        if size > self._requested_size:
            added = size - self._plugged_size
            return self._refuse(decisions.ABOVE_REQUESTED, added, self._plugged_size, self._requested_size)
        if self.busy or not self._blocks.plug(first, stop):
            return self._refuse_blocks(first, stop, State.UNPLUGGED)
        self._set_plugged_size(size)
        return _ACK

    def _unplug(self, first: int, stop: int) -> Response:
        if self.busy or not self._blocks.unplug(first, stop):
            return self._refuse_blocks(first, stop, State.PLUGGED)
        self._set_plugged_size(self._plugged_size - (stop - first << self._block_shift))
        return _ACK

    def _unplug_all(self) -> Response:
        """Models: virtio_mem_unplug_all() in hw/virtio/virtio-mem.c (v7.2): BUSY even when nothing is plugged.

        Since: 8.1 (empty_unplug_all_may_be_busy).
        """
        if self.busy and (self._plugged_size or self.release.empty_unplug_all_may_be_busy):
            return self._refuse(decisions.MIGRATING)
        # No event for a size that does not change.
        if self._plugged_size:
            self._blocks.clear()
            self._set_plugged_size(0)
        self._resize_usable(self._usable_for(self._requested_size), can_shrink=True)
        return _ACK

    def _misplaced(self, type: int, addr: int, nb_blocks: int) -> Response:
        """Refuse impossible blocks; raises ProtocolError for a type that is not a request at all."""
        border.instance("type", type, int)
        if not 0 <= type <= _GET_STATE:
            raise ProtocolError(f"virtio-mem protocol violation: unknown request type: {type}")
        if not nb_blocks:
            return self._refuse(decisions.NO_BLOCKS)
        if (addr - self.addr) & self._block_mask:
            return self._refuse(decisions.NOT_ALIGNED, addr, self.block_size)
        stop, usable_stop = addr + (nb_blocks << self._block_shift), self.addr + self._usable_size
        return self._refuse(decisions.OUT_OF_BOUNDS, addr, stop, self.addr, usable_stop)

    def _refuse_blocks(self, first: int, stop: int, right: State) -> Response:
        """Refuse blocks in the wrong state; those in the right one are refused only while the machine migrates."""
        # The state comes first in QEMU: blocks in the wrong state are an ERROR even while the machine migrates.
        if self._blocks.state(first, stop) is right:
            return self._refuse(decisions.MIGRATING)
        wrong = decisions.ALREADY_PLUGGED if right is State.UNPLUGGED else decisions.NOT_PLUGGED
        return self._refuse(wrong, *self._span(first, stop))

    def _refuse(self, decision: Decision, *values: int) -> Response:
        """Keep the facts, from which `refusal` makes the reason, and return the answer."""
        self._refused = decision, values
        return decision.answer

    def _span(self, first: int, stop: int) -> Span:
        return Span(self.addr + (first << self._block_shift), self.addr + (stop << self._block_shift))

    # --- state ---

    def _set_plugged_size(self, size: int) -> None:
        self._plugged_size = size
        for listener in self._size_listeners:
            listener(size)

    def _resize_usable(self, size: int, *, can_shrink: bool) -> None:
        """Models: virtio_mem_resize_usable_region() in hw/virtio/virtio-mem.c (v7.2)."""
        if size < self._usable_size and not can_shrink:
            return
        self._usable_size = size
        self._usable_blocks = size // self.block_size

    def _usable_for(self, requested: int) -> int:
        """Return the size of the usable region for a requested size; the addition wraps at 64 bits, as in C."""
        if not requested:
            return 0
        return align_up(min(self.region_size, (requested + self._usable_extent) & U64_MAX), self.block_size)

    def check(self) -> None:
        """Assert every invariant."""
        self._blocks.check()
        assert len(self._blocks) * self.block_size == self.region_size, "the bitmap does not cover the region"
        assert self._blocks.plugged() * self.block_size == self._plugged_size, "plugged_size is not what is plugged"
        assert self._usable_size % self.block_size == 0, "the usable region is not block aligned"
        assert self._usable_size == self._usable_blocks * self.block_size, "the usable region has two sizes"
        assert 0 <= self._usable_size <= self.region_size, "the usable region exceeds the region"
        assert all(span.stop <= self.addr + self._usable_size for span in self.plugged_ranges()), (
            "a block is plugged outside the usable region"
        )
