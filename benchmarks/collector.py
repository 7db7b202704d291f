"""What Python's garbage collector costs: as a program starts with it, as the command sets it, and switched off, in turns.

    python benchmarks/collector.py [--blocks N ...] [--rounds R]

    keep    claim memory blocks in turn and merge none: all stay resources
    stack   device, driver, hotplug core and tree: grow by that many memory blocks, and shrink back

Prints nanoseconds of CPU time a block, the median of R rounds, and the median of each round's ratio to the first setting.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable

from stack import MEMORY_BLOCK, guest
from tree import ours

from virtiomem import gcpause
from virtiomem.releases.linux import DEFAULT


def as_python_does() -> None:
    gc.set_threshold(700, 10, 10)


SETTINGS: dict[str, Callable[[], None]] = {
    "Python's": as_python_does,
    "command's": gcpause.make_rare,
    "off": gc.disable,
}


def stack(blocks: int) -> None:
    device, clock = guest(blocks, DEFAULT.name)
    for requested in (blocks * MEMORY_BLOCK, 0):
        device.requested_size = requested
        clock.run_until_idle()


def nanoseconds(job: Callable[[], object], blocks: int, setting: Callable[[], None]) -> float:
    gc.enable()
    gc.unfreeze()
    gc.collect()
    setting()
    before = time.process_time()
    job()
    return (time.process_time() - before) / blocks * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for work in ("keep", "stack"):
        for blocks in args.blocks:
            if work == "stack" and blocks > 100_000:  # a million takes a minute each
                continue
            job = ours(work, blocks) if work == "keep" else lambda blocks=blocks: stack(blocks)
            took: dict[str, list[float]] = {name: [] for name in SETTINGS}
            for _ in range(args.rounds):
                for name, setting in SETTINGS.items():
                    took[name].append(nanoseconds(job, blocks, setting))
            first = next(iter(took.values()))
            cells = [
                f"{name} {statistics.median(each):7.0f} ns {statistics.median(a / b for a, b in zip(each, first, strict=True)):.2f}x"
                for name, each in took.items()
            ]
            print(f"{work:5} {blocks:>9,}  {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
