"""Many machines in one command: what list, resize and watch cost as their number grows.

    python benchmarks/vm_many.py [--machines N ...] [--watch SECONDS]

Starts real QEMUs without guests (-S, small backends that take nothing) and runs `virtiomem vm` as its user would.
Prints wall time, processor time and peak memory of our own process; watching, processor time per second at one look a
second. The machines are killed with this script, however it ends.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from virtiomem.qemu import QemuProcess

QEMU = [
    *("-accel", "tcg", "-S", "-display", "none", "-nodefaults", "-no-user-config", "-m", "64M,maxmem=2G"),
    *("-object", "memory-backend-ram,id=m0,size=256M,reserve=off", "-device", "virtio-mem-pci,id=vm0,memdev=m0"),
]


class Cost(NamedTuple):
    """Of one run of our command."""

    wall: float
    cpu: float
    peak: int


def run(*argv: str, seconds: float | None = None) -> Cost:
    """Run `virtiomem vm …` and measure it; interrupt it after `seconds`."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "virtiomem", "vm", *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if seconds is not None:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def watch_share(fleet: list[str], seconds: float) -> tuple[float, int]:
    """Processor time per second of watching, without what starting costs; and peak memory."""
    short = run("watch", "-J", "--interval", "1", *fleet, seconds=2)
    long = run("watch", "-J", "--interval", "1", *fleet, seconds=2 + seconds)
    return (long.cpu - short.cpu) / seconds, long.peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 25, 50])
    parser.add_argument("--watch", type=float, default=8.0, metavar="SECONDS")
    args = parser.parse_args()
    print("machines  list s  cpu s  resize s  cpu s  watch cpu %  peak MiB")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths: list[Path] = []
        for count in sorted(args.machines):
            while len(paths) < count:
                paths.append(folder / f"vm{len(paths):04}.sock")
                stack.enter_context(QemuProcess([*QEMU, "-qmp", f"unix:{paths[-1]},server=on,wait=off"]))
            while not all(path.exists() for path in paths):
                time.sleep(0.05)
            (folder / "all").write_text("".join(f"{path}\n" for path in paths))
            print(line(count, ["-c", f"@{folder / 'all'}"], args.watch))


def line(count: int, fleet: list[str], seconds: float) -> str:
    """One row of the table."""
    listed = min((run("list", *fleet) for _ in range(3)), key=lambda cost: cost.cpu)
    resized = min(
        (run("resize", "*/vm0", f"{2 * step}M", "--no-wait", *fleet) for step in (1, 2, 3)), key=lambda c: c.cpu
    )
    share, peak = watch_share(fleet, seconds)
    return (
        f"{count:8}  {listed.wall:6.2f}  {listed.cpu:5.2f}  {resized.wall:8.2f}  {resized.cpu:5.2f}"
        f"  {100 * share:11.1f}  {max(peak, listed.peak, resized.peak) >> 20:8}"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
