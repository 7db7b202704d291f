"""The pure and the compiled build next to each other: time an item, in turns, and instructions, which no other process moves.

    python benchmarks/builds.py [--work WORK ...] [--items N ...] [--rounds R] [--instructions | --profile]

    plug, keep, churn   as in tree.py: a block claimed and merged; claimed; claimed or released at random places among 1000
    request             as in device.py: a request to a device of 8 GiB, by call
    read                the text of /proc/iomem to a tree, merged, and back to text, a line
    crash               the crash ranges of such a text, a line
    grow, shrink        as in stack.py: a memory block plugged or unplugged by the whole stack

Each measurement is a process of its own. Prints nanoseconds of CPU time, the median of R rounds, scaled as in stack.py; how many
times faster the compiled build is, the median of the pairs. The garbage collector is as the command sets it. With --instructions:
what callgrind counts, between 2000 and 6000 items, without what it takes to get ready. With --profile: the functions of the pure build that take the most time. The compiled build is taken from build/installed, where `make test-compiled` and `make bench` put it.
"""

import argparse
import cProfile
import gc
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import device
import tree
from stack import CALIBRATION, MEMORY_BLOCK, calibrate, guest

from virtiomem import crash_ranges, gcpause, iomem
from virtiomem.releases.linux import DEFAULT
from virtiomem.units import GiB, TiB

ROOT = Path(__file__).parents[1]
BUILDS = {"pure": ROOT / "src", "compiled": ROOT / "build/installed"}
WORKS = ("plug", "keep", "churn", "request", "read", "crash", "grow", "shrink")
COUNTED = 2_000
"""Items of which instructions are counted."""
FUNCTIONS = 12
"""Those that a profile shows."""


def listing(lines: int) -> str:
    """A map of one device whose memory blocks are not merged."""
    starts = range(TiB, TiB + lines * MEMORY_BLOCK, MEMORY_BLOCK)
    blocks = "".join(f"  {start:08x}-{start + MEMORY_BLOCK - 1:08x} : {tree.NAME}\n" for start in starts)
    return f"{TiB:08x}-{starts.stop - 1:08x} : virtio0\n{blocks}"


def ready(work: str, items: int) -> tree.Job:
    """What one measurement measures, with all that it needs at hand."""
    match work:
        case "plug" | "keep":
            return tree.ours(work, items)
        case "churn":
            tree.CHURN_OPS = items
            return tree.ours(work, 1_000)
        case "request":
            device.REQUESTS = items
            return device.by_call(8 * GiB, device.workload(8 * GiB))
        case "read":
            text = listing(items)
            return lambda: reread(text)
        case "crash":
            text = listing(items)
            return lambda: crash_ranges(text)
    plugged, clock = guest(items, DEFAULT.name)

    def resize(size: int) -> None:
        plugged.requested_size = size
        clock.run_until_idle()
        assert plugged.plugged_size == size

    if work == "shrink":
        resize(items * MEMORY_BLOCK)
    return lambda: resize(items * MEMORY_BLOCK if work == "grow" else 0)


def reread(text: str) -> str:
    """A listing with its blocks merged."""
    read = iomem.loads(text)
    read.merge_adjacent_system_ram()
    return iomem.dumps(read)


def seconds(work: str, items: int) -> float:
    """CPU time of the work in this process, on the machine that figures are scaled to."""
    job = ready(work, items)
    gc.collect()
    gcpause.make_rare()
    before = calibrate()
    start = time.process_time()
    job()
    taken = time.process_time() - start
    return taken * CALIBRATION * 2 / (before + calibrate())


def child(build: str, *words: object, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """One measurement on a build."""
    environment = {**os.environ, "PYTHONPATH": str(BUILDS[build]), "PYTHONHASHSEED": "0"}
    command = [*under, sys.executable, __file__, *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def instructions(build: str, work: str) -> float:
    """What callgrind counts, an item: of twice as many items more, so that what happens once cancels out."""
    callgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    more = 0
    for step, items, sign in (
        ("--only-once", 3 * COUNTED, 1),
        ("--only-ready", 3 * COUNTED, -1),
        ("--only-once", COUNTED, -1),
        ("--only-ready", COUNTED, 1),
    ):
        told = child(build, "--work", work, "--items", items, step, under=callgrind).stderr
        found = re.search(r"Collected : (\d+)", told)
        assert found is not None, told
        more += sign * int(found[1])
    return more / (2 * COUNTED)


def profile(work: str, items: int) -> None:
    """Print where this build spends its time, by function; a profiler adds to each call, so that small functions seem larger."""
    job = ready(work, items)
    profiler = cProfile.Profile()
    profiler.runcall(job)
    functions = sorted(profiler.getstats(), key=lambda one: -one.inlinetime)
    total = sum(one.inlinetime for one in functions)
    print(f"{work}, {items:,} items: share of the time, calls an item")
    for one in functions[:FUNCTIONS]:
        called = one.code if isinstance(one.code, str) else f"{Path(one.code.co_filename).name}: {one.code.co_qualname}"
        print(f"{one.inlinetime / total:>7.1%}  {one.callcount / items:>5.1f}  {called}")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", default=WORKS, choices=WORKS)
    parser.add_argument("--items", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--profile", action="store_true")
    for step in ("--only-ready", "--only-once", "--only-time"):
        parser.add_argument(step, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_ready or args.only_once:
        job = ready(args.work[0], args.items[0])
        gcpause.make_rare()
        if args.only_once:
            job()
        return
    if args.only_time:
        print(seconds(args.work[0], args.items[0]))
        return
    if args.profile:
        for work in args.work:
            profile(work, args.items[0])
        return
    builds = [name for name, path in BUILDS.items() if path.is_dir()]
    columns = [f"{name}, ns" for name in builds] + ["times as fast"] * (len(builds) > 1)
    columns += [f"{name}, instructions" for name in builds] * args.instructions
    print("  ".join([f"{'work':<7}  {'items':>9}", *columns]))
    for work in args.work:
        counted = [instructions(build, work) for build in builds] if args.instructions else []
        for items in args.items:
            rounds = [
                [float(child(build, "--work", work, "--items", items, "--only-time").stdout) for build in builds]
                for _ in range(args.rounds)
            ]
            cells = [f"{statistics.median(each) / items * 1e9:,.0f}" for each in zip(*rounds, strict=True)]
            if len(builds) > 1:
                cells.append(f"{statistics.median(pure / compiled for pure, compiled in rounds):.2f}")
            cells += [f"{count:,.0f}" for count in counted]
            shown = "  ".join(f"{cell:>{len(column)}}" for cell, column in zip(cells, columns, strict=True))
            print(f"{work:<7}  {items:>9,}  {shown}", flush=True)


if __name__ == "__main__":
    main()
