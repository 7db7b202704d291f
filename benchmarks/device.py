"""Requests a second that the device answers: by call, as bytes on the wire, through a ring; and that it stays flat.

    python benchmarks/device.py

Random valid requests of 1 to 64 blocks (now and then up to 4096, a third of them STATE) to devices of 8 GiB to 16 TiB
with blocks of 2 MiB, in one process, one after the other. `floor` is the bare bitmap work, inlined in a loop without
checks, calls or values: what no device can beat. Times are CPU times, the median of five rounds, scaled by a fixed loop of
plain Python timed just before and after, so that machines can be compared.
"""

import random
import statistics
import time
from collections.abc import Callable

from virtiomem.device.mem import MemDevice
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.vring import VringChannel
from virtiomem.units import GiB, MiB, TiB
from virtiomem.wire.mem import Request, RequestType

BLOCK = 2 * MiB
ADDR = 1 * TiB
REQUESTS = 50_000
RING_REQUESTS = 5_000
ROUNDS = 5
CALIBRATION = 0.014
"""Seconds that `calibrate` takes on the machine that figures are scaled to."""
PLUG, UNPLUG, _, STATE = (int(kind) for kind in RequestType)

Ask = tuple[int, int, int]


def workload(region: int) -> list[Ask]:
    """Requests that a device with all of its region requested acknowledges, in order."""
    rng = random.Random(region)
    blocks = bytearray(region // BLOCK)
    asks: list[Ask] = []
    while len(asks) < REQUESTS:
        count = 1 << rng.randrange(7) if rng.random() < 0.95 else 1 << rng.randrange(6, 13)
        first = rng.randrange(len(blocks) - min(count, len(blocks)) + 1)
        count = min(count, len(blocks) - first)
        plugged = blocks[first]
        if rng.random() < 0.33:
            asks.append((STATE, ADDR + first * BLOCK, count))
            continue
        other = blocks.find(1 - plugged, first, first + count)
        count = count if other < 0 else other - first
        blocks[first : first + count] = bytes([1 - plugged]) * count
        asks.append((UNPLUG if plugged else PLUG, ADDR + first * BLOCK, count))
    return asks


def make(region: int) -> MemDevice:
    """The device of a workload."""
    return MemDevice(addr=ADDR, region_size=region, block_size=BLOCK, requested_size=region)


def floor(region: int, asks: list[Ask]) -> Callable[[], None]:
    """The bitmap work alone."""

    def run() -> None:
        blocks = bytearray(region // BLOCK)
        find = blocks.find
        for kind, addr, count in asks:
            first = (addr - ADDR) // BLOCK
            stop = first + count
            if kind == STATE:
                find(1, first, stop) >= 0 and find(0, first, stop)
            elif kind == PLUG:
                if find(1, first, stop) < 0:
                    blocks[first:stop] = b"\x01" * count
            elif find(0, first, stop) < 0:
                blocks[first:stop] = bytes(count)

    return run


def by_call(region: int, asks: list[Ask]) -> Callable[[], None]:
    """`MemDevice.request`."""

    def run() -> None:
        request = make(region).request
        for kind, addr, count in asks:
            request(kind, addr, count)

    return run


def on_wire(region: int, asks: list[Ask]) -> Callable[[], None]:
    """`MemDevice.handle`, from bytes to bytes."""
    packed = [Request(RequestType(kind), addr, count).pack() for kind, addr, count in asks]

    def run() -> None:
        handle = make(region).handle
        for request in packed:
            handle(request)

    return run


def through_ring(region: int, asks: list[Ask]) -> Callable[[], None]:
    """A driver's ring in memory, one request a notification, the device walking its descriptors."""
    packed = [Request(RequestType(kind), addr, count).pack() for kind, addr, count in asks[:RING_REQUESTS]]

    def run() -> None:
        send = VringChannel(EmbeddedTransport(make(region))).send
        for request in packed:
            send(request)

    return run


def calibrate() -> float:
    """Seconds of CPU time for a fixed loop."""
    start = time.process_time()
    total = 0
    for number in range(300_000):
        total ^= number * 3
    assert total
    return time.process_time() - start


def seconds(run: Callable[[], None]) -> float:
    """CPU time on the machine that figures are scaled to, the median of some rounds."""
    times = []
    for _ in range(ROUNDS):
        before = calibrate()
        start = time.process_time()
        run()
        taken = time.process_time() - start
        times.append(taken * CALIBRATION * 2 / (before + calibrate()))
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    print(f"{'region':>8} {'floor':>10} {'by call':>10} {'on wire':>10} {'ring':>10}   thousand requests/s")
    for size in (8 * GiB, 128 * GiB, 1 * TiB, 16 * TiB):
        asks = workload(size)
        rates = [len(asks) / seconds(kind(size, asks)) / 1000 for kind in (floor, by_call, on_wire)]
        rates.append(RING_REQUESTS / seconds(through_ring(size, asks)) / 1000)
        ratios = "  ".join(f"{rates[0] / rate:.1f}" for rate in rates[1:])
        print(
            f"{size // GiB:>6} G {rates[0]:>10.0f} {rates[1]:>10.0f} {rates[2]:>10.0f} {rates[3]:>10.0f}   floor is {ratios} times that"
        )


if __name__ == "__main__":
    main()
