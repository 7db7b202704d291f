"""What `capture --pages` costs on a large machine: a made-up tree of its files, read by both programs.

    python benchmarks/pages.py [--memory SIZE] [--block SIZE] [--seconds N] [--shell]

Prints, for memory that is all free and for memory of many kinds (a run of pages of one kind is 1 to 4000 long), how many of
the memory blocks were counted, the processor's seconds, the flags read, and what the capture holds of it, plain and
compressed. `--seconds` is the bound; one as good as none shows what all of it costs. The flags lie in a file, where /proc
would have to make them; one memory block's are written and stand for all (a link for each would not have one offset).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from array import array
from pathlib import Path
from random import Random

from virtiomem.abi import PageFlag
from virtiomem.live import script
from virtiomem.live.capture import loads
from virtiomem.live.export import export_sysroot
from virtiomem.recording.page_use import FLAGS_SIZE, read_lines
from virtiomem.recording.values import MemoryBlock, Snapshot
from virtiomem.units import format_approx, parse_size

PAGE = 4096
START = 1 << 32
HEADING = "proc/kpageflags"
KINDS = (
    *(PageFlag.BUDDY, PageFlag.OFFLINE, PageFlag.SLAB, PageFlag.PGTABLE, PageFlag.LRU | PageFlag.UPTODATE),
    *(PageFlag.ANON | PageFlag.MMAP | PageFlag.LRU, PageFlag.SWAPBACKED | PageFlag.LRU, PageFlag(0)),
)


def flags_of(block: int, *, mixed: bool) -> bytes:
    """The flags of a memory block's pages."""
    chance, pages = Random(block), array("Q")
    while len(pages) < block // PAGE:
        left = block // PAGE - len(pages)
        kind, run = (chance.choice(KINDS), chance.choice((1, 1, 2, 3, 512, 4000))) if mixed else (KINDS[0], left)
        pages.extend([kind] * min(run, left))
    return pages.tobytes()


def make(root: Path, memory: int, block: int, *, mixed: bool) -> None:
    """Files of a machine whose memory is all hotplugged by virtio-mem and online."""
    numbers = range(START // block, (START + memory) // block)
    blocks = [MemoryBlock(block=number, state="online", valid_zones="Movable", nodes=[0]) for number in numbers]
    listing = f"{START:x}-{START + memory - 1:x} : System RAM (virtio_mem)\n"
    export_sysroot(Snapshot(iomem=listing, memory_blocks=blocks, zones={}, devices=[]), block, root)
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/iomem").write_text(listing)
    flags = flags_of(block, mixed=mixed)
    with (root / HEADING).open("wb") as file:
        file.truncate(START // PAGE * FLAGS_SIZE)
        file.seek(START // PAGE * FLAGS_SIZE)
        for _ in numbers:
            file.write(flags)


def measure(command: list[str]) -> tuple[float, float, bytes]:
    """Seconds of the processor and of the clock that a program takes, and what it prints."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    printed = subprocess.run(command, capture_output=True, check=False).stdout
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, ended - began, printed


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=parse_size, default=parse_size("1T"))
    parser.add_argument("--block", type=parse_size, default=parse_size("2G"))
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--shell", action="store_true", help="the shell program, too")
    args = parser.parse_args()
    if (
        args.memory // PAGE * FLAGS_SIZE
        > os.statvfs(tempfile.gettempdir()).f_bavail * os.statvfs(tempfile.gettempdir()).f_frsize
    ):
        sys.exit(f"{tempfile.gettempdir()}: no room for {format_approx(args.memory // PAGE * FLAGS_SIZE)} of flags")
    print(f"{format_approx(args.memory)} in blocks of {format_approx(args.block)}, {args.seconds} s at most")
    print(f"{'pages':<6}  {'program':<7}  {'counted':>11}  {'CPU, s':>6}  {'s':>6}  {'capture':>8}  {'gzip':>6}")
    for mixed in (False, True):
        with tempfile.TemporaryDirectory() as name:
            make(Path(name), args.memory, args.block, mixed=mixed)
            program = Path(name) / "capture.sh"
            program.write_text(script.text("benchmark"))
            options = ["--pages", "--seconds", str(args.seconds), "--sysroot", name]
            programs = {"python": [sys.executable, "-m", "virtiomem", "capture"], "sh": ["sh", str(program)]}
            for who, command in programs.items():
                if who == "sh" and not args.shell:
                    continue
                used, took, printed = measure([*command, *options])
                section = loads(printed).section(HEADING)
                counted = f"{len(read_lines(section.lines))} of {args.memory // args.block}"
                size, packed = len(section.text), len(zlib.compress(section.text.encode()))
                kinds = "mixed" if mixed else "free"
                print(f"{kinds:<6}  {who:<7}  {counted:>11}  {used:6.1f}  {took:6.1f}  {size:8}  {packed:6}")


if __name__ == "__main__":
    main()
