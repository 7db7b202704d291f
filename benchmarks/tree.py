"""The resource tree next to what else one could take: list + bisect, sortedcontainers, and a C list walked as Linux does.

    python benchmarks/tree.py [--blocks N ...] [--rounds R]

    plug    claim one memory block after the other and merge it: two calls a block
    keep    the same without merging
    churn   claim and merge, or release, blocks at random places; half of them are there
    find    the block that holds a random address
    parse   the text of /proc/iomem to a tree (or, for jc, to a flat list), a line
    print   the tree to text, a line

Prints nanoseconds of CPU time an operation, the median of R rounds, and each peer's time as a multiple of ours, measured
in turns in this run: above 1 is slower than ours. The C list is built with cc; sortedcontainers and jc are taken where
they are installed. The peers keep bare numbers: no names, no flags, no nesting, no checks except overlap.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from virtiomem import ResourceTree, iomem
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.units import MiB

BLOCK = 128 * MiB
NAME = "System RAM (virtio_mem)"
CHURN_OPS, FIND_OPS = 20_000, 50_000
Job = Callable[[], object]


def device(count: int) -> tuple[ResourceTree, Any]:
    tree = ResourceTree()
    parent = tree.request_region(0, count * BLOCK, "virtio0")
    parent.set_busy(False)
    return tree, parent


def ours(work: str, count: int) -> Job:
    tree, parent = device(count)
    if work in ("plug", "keep"):

        def plug() -> None:
            fresh, _ = device(count)
            for start in range(0, count * BLOCK, BLOCK):
                block = fresh.request_region(start, BLOCK, NAME, IORESOURCE_SYSTEM_RAM)
                if work == "plug":
                    fresh.merge_system_ram_resource(block)

        return plug
    toggles, used = churn_plan(count)
    for block in range(count):
        if work == "find" or used[block]:
            res = tree.request_region(block * BLOCK, BLOCK, NAME, IORESOURCE_SYSTEM_RAM)
            if work == "churn":
                tree.merge_system_ram_resource(res)
    if work == "find":
        addresses = random_addresses(count)
        return lambda: [parent.lookup(address) for address in addresses]

    def churn() -> None:
        for block, add in toggles:
            if add:
                res = tree.request_region(block * BLOCK, BLOCK, NAME, IORESOURCE_SYSTEM_RAM)
                tree.merge_system_ram_resource(res)
            else:
                tree.release_mem_region_adjustable(block * BLOCK, BLOCK)

    return churn


def churn_plan(count: int) -> tuple[list[tuple[int, bool]], bytearray]:
    """Toggles that end where they began, so that every round does the same; and the blocks that are there before."""
    rng = random.Random(count)
    used = bytearray(rng.getrandbits(1) for _ in range(count))
    now, toggles = bytearray(used), []
    for _ in range(CHURN_OPS // 2):
        block = rng.randrange(count)
        toggles.append((block, not now[block]))
        now[block] ^= 1
    back = [(block, not now[block]) for block in range(count) if now[block] != used[block]]
    return toggles + back, used


def random_addresses(count: int) -> list[int]:
    rng = random.Random(count)
    return [rng.randrange(count * BLOCK) for _ in range(FIND_OPS)]


class Spans:
    """Starts and ends in two sorted sequences."""

    def __init__(self, make: Callable[[], Any] = list) -> None:
        self.starts, self.ends = make(), make()
        self.put = (
            (lambda seq, at, value: seq.insert(at, value)) if make is list else (lambda seq, _, value: seq.add(value))
        )
        self.bisect = bisect_right if make is list else (lambda seq, value: seq.bisect_right(value))

    def add(self, start: int, end: int, *, merge: bool) -> None:
        starts, ends = self.starts, self.ends
        at = self.bisect(starts, start)
        if (at and ends[at - 1] >= start) or (at < len(starts) and starts[at] <= end):
            raise ValueError(start)
        if merge and at < len(starts) and starts[at] == end + 1:
            end = ends[at]
            del starts[at], ends[at]
        if merge and at and ends[at - 1] + 1 == start:
            start = starts[at - 1]
            del starts[at - 1], ends[at - 1]
            at -= 1
        self.put(starts, at, start)
        self.put(ends, at, end)

    def remove(self, start: int, end: int) -> None:
        at = self.bisect(self.starts, start) - 1
        first, last = self.starts[at], self.ends[at]
        del self.starts[at], self.ends[at]
        for low, high in ((first, start - 1), (end + 1, last)):
            if low <= high:
                where = self.bisect(self.starts, low)
                self.put(self.starts, where, low)
                self.put(self.ends, where, high)

    def find(self, address: int) -> int | None:
        at = self.bisect(self.starts, address) - 1
        return at if at >= 0 and self.ends[at] >= address else None


def spans(work: str, count: int, make: Callable[[], Any]) -> Job:
    kept = Spans(make)
    if work in ("plug", "keep"):

        def plug() -> None:
            fresh = Spans(make)
            for start in range(0, count * BLOCK, BLOCK):
                fresh.add(start, start + BLOCK - 1, merge=work == "plug")

        return plug
    toggles, used = churn_plan(count)
    for block in range(count):
        if work == "find" or used[block]:
            kept.add(block * BLOCK, (block + 1) * BLOCK - 1, merge=work == "churn")
    if work == "find":
        addresses = random_addresses(count)
        return lambda: [kept.find(address) for address in addresses]

    def churn() -> None:
        for block, add in toggles:
            if add:
                kept.add(block * BLOCK, (block + 1) * BLOCK - 1, merge=True)
            else:
                kept.remove(block * BLOCK, (block + 1) * BLOCK - 1)

    return churn


def operations(work: str, count: int) -> int:
    return len(churn_plan(count)[0]) if work == "churn" else FIND_OPS if work == "find" else count


def seconds(job: Job) -> float:
    before = time.process_time()
    job()
    return time.process_time() - before


def c_list(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    subprocess.run([compiler, "-O2", "-o", folder / "siblings", Path(__file__).parent / "siblings.c"], check=True)
    return folder / "siblings"


def line(work: str, count: int, mine: float, peers: dict[str, float]) -> None:
    ratios = "  ".join(f"{name} {took / mine:8.2f}x" for name, took in peers.items())
    print(f"{work:6} {count:>8}  {mine:8.0f} ns  {ratios}".rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = c_list(Path(folder))
        for work in ("plug", "keep", "churn", "find"):
            for count in args.blocks:
                regions(work, count, args.rounds, program)
    for count in args.blocks:
        text(count, args.rounds)


def regions(work: str, count: int, rounds: int, program: Path | None) -> None:
    jobs = {"ours": ours(work, count), "bisect": spans(work, count, list)}
    if find_spec("sortedcontainers"):
        jobs["sortedcontainers"] = spans(work, count, import_module("sortedcontainers").SortedList)
    took: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            took[name].append(seconds(job) / operations(work, count) * 1e9)
    middle = {name: statistics.median(times) for name, times in took.items()}
    if program is not None:
        ops = count if work == "plug" else min(count, 20_000) if work == "keep" else max(20_000_000 // count, 200)
        ran = subprocess.run([program, work, str(count), str(ops)], capture_output=True, text=True, check=True)
        middle["C list" if ops == count or work != "keep" else "C list (first 20000)"] = float(ran.stdout)
    line(work, count, middle.pop("ours"), middle)


def text(count: int, rounds: int) -> None:
    tree, _ = device(count)
    for start in range(0, count * BLOCK, BLOCK):
        tree.request_region(start, BLOCK, NAME, IORESOURCE_SYSTEM_RAM)
    listing = iomem.dumps(tree)
    jobs: dict[str, Job] = {"ours": lambda: iomem.loads(listing), "print": lambda: iomem.dumps(tree)}
    if find_spec("jc"):
        jc = import_module("jc")
        jobs["jc (flat)"] = lambda: jc.parse("proc_iomem", listing)
    took = {name: statistics.median(seconds(job) / count * 1e9 for _ in range(rounds)) for name, job in jobs.items()}
    printed = took.pop("print")
    line("parse", count, took.pop("ours"), took)
    line("print", count, printed, {})


if __name__ == "__main__":
    main()
