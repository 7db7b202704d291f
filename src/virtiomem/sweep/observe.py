"""Real guests under a workload, and what was seen of their memory: what `calibrate` compares the model with.

A guest boots with 1G, and a device of 2G is online in a kernel zone. A workload starts, and ends; before, under and after
it the pages of the device are looked at; then all of the device is asked back, and the driver has time to try again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from virtiomem.errors import BackendError, UsageError
from virtiomem.files import read_bytes
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.notation import NotationError, check_format, convert, json_bytes, json_values
from virtiomem.recording.pages import FREE, KERNEL
from virtiomem.recording.values import Load, Natural, Resize, Step, Wait
from virtiomem.text import shown
from virtiomem.units import GiB, KiB, MiB, Size
from virtiomem.writing import write_whole

if TYPE_CHECKING:
    from virtiomem.guest.linux import LinuxGuest, Setup
    from virtiomem.guest.linux.running import Say

FORMAT = "virtiomem-calibration/1"
GUEST = GuestConfig(memory=Size(GiB), default_state="online_kernel")
DEVICE = DeviceConfig(id="vm0", max_size=Size(2 * GiB), requested_size=Size(2 * GiB))
BLOCKS = 16
"""Memory blocks of the device."""
Letters = Annotated[str, Meta(pattern="^[.mko]*$", max_length=64)]
RETRIES = 15.0
"""Seconds that the driver has for trying again, after 5 and 10 seconds."""

_REST = Wait(seconds=1.0)
_AT_REST = (
    "same=0; until [ $same = 4 ]; do now=$(sed -n 's/MemFree: *\\([0-9]*\\)... kB/\\1/p' /proc/meminfo); "
    "[ $now = $was ] && same=$((same + 1)) || same=0; was=$now; sleep 3; done"
)
"""Waits until what the kernel frees later (RCU, a process that goes) is free: to a megabyte the same for 12 seconds."""
_PREPARE = "busybox --install -s /bin && mkdir /load && mkfifo /hold && truncate -s 16M /image"
_MEMINFO = re.compile(r"^(\w+): +(\d{1,15}) kB$", re.MULTILINE)
_MOVES = ("AnonPages", "Cached", "Buffers")


@dataclass(frozen=True, slots=True)
class GuestLoad:
    """A workload: what starts it, a line of shell that returns when it is there; and what ends it."""

    start: str
    end: str
    locks: bool = False
    """Whether it runs lock.c, for which a compiler must be here."""


WORKLOADS = {
    "page-cache": GuestLoad(
        "losetup /dev/loop0 /image && mke2fs -F /dev/loop0 >/dev/null 2>&1 && mount -t ext2 /dev/loop0 /load "
        "&& truncate -s 384M /load/file && cat /load/file >/dev/null",
        ":",
    ),
    "slab": GuestLoad(
        "mount -t tmpfs -o nr_inodes=0 tmpfs /load && cd /load && for d in $(seq 200); do mkdir $d && "
        "for f in $(seq 250); do : >$d/$f || exit; done; done",
        "umount /load",
    ),
    "mlock": GuestLoad(
        f"lock {192 * MiB} >/load/said 2>&1 & until [ -s /load/said ]; do sleep 0.1; done; grep locked /load/said",
        "killall lock && rm /load/said",
        locks=True,
    ),
    "churn": GuestLoad(
        "exec 4<>/hold && for i in $(seq 60); do dd if=/dev/zero of=/hold bs=2000k 2>/dev/null & done; "
        "for i in $(seq 200); do busybox true; done; sleep 5",
        "killall dd",
    ),
    "buffer": GuestLoad(f"use load {256 * MiB} unmovable", "free load"),
}
"""The workloads by name (docs/workload.md says what they do). `lock` is lock.c; `use` and `free` are the agent's."""


class MemorySeen(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A guest's memory at one time, in bytes: `used` of all there is, `movable` of that anonymous memory and page cache.

    `pages`: a letter for each 2 MiB of the device (`recording.pages`), a text for each memory block, without the free end.
    """

    used: Natural
    movable: Natural
    pages: Annotated[list[Letters], Meta(min_length=BLOCKS, max_length=BLOCKS)]


class WorkloadSeen(Struct, frozen=True, kw_only=True, rename="kebab"):
    """One workload on a real guest, as it was seen; `came_back`: bytes of the device."""

    workload: str
    kernel: str
    qemu: str
    accel: str
    before: MemorySeen
    loaded: MemorySeen
    ended: MemorySeen
    came_back: Natural

    @property
    def movable(self) -> int:
        """Bytes of movable memory that the workload took."""
        return max(self.loaded.movable - self.before.movable, 0)

    @property
    def unmovable(self) -> int:
        """Bytes of other memory that it took."""
        return max(self.loaded.used - self.before.used - self.movable, 0)

    def held(self, look: MemorySeen) -> list[int]:
        """Pageblocks of each memory block that have pages of the kernel's own then, and had none before the workload."""
        pairs = zip(look.pages, self.before.pages, strict=True)
        return [
            # The free end of a text is cut off: a blank stands for it.
            sum(now == KERNEL != then for now, then in zip(new, old.ljust(len(new)), strict=False))
            for new, old in pairs
        ]


class Observations(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A file of observations."""

    format: str = FORMAT
    recorded: str
    observations: Annotated[list[WorkloadSeen], Meta(min_length=1, max_length=100)]


def load(path: str | Path) -> list[WorkloadSeen]:
    """Read observations that were kept. Raises UsageError, one line, for anything else."""
    try:
        values = json_values(read_bytes(path))
        check_format(values, FORMAT)
        return convert(values, Observations).observations
    except NotationError as error:
        raise UsageError(f"{shown(path)}: not observations of `virtiomem calibrate`: {error}") from None


def dump(found: Sequence[WorkloadSeen], path: str | Path) -> None:
    """Keep observations in a file."""
    kept = Observations(recorded=datetime.now(tz=UTC).date().isoformat(), observations=list(found))
    write_whole(path, json_bytes(kept, indent=1) + b"\n")


def observe(workload: str, setup: "Setup", say: "Say" = lambda _: None) -> WorkloadSeen:
    """Boot a real guest, let the workload run in it, and say what was seen.

    Raises BackendError when something is missing, with its Debian package, or the workload does not run.
    """
    from virtiomem.guest.hands import static_program
    from virtiomem.guest.linux import LinuxGuest

    load = WORKLOADS[workload]
    source = resources.files(__package__).joinpath("lock.c")
    # Static: the guest's initramfs has no libraries.
    programs = {"bin/lock": static_program(source, GUEST.architecture)} if load.locks else {}
    more = replace(setup, load=("loop",), programs=programs)
    with LinuxGuest(
        GUEST, [DEVICE], setup=more, pages=True, progress=lambda words: say(f"{workload}: {words}")
    ) as guest:
        _run(guest, _PREPARE, workload)
        before = _seen(guest, Load())
        say(f"{workload}: under load")
        _run(guest, load.start, workload)
        loaded = _seen(guest)
        say(f"{workload}: ending it")
        _run(guest, f"{load.end} && was=0 && {_AT_REST}", workload)
        ended = _seen(guest)
        say(f"{workload}: asking all of the device back")
        # Asked while the guest is quiet: what is compared is what was left behind, not what a busy kernel held just then.
        guest.play(Resize(device=DEVICE.id, requested_size=Size(0)))
        last = guest.play(Wait(seconds=RETRIES))
        info = guest.info
    return WorkloadSeen(
        workload=workload,
        kernel=info["kernel"],
        qemu=info["qemu"],
        accel=info["accel"],
        before=before,
        loaded=loaded,
        ended=ended,
        came_back=int(DEVICE.max_size) - last.snapshot.virtio_mem[0].size,
    )


def _run(guest: "LinuxGuest", text: str, workload: str) -> None:
    reply = guest.shell(text)
    if reply.status:
        said = " ".join(reply.text.split())[-200:] or f"status {reply.status}"
        raise BackendError(f"workload {workload}: the guest cannot run it: {said}")


def _seen(guest: "LinuxGuest", step: Step = _REST) -> MemorySeen:
    """Look at the guest's memory when a step is done."""
    record = guest.play(step)
    counts = {name: int(size) * KiB for name, size in _MEMINFO.findall(guest.shell("cat /proc/meminfo").text)}
    return MemorySeen(
        used=counts["MemTotal"] - counts["MemFree"],
        movable=sum(counts[name] for name in _MOVES),
        pages=[block.pages.rstrip(FREE) for block in record.snapshot.memory_blocks if block.pages],
    )
