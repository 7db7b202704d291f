"""A driver and an owner that follow a script: the moves that request logs are made of.

Recording a log and replaying it make the same moves, down to the last write to the ring, so that what differs
afterwards is the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from virtiomem.conformance.malformed_chains import shaped
from virtiomem.errors import DeviceError, ProtocolError
from virtiomem.transport.virtio_transport import Observation, Owner, VirtioTransport, Write
from virtiomem.transport.vring import BatchResult, Chain, Ring, initialize
from virtiomem.wire.mem import Request, RequestType, Response
from virtiomem.wire.ring import INDEX

_SWEEP = 32
"""STATE requests in one notification of a sweep."""


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """One chain: its readable bytes, how they and the room for the answer are cut, and the layout's name."""

    out: bytes
    out_lens: tuple[int, ...]
    in_lens: tuple[int, ...]
    desc: str | None = None

    def chain(self) -> Chain:
        """The chain to submit; raises ValueError for an unknown layout."""
        readable: list[bytes] = []
        rest = self.out
        for length in self.out_lens:
            readable.append(rest[:length])
            rest = rest[length:]
        return shaped(tuple(readable), self.in_lens, self.desc)


@dataclass(frozen=True, slots=True)
class StateRuns:
    """STATE of every usable block, as runs of (state, count), and the registers after the last request."""

    runs: list[tuple[int, int]]
    seen: Observation


class ScriptedDriver:
    """The driver and the owner of one device, which follow a script."""

    def __init__(self, transport: VirtioTransport, owner: Owner, ring_size: int | None = None) -> None:
        """`ring_size`: descriptors of the driver's ring; as many as the device proposes when None."""
        self.transport = transport
        self.owner = owner
        self.ring_size = ring_size
        self._ring = Ring(transport, ring_size)

    def bring_up(self, features: int) -> bool:
        """Reset the device and bring it up with exactly these features; False when it does not accept them."""
        try:
            # Exactly these and not those that are offered among them: a log may hold features that the device must
            # refuse.
            initialize(self.transport, self._ring, features)
        except ProtocolError:
            return False
        return True

    def submit(self, chains: Sequence[ChainRequest], times: int = 1) -> BatchResult:
        """Make chains available with one notification, one of them perhaps many times."""
        return self._ring.submit([chain.chain() for chain in chains], times)

    def set_requested_size(self, value: int) -> str | None:
        """Set the property; return the words of a refusal, or None if it was accepted."""
        try:
            self.owner.set_requested_size(value)
        except DeviceError as refusal:
            return str(refusal)
        return None

    def set_ring(self, flags: int, used_event: int) -> None:
        """Say when the device shall interrupt."""
        layout = self._ring.layout
        writes = [Write(layout.avail_flags, INDEX.pack(flags)), Write(layout.used_event, INDEX.pack(used_event))]
        self.transport.exchange(writes, [], notify=False)

    def sweep(self) -> StateRuns:
        """Ask for the STATE of every usable block, as long as the device answers."""
        seen = self.transport.observe()
        config = seen.config
        end = config.addr + config.usable_region_size
        states: list[int] = []
        # Two descriptors for each request, or an indirect table where there is only one.
        step = max(min(_SWEEP, self._ring.size // 2), 1) * config.block_size
        indirect = self._ring.size < 2
        for start in range(config.addr, end, step):
            addresses = range(start, min(start + step, end), config.block_size)
            requests = [Request(RequestType.STATE, addr, 1).pack() for addr in addresses]
            result = self._ring.submit([Chain((request,), indirect=indirect) for request in requests])
            seen = result.seen
            # A device that needs a reset answers nothing more; the sweep is what it was until then.
            if len(result.used) < len(addresses):
                break
            states += [Response.unpack(data).state.value for data in result.data]
        return StateRuns([(state, len(list(group))) for state, group in groupby(states)], seen)
