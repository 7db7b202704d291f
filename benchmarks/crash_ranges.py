"""Crash ranges from the text of /proc/iomem: ours through the typed tree, a flat loop without one, jc, and kexec itself.

    python benchmarks/crash_ranges.py [--lines N ...] [--rounds R] [--holes]

The map is a q35 guest's, with N unmerged memory blocks of 128 MiB. Prints nanoseconds of CPU time a line, the median of
R rounds, scaled as `stack.py` scales, and each peer's time as a multiple of ours, measured in turns in this run. `flat` is the least that Python can
do: split each line, keep System RAM, no tree, no nesting, no check. `jc` parses and builds no tree either (when it is
installed). `kexec` is the real kexec -p -c on the same listing, as root, its start included; it stops at 32 768 entries.
"""

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from stack import CALIBRATION, calibrate

from virtiomem import crash_ranges
from virtiomem.units import GiB, MiB, TiB

BLOCK = 128 * MiB
BOOT = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000f0000-000fffff : System ROM
00100000-7ffdffff : System RAM
  2a000000-39ffffff : Crash kernel
  40e00000-41c01ef1 : Kernel code
7ffe0000-7fffffff : Reserved
b0000000-bfffffff : PCI MMCONFIG 0000 [bus 00-ff]
  b0000000-bfffffff : Reserved
fffc0000-ffffffff : Reserved
100000000-17fffffff : System RAM
"""
BOOT_RANGES = [(0x100000, 0x29FFFFFF), (0x3A000000, 0x7FFDFFFF), (0x100000000, 0x17FFFFFFF)]

Ranges = list[tuple[int, int]]


def listing(blocks: int, *, holes: bool) -> tuple[str, Ranges]:
    """The text, and the ranges that it gives."""
    rng, at, starts = random.Random(blocks), 0, []
    while len(starts) < blocks:
        if not holes or rng.random() >= 1 / 16:
            starts.append(TiB + at * BLOCK)
        at += 1
    end = TiB + -(-at * BLOCK // (8 * GiB)) * 8 * GiB
    lines = [f"  {start:08x}-{start + BLOCK - 1:08x} : System RAM (virtio_mem)\n" for start in starts]
    text = f"{BOOT}{TiB:08x}-{end - 1:08x} : virtio0\n{''.join(lines)}"
    return text, BOOT_RANGES + [(start, start + BLOCK - 1) for start in starts]


def flat(text: str) -> Ranges:
    """System RAM and the crash kernel, line by line; nothing is excluded and nothing is checked."""
    ram, crash = [], []
    for line in text.splitlines():
        span, _, name = line.partition(" : ")
        if name.startswith("System RAM"):
            start, _, end = span.partition("-")
            ram.append((int(start, 16), int(end, 16)))
        elif name == "Crash kernel":
            crash.append(span)
    return ram


def jc_parser() -> Callable[[str], object] | None:
    """jc's parser of /proc/iomem, when it is installed."""
    if find_spec("jc") is None:
        return None
    parse = import_module("jc").parse
    return lambda text: parse("proc_iomem", text, quiet=True)


def kexec_seconds(text: str) -> float | None:
    """CPU seconds of kexec -p -c on a listing that is mounted over /proc/iomem; None when that is not possible."""
    kernels = sorted(Path("/boot").glob("vmlinuz-*"))
    if os.getuid() or not kernels or shutil.which("kexec") is None or shutil.which("unshare") is None:
        return None
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        load = f"mount --bind {file.name} /proc/iomem && exec kexec -p -c --command-line=quiet {kernels[0]}"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["unshare", "--mount", "sh", "-c", load], check=False, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[16, 1_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--holes", action="store_true", help="leave out one block in 16")
    args = parser.parse_args()
    jc = jc_parser()
    print(f"{'lines':>9}  {'ours, ns/line':>13}  {'flat':>6}  {'jc':>6}  {'kexec':>6}  right")
    for blocks in args.lines:
        text, expected = listing(blocks, holes=args.holes)
        count = text.count("\n")
        times: dict[str, list[float]] = {"ours": [], "flat": [], "jc": [], "kexec": []}
        scales = []
        for _ in range(args.rounds):
            before = calibrate()
            times["ours"].append(seconds(lambda text=text: crash_ranges(text)))
            scales.append((before + calibrate()) / 2 / CALIBRATION)
            times["flat"].append(seconds(lambda text=text: flat(text)))
            if jc is not None:
                times["jc"].append(seconds(lambda text=text: jc(text)))
            if (spent := kexec_seconds(text)) is not None:
                times["kexec"].append(spent)
        ours = statistics.median(times["ours"])
        ratios = [f"{statistics.median(of) / ours:.2f}x" if of else "-" for of in list(times.values())[1:]]
        right = "yes" if crash_ranges(text) == expected else "NO"
        print(
            f"{count:>9,}  {ours / statistics.median(scales) / count * 1e9:>13,.0f}  {'  '.join(f'{ratio:>6}' for ratio in ratios)}  {right}"
        )


if __name__ == "__main__":
    main()
