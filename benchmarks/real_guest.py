"""What a real guest costs: seconds to boot, and for each kind of step; wall-clock, and of QEMU's processor time.

    python benchmarks/real_guest.py [--rounds R] [--accel kvm|tcg]

One guest of 1 GiB with a device of 8 GiB a round; medians of R rounds. The least that a step costs is two looks at the
guest, which tell that nothing moves any more (`wait 0` does nothing else).
"""

import argparse
import os
import statistics
import time
from collections import defaultdict
from pathlib import Path

from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.recording.values import (
    Free,
    Kexec,
    Load,
    PlugDimm,
    Reboot,
    Resize,
    SetState,
    Step,
    Unload,
    UnplugDimm,
    Use,
    Wait,
)
from virtiomem.units import GiB, MiB, Size

CONFIG = GuestConfig(memory=Size(GiB), max_memory=Size(16 * GiB), slots=1, default_state="online_movable")
DEVICE = DeviceConfig(id="vm0", max_size=Size(8 * GiB))


def resize(size: int) -> Resize:
    return Resize(device="vm0", requested_size=Size(size))


STEPS: list[tuple[str, Step]] = [
    ("wait 0", Wait(seconds=0)),
    ("load", Load()),
    ("resize by 2M", resize(2 * MiB)),
    ("grow by 1G", resize(GiB + 2 * MiB)),
    ("grow by 7G", resize(8 * GiB)),
    ("shrink by 1G", resize(7 * GiB)),
    ("shrink by 7G", resize(0)),
    ("plug-dimm 512M", PlugDimm(id="dimm0", size=Size(512 * MiB))),
    ("unplug-dimm", UnplugDimm(id="dimm0")),
    ("use 256M", Use(id="cache", size=Size(256 * MiB))),
    ("free", Free(id="cache")),
    ("set-state", SetState(blocks=[7], state="offline")),
    ("unload", Unload()),
    ("reboot", Reboot()),
    ("kexec", Kexec()),
]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    args = arguments.parse_args()
    wall: dict[str, list[float]] = defaultdict(list)
    busy: dict[str, list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        info = measure(Setup(accel=args.accel), wall, busy)
    print(
        f"Linux {info['kernel']}, QEMU {info['qemu']} ({info['accel']}), {os.cpu_count()} processors, {args.rounds} rounds"
    )
    print(f"{'':<16}{'seconds':>9}{'of QEMU':>9}")
    for name, seconds in wall.items():
        print(f"{name:<16}{statistics.median(seconds):>9.2f}{statistics.median(busy[name]):>9.2f}")


def measure(setup: Setup, wall: dict[str, list[float]], busy: dict[str, list[float]]) -> dict[str, object]:
    """One round; returns who was measured."""
    started = time.perf_counter()
    with LinuxGuest(CONFIG, [DEVICE], setup=setup, kexec=True) as guest:
        wall["boot"].append(time.perf_counter() - started)
        busy["boot"].append(processor_time(guest.pid))
        for name, step in STEPS:
            started, before = time.perf_counter(), processor_time(guest.pid)
            guest.play(step)
            wall[name].append(time.perf_counter() - started)
            busy[name].append(processor_time(guest.pid) - before)
        return guest.info


def processor_time(pid: int) -> float:
    """Seconds that a process has run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
