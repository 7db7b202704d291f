"""The whole stack: device, driver, hotplug core and tree, growing an empty region to full and shrinking it back.

    python benchmarks/stack.py [--blocks N ...] [--rounds R] [--kernel RELEASE [RELEASE ...]]

Memory blocks of 128 MiB, device blocks of 2 MiB, merging, every block put online in Movable: what a guest with
memhp_default_state=online_movable does. Prints memory blocks per second of CPU time, the median of R rounds, scaled by
a fixed loop of plain Python timed just before and after, so that machines can be compared. The releases of `--kernel` take
turns, and each is compared with the first one, round by round.
"""

import argparse
import statistics
import time

from virtiomem import Resource, ResourceTree
from virtiomem.clock import Clock
from virtiomem.device.mem import MemDevice
from virtiomem.driver import VirtioMemModule
from virtiomem.memory import Memory, OnlineType, Policy
from virtiomem.releases.linux import DEFAULT, LINUX
from virtiomem.resource.flags import IORESOURCE_BUSY, IORESOURCE_SYSTEM_RAM
from virtiomem.transport.loopback import Loopback
from virtiomem.units import GiB, MiB, TiB

MEMORY_BLOCK = 128 * MiB
CALIBRATION = 0.014
"""Seconds that `calibrate` takes on the machine that figures are scaled to."""


def calibrate() -> float:
    """Seconds of CPU time for a fixed loop."""
    start = time.process_time()
    total = 0
    for number in range(300_000):
        total ^= number * 3
    assert total
    return time.process_time() - start


def guest(blocks: int, kernel: str) -> tuple[MemDevice, Clock]:
    """A guest of that release with 2 GiB of boot memory and an empty region of that many memory blocks at 1 TiB."""
    iomem = ResourceTree()
    ram = Resource(4 * GiB, 6 * GiB - 1, "System RAM", IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY)
    iomem.insert_resource(iomem, ram)
    policy = Policy(default_state=OnlineType.ONLINE_MOVABLE)
    memory = Memory(iomem, block_size=MEMORY_BLOCK, policy=policy, release=LINUX.release(kernel))
    clock = Clock()
    device = MemDevice(addr=TiB, region_size=blocks * MEMORY_BLOCK)
    VirtioMemModule(memory, clock, [("virtio0", Loopback(device))])
    clock.run_until_idle()
    return device, clock


def rates(blocks: int, kernel: str) -> list[float]:
    """Memory blocks per second, growing and shrinking, on the machine that figures are scaled to."""
    device, clock = guest(blocks, kernel)
    found = []
    for requested in (blocks * MEMORY_BLOCK, 0):
        before = calibrate()
        start = time.process_time()
        device.requested_size = requested
        clock.run_until_idle()
        seconds = time.process_time() - start
        scale = (before + calibrate()) / 2 / CALIBRATION
        assert device.plugged_size == requested
        found.append(blocks / seconds * scale)
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernel", nargs="+", default=[DEFAULT.name])
    args = parser.parse_args()
    print(f"{'Linux':>5}  {'memory blocks':>13}  {'grow, blocks/s':>14}  {'shrink, blocks/s':>16}  of the first one's")
    for blocks in args.blocks:
        rounds = [[rates(blocks, kernel) for kernel in args.kernel] for _ in range(args.rounds)]
        for at, kernel in enumerate(args.kernel):
            grow, shrink = (statistics.median(each) for each in zip(*(one[at] for one in rounds), strict=True))
            pairs = [[mine / first for mine, first in zip(one[at], one[0], strict=True)] for one in rounds]
            ratios = "  ".join(f"{statistics.median(each):.3f}" for each in zip(*pairs, strict=True))
            print(f"{kernel:>5}  {blocks:>13,}  {grow:>14,.0f}  {shrink:>16,.0f}  {ratios}")


if __name__ == "__main__":
    main()
