"""Generate random moves against a device from a seed: valid, clumsy and malicious ones.

What is interesting depends on the state the device is in (the edges of what is plugged, what is left of the requested
size), so the generator looks at our device, which is in the same state as the real one as long as nothing differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from virtiomem.conformance.malformed_chains import DIRECT_SHAPES, INDIRECT_SHAPES
from virtiomem.conformance.record import Migrate, Move, ResetDevice, ResetSystem, SetRing, SetSize, Submit, SweepStates
from virtiomem.conformance.scripted_driver import ChainRequest
from virtiomem.device.virtio import VirtioDevice
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.units import U64_MAX, GiB, MiB
from virtiomem.wire.mem import REQUEST_SIZE, RESPONSE_SIZE, Feature, Request, RequestType
from virtiomem.wire.virtio import Status, VirtioFeature

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType

_ODD_FEATURES = (VirtioFeature.NOTIFY_ON_EMPTY, VirtioFeature.ANY_LAYOUT, VirtioFeature.RING_RESET, 1 << 33, 1 << 50)


@dataclass(frozen=True, slots=True)
class Case:
    """One device and the features its driver starts with."""

    spec: DeviceSpec
    features: int
    ring_size: int | None
    """Descriptors that the driver's ring has; None for as many as the device proposes."""
    accept: frozenset[str] = frozenset()
    """Policies in which our device does as the other one."""


def make_case(rng: Random) -> Case:
    """A device that QEMU makes, of any size, with any features."""
    block = rng.choice((1, 2, 2, 2, 2, 4, 16, 128)) * MiB
    # An even number: QEMU wants a backend of whole 2M, and blocks may have 1M.
    blocks = 2 * rng.choice((rng.randint(2, 16), rng.randint(8, 128), rng.randint(64, 1024)))
    size = min(block * blocks, 16 * GiB)
    requested = rng.choice((0, size, rng.randint(0, blocks) * block, rng.randint(0, blocks) * block))
    spec = DeviceSpec(
        "vm0",
        size,
        block_size=block,
        # Beyond the region now and then, as QEMU allows at power-on.
        requested_size=requested + (size if rng.random() < 0.05 else 0),
        # Behind the boot memory of the machine, and a multiple of the largest block above, as QEMU wants.
        memaddr=rng.choice((None, 4 * GiB + rng.randint(0, 64) * 128 * MiB)),
        unplugged_inaccessible=rng.choice(("on", "off", "auto")),
    )
    ring_size = None if rng.random() < 0.8 else rng.choice((1, 2, 4, 16, 64))
    return Case(spec, make_features(rng), ring_size)


def make_features(rng: Random) -> int:
    """Return the features that a driver accepts; most accept those they should."""
    features = 0 if rng.random() < 0.03 else int(VirtioFeature.VERSION_1)
    for feature, likely in (
        (Feature.ACPI_PXM, 0.8),
        (Feature.UNPLUGGED_INACCESSIBLE, 0.95),
        (VirtioFeature.INDIRECT_DESC, 0.7),
        (VirtioFeature.EVENT_IDX, 0.3),
    ):
        features |= int(feature) if rng.random() < likely else 0
    return features | (int(rng.choice(_ODD_FEATURES)) if rng.random() < 0.1 else 0)


class MoveGenerator:
    """An endless supply of moves for one device."""

    def __init__(self, rng: Random, device: VirtioDevice, ring_size: int | None = None) -> None:
        self._rng = rng
        self._ring_size = ring_size or device.queue_size
        self._device = device
        self._mem = device.mem

    def next(self) -> Move:
        """The next move."""
        rng = self._rng
        works = self._device.complaint is None and self._device.status & Status.DRIVER_OK
        # A device that does not work is left so now and then: it must not answer either.
        if not works and rng.random() < 0.8:
            return ResetDevice(make_features(rng))
        # Soon over, for while it lasts nearly every answer is BUSY.
        if self._mem.busy and rng.random() < 0.05:
            return Migrate(start=False)
        luck = rng.random()
        for chance, make in (
            (0.06, lambda: SetSize(self._size())),
            (0.01, lambda: ResetDevice(make_features(rng))),
            (0.02, lambda: SetRing(rng.choice((0, 0, 1)), rng.choice((0, 1, rng.getrandbits(16))))),
            (0.003, SweepStates),
            (0.003, lambda: Submit((self._plain(),), rng.choice((2, 3, self._ring_size, self._ring_size + 1, 300)))),
            (0.002, ResetSystem),
            (0.001, lambda: Migrate(start=not self._mem.busy)),
        ):
            if luck < chance:
                return make()
            luck -= chance
        return Submit(self._chain_requests())

    # --- sizes ---

    def _size(self) -> int:
        rng, mem = self._rng, self._mem
        blocks = mem.region_size // mem.block_size
        if rng.random() < 0.75:
            return rng.choice((0, blocks, rng.randint(0, blocks), rng.randint(0, blocks))) * mem.block_size
        return rng.choice(
            (
                mem.region_size + mem.block_size,
                mem.block_size // 2,
                rng.randint(0, mem.region_size),
                -mem.block_size,
                -1,
                U64_MAX,
                U64_MAX + 1,
                U64_MAX + 1 - mem.block_size,
                rng.getrandbits(64),
            )
        )

    # --- requests ---

    def _chain_requests(self) -> tuple[ChainRequest, ...]:
        rng = self._rng
        wanted = rng.choice((1, 1, 1, 1, rng.randint(2, 8), rng.randint(8, 40)))
        chains = [self._chain_request() for _ in range(wanted)]
        if rng.random() < 0.03:
            chains[rng.randrange(len(chains))] = self._malformed(self._request())
        # No driver can put more into its ring; a shorter batch is as good.
        while sum(map(descriptors, chains)) > self._ring_size:
            chains.pop()
        return tuple(chains)

    def _plain(self) -> ChainRequest:
        """A request as a driver makes it, small enough for any ring."""
        request = self._request()
        return ChainRequest(request, (len(request),), (RESPONSE_SIZE,), "indirect")

    def _chain_request(self) -> ChainRequest:
        rng = self._rng
        request = self._request()
        layout = "indirect" if rng.random() < 0.3 else None
        if rng.random() < 0.75:
            return ChainRequest(request, (len(request),), (RESPONSE_SIZE,), layout)
        room = RESPONSE_SIZE + rng.choice((0, 0, 0, 1, 6, 54))
        return ChainRequest(request, _cut(rng, len(request)), _cut(rng, room), layout)

    def _malformed(self, request: bytes) -> ChainRequest:
        rng = self._rng
        whole, room = (len(request),), (RESPONSE_SIZE,)
        match rng.randrange(8):
            case 0:
                return ChainRequest(request, whole, room, rng.choice(list(DIRECT_SHAPES)))
            case 1:
                return ChainRequest(request, whole, room, rng.choice(list(INDIRECT_SHAPES)))
            case 2 | 3:
                kind = rng.choice(("scrambled", "indirect_scrambled"))
                return ChainRequest(
                    request, _cut(rng, len(request)), _cut(rng, RESPONSE_SIZE), f"{kind}:{rng.getrandbits(32)}"
                )
            case 4:
                short = rng.randint(1, REQUEST_SIZE - 1)
                return ChainRequest(request[:short], _cut(rng, short), room)
            case 5:
                return ChainRequest(request, whole, _cut(rng, rng.randint(1, RESPONSE_SIZE - 1)))
            case 6:
                return rng.choice((ChainRequest(b"", (), room), ChainRequest(request, whole, ())))
            case _:
                lens = [*_cut(rng, len(request))]
                lens.insert(rng.randint(0, len(lens)), 0)
                return rng.choice((ChainRequest(request, tuple(lens), room), ChainRequest(request, whole, (0, *room))))

    def _request(self) -> bytes:
        rng = self._rng
        kind = rng.choices((PLUG, UNPLUG, STATE, UNPLUG_ALL), (45, 30, 22, 1.5))[0]
        first, count = self._range(kind)
        addr = (self._mem.addr + first * self._mem.block_size) % (U64_MAX + 1)
        if rng.random() < 0.08:
            addr, count = self._odd_range(addr, count)
        packed = bytearray(Request(kind, addr, count).pack())
        if rng.random() < 0.003:
            packed[:2] = rng.choice((4, 5, 6, 0xFF, 0x100, 0x8000, 0xFFFF)).to_bytes(2, "little")
        if rng.random() < 0.2:
            packed[2:8], packed[18:24] = rng.randbytes(6), rng.randbytes(6)
        return bytes(packed) + (rng.randbytes(rng.randint(1, 40)) if rng.random() < 0.1 else b"")

    def _range(self, kind: RequestType) -> tuple[int, int]:
        """First block and count: of what the request wants, or near where something changes."""
        rng, mem = self._rng, self._mem
        usable = mem.usable_region_size // mem.block_size
        edges = self._edges(usable)
        left = (mem.requested_size - mem.plugged_size) // mem.block_size
        # Every other edge begins a run: from the first on runs of unplugged blocks, from the second on plugged ones.
        runs = [run for run in _pairs(edges if kind is PLUG else edges[1:-1]) if run[0] < run[1]]
        if runs and rng.random() < 0.7:
            start, stop = rng.choice(runs)
            first = rng.choice((start, rng.randrange(start, stop)))
            # nb_blocks has 16 bits; of a PLUG that asks for more than is left only the refusal would be tested.
            most = min(stop - first, 0xFFFF, max(left, 1) if kind is PLUG else 0xFFFF)
            return first, rng.choice((1, most, rng.randint(1, most), rng.randint(1, most)))
        first = rng.choice((rng.choice(edges) + rng.randint(-2, 2), rng.randint(-1, usable + 1)))
        return first, rng.choice(
            (1, rng.randint(1, 8), rng.randint(1, 64), min(max(left + rng.randint(-1, 1), 1), 0xFFFF))
        )

    def _edges(self, usable: int) -> list[int]:
        """Return the boundaries between unplugged and plugged blocks, with the ends of the usable region: 0, start,
        stop, …, usable.
        """
        mem = self._mem
        edges = [0]
        for span in mem.plugged_ranges():
            edges += [(span.start - mem.addr) // mem.block_size, (span.stop - mem.addr) // mem.block_size]
        return [*edges, usable]

    def _odd_range(self, addr: int, count: int) -> tuple[int, int]:
        """A range that no driver should ask for."""
        rng, mem = self._rng, self._mem
        last = U64_MAX + 1 - mem.block_size
        return rng.choice(
            (
                (addr + 1 & U64_MAX, count),
                (addr - 1 & U64_MAX, count),
                (addr + mem.block_size // 2 & U64_MAX, count),
                (addr, 0),
                (addr, 0xFFFF),
                (mem.addr - mem.block_size, rng.choice((1, 2))),
                (mem.addr + mem.region_size, 1),
                (mem.addr + mem.region_size - mem.block_size, rng.choice((1, 2))),
                (0, rng.getrandbits(16)),
                (last, rng.choice((1, 2, 0xFFFF))),
                (rng.getrandbits(64), rng.getrandbits(16)),
                (rng.getrandbits(64) & -mem.block_size & U64_MAX, rng.getrandbits(16)),
            )
        )


def descriptors(chain: ChainRequest) -> int:
    """Return the number of descriptors that a request takes."""
    match chain.desc:
        case "indirect_behind_direct":
            return 2
        case str(layout) if layout.startswith("indirect"):
            return 1
        case _:
            return len(chain.out_lens) + len(chain.in_lens)


def _pairs(edges: Sequence[int]) -> list[tuple[int, int]]:
    """Every other range between edges."""
    return list(zip(edges[::2], edges[1::2], strict=True))


def _cut(rng: Random, size: int) -> tuple[int, ...]:
    """`size` bytes in pieces."""
    if rng.random() < 0.05:
        return (1,) * size
    cuts = sorted({0, size, *(rng.randint(0, size) for _ in range(rng.randint(0, 3)))})
    return tuple(stop - start for start, stop in pairwise(cuts))
