"""Memory blocks from sysfs: ours next to util-linux' lsmem, on the same files, each as the whole program it is.

    python benchmarks/memory_blocks.py [--blocks N ...] [--rounds R]

Prints wall-clock milliseconds, the median of R rounds taken in turns, for a default table (state and removable: all that
it shows) and for every column. Both programs are bound by system calls; lsmem reads zones and nodes also where it does
not show them. The files lie in memory (/dev/shm) where there is such a place.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from virtiomem.live.export import export_sysroot
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.recording.values import MemoryBlock, Snapshot
from virtiomem.units import MiB

EVERY = "range,size,state,removable,block,node,zones"


def make(root: Path, blocks: int) -> None:
    """Files of that many online blocks, a hole here and there."""
    numbers = [number + number // 100 for number in range(blocks)]
    values = [MemoryBlock(block=at, state="online", valid_zones="Movable", nodes=[at // 4096]) for at in numbers]
    export_sysroot(Snapshot(iomem="", memory_blocks=values, zones={}, devices=[]), 128 * MiB, root)


def milliseconds(command: list[str]) -> float:
    """Wall-clock time of a program that prints to nowhere."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[192, 4_096, 32_768])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if shutil.which("lsmem") is None:
        sys.exit("lsmem: not found (Debian package util-linux)")
    ours = [sys.executable, "-m", "virtiomem", "blocks"]
    shm = Path("/dev/shm")  # noqa: S108 - for its speed, with a name of its own below
    print(f"{'blocks':>7}  {'columns':<8}  {'lsmem, ms':>9}  {'ours, ms':>8}  {'ratio':>6}  {'reading alone, ms':>17}")
    for blocks in args.blocks:
        with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as name:
            make(Path(name), blocks)
            for columns, every in (("default", False), ("every", True)):
                options = ["--sysroot", name, *(["--output", EVERY] if every else [])]
                times: list[list[float]] = [[], [], []]
                for _ in range(args.rounds):
                    times[0].append(milliseconds(["lsmem", *options]))
                    times[1].append(milliseconds([*ours, *options]))
                    start = time.perf_counter()
                    assert len(read_memory_sysfs(name, zones=every, nodes=every).blocks) == blocks
                    times[2].append((time.perf_counter() - start) * 1e3)
                theirs, mine, reading = (statistics.median(of) for of in times)
                ratio = f"{mine / theirs:.2f}x"
                print(f"{blocks:>7,}  {columns:<8}  {theirs:>9.1f}  {mine:>8.1f}  {ratio:>6}  {reading:>17.1f}")


if __name__ == "__main__":
    main()
