"""The crash header that a kernel keeps, against what a real 6.12 had in memory when it crashed."""

import re
from contextlib import closing
from typing import Any

import pytest
from msgspec import UNSET, UnsetType

from virtiomem import scenario
from virtiomem.errors import Errno, KernelError, ScenarioError
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.kdump import elfcore
from virtiomem.kdump.kept import KeptHeader
from virtiomem.kdump.room import elfcorehdr_size
from virtiomem.memory import OnlineType, store_state
from virtiomem.recording.values import Load, LoadCrashKernel, Reboot, Resize
from virtiomem.releases.linux import LinuxBuild
from virtiomem.report.moments import Source, story
from virtiomem.units import GiB, MiB, Size

DEVICE = '[[device]]\nid = "vm0"\nmax-size = "16G"\nmemaddr = "0x180000000"\n'
START = 0x180000000
MB = 128 * MiB


def guest_of(
    kernel: str = "6.12", state: str = "online_movable", listing: str | None = None, **driver: str
) -> EmbeddedGuest:
    """A guest with the driver loaded."""
    table = "[driver]\n" + "".join(f"{name} = {value}\n" for name, value in driver.items())
    head = f'[guest]\nkernel = "{kernel}"\ndefault-state = "{state}"\ncrashkernel = "256M"\n'
    played = scenario.loads(f"{head}{table}{DEVICE}")
    guest = EmbeddedGuest(played.guest, played.driver, played.devices, listing or played.boot_iomem)
    guest.play(Load())
    return guest


def resize(guest: EmbeddedGuest, size: int) -> None:
    assert guest.play(Resize(device="vm0", requested_size=Size(size))).settled


def plugged(header: KeptHeader) -> list[tuple[int, int]]:
    """Start and size of the ranges from the device's region on."""
    return [(start, end - start + 1) for start, end in header.ranges if start >= START]


@pytest.mark.parametrize("name", ["merged-file", "grown-file", "grown-offline-file", "shrunk-file"])
def test_header_is_what_a_real_kernel_had_kept(real_header: Any, name: str) -> None:
    real = real_header(name, "kdump-6.12", text=0x2C30000)
    boot = "".join(
        f"{line}\n" for line in real.iomem.splitlines() if "virtio0" not in line and "virtio_mem" not in line
    )
    state = real.recorded["command-line"].split()[0].partition("=")[2]
    guest = guest_of(state=state, listing=boot)
    for step in real.recorded["steps-before-load"][1:]:
        resize(guest, step["size"])
    header = KeptHeader(guest.kernel.memory, real.inputs)
    for step in real.recorded["steps-after-load"]:
        resize(guest, step["size"])
    assert header.data.rstrip(b"\0") == real.elfcorehdr.rstrip(b"\0")
    assert header.room == 0xE1000


def test_older_kernel_keeps_the_header_of_the_loading() -> None:
    guest = guest_of("6.1")
    resize(guest, GiB)
    header = KeptHeader(guest.kernel.memory)
    resize(guest, 2 * GiB)
    assert plugged(header) == [(START, GiB)]
    assert header.room is None


def test_after_a_shrink_to_nothing_the_block_that_went_last_is_still_there_until_memory_comes() -> None:
    guest = guest_of()
    resize(guest, GiB)
    header = KeptHeader(guest.kernel.memory)
    resize(guest, 0)
    assert plugged(header) == [(START, MB)]
    resize(guest, 2 * MB)
    assert plugged(header) == [(START, 2 * MB)]


def test_big_block_is_still_there_whole() -> None:
    guest = guest_of(**{"force-bbm": "true", "bbm-block-size": '"256M"'})
    resize(guest, GiB)
    header = KeptHeader(guest.kernel.memory)
    resize(guest, GiB // 2)
    assert plugged(header) == [(START, GiB // 2 + 2 * MB)]


def test_removal_of_a_block_that_was_offline_is_not_noticed() -> None:
    guest = guest_of()
    resize(guest, GiB)
    header = KeptHeader(guest.kernel.memory)
    assert not store_state(guest.kernel.memory, START // MB + 7, OnlineType.OFFLINE)
    resize(guest, GiB - MB)
    assert plugged(header) == [(START, GiB)]


def test_more_ranges_than_there_is_room_for_are_refused_at_loading_and_dropped_later() -> None:
    guest = guest_of(**{"merge-resources": "false"})
    resize(guest, 71 * MB)
    small = LinuxBuild(crash_header_cpus=0, crash_header_ranges=70)
    with pytest.raises(KernelError) as refused:
        KeptHeader(guest.kernel.memory, build=small)
    assert refused.value.errno is Errno.EINVAL
    resize(guest, 2 * MB)
    header = KeptHeader(guest.kernel.memory, build=small)
    resize(guest, 80 * MB)
    assert len(header.ranges) == 70
    header.unload()
    resize(guest, 2 * MB)
    assert len(header.ranges) == 70


def test_no_crash_kernel_is_loaded_where_nothing_is_reserved_for_one() -> None:
    guest = scenario.embedded_guest(scenario.loads(DEVICE))
    refused = guest.play(LoadCrashKernel())
    assert refused.error is not None
    assert "no memory is reserved for a crash kernel (boot with crashkernel=256M)" in refused.error
    assert refused.snapshot.crash_header is UNSET


def test_crash_kernel_of_kexec_tools_keeps_the_header_it_was_given_and_goes_with_its_kernel() -> None:
    guest = guest_of()
    loaded = guest.play(LoadCrashKernel(syscall="kexec_load")).snapshot.crash_header
    resize(guest, GiB)
    assert guest.snapshot().crash_header == loaded
    assert loaded is not UNSET
    assert (loaded.kept_up_to_date, loaded.ranges[0]) == (False, (0x1000, 0x9FBFF))
    assert guest.play(Reboot()).snapshot.crash_header is UNSET


def test_loading_again_takes_the_place_of_the_one_before_unless_it_is_refused() -> None:
    played = scenario.loads(
        '[guest]\nkernel = "6.12"\ncrashkernel = "256M"\ncrash-header-cpus = 0\ncrash-header-ranges = 70\n'
        f"[driver]\nmerge-resources = false\n{DEVICE}"
    )
    guest = scenario.embedded_guest(played)
    guest.play(Load())
    guest.play(LoadCrashKernel())
    first = guest.kernel.crash_header
    dropped = guest.play(Resize(device="vm0", requested_size=Size(80 * MB)))
    assert dropped.log is not UNSET
    assert "err: kexec: update elfcorehdr elfsz 8192 > memsz 4096" in dropped.log
    refused = guest.play(LoadCrashKernel())
    assert "83 ranges need a crash header of 8192 bytes, and it has room for 4096: EINVAL" in (refused.error or "")
    assert guest.kernel.crash_header is first
    guest.play(Resize(device="vm0", requested_size=Size(MB)))
    guest.play(LoadCrashKernel())
    assert guest.kernel.crash_header is not first
    guest.check()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ('kernel = "6.1"\ncrash-header-ranges = 9', "nothing reads it: Linux 6.1 on x86-64 makes a crash header as"),
        ("crash-header-ranges = -1", "-1 is not in 0..1048576"),
        ("crash-header-cpus = 8193", "8193 is not in 0..8192"),
        (
            'machine = "virt"\n[[step]]\ndo = "load-crash-kernel"',
            'step 1: syscall: Debian\'s Linux for arm64 is built without it: "kexec_load" is what it has',
        ),
        ('machine = "virt"\nkernel = "6.12"\ncrash-header-cpus = 9', "Linux 6.12 on arm64 makes a crash header as"),
        ('crashkernel = "256K"', "is not a multiple of 1M up to 2G"),
        ('crashkernel = "3G"', "is not a multiple of 1M up to 2G"),
    ],
)
def test_room_that_there_cannot_be_is_refused(key: str, reason: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(reason)):
        scenario.loads(f"[guest]\n{key}\n")


ON_ARM64 = """
[guest]
machine = "virt"
kernel = "6.12"
default-state = "online_movable"
crashkernel = "256M"
[[device]]
id = "vm0"
max-size = "2G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "1G"
[[step]]
do = "load-crash-kernel"
syscall = "kexec_load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "2G"
"""


def test_on_arm64_the_header_lacks_what_a_driver_added_and_is_made_once() -> None:
    """As kexec-tools 2.0.25 did on a real one: with memory plugged the ranges are those of boot memory alone."""
    played = scenario.loads(ON_ARM64)
    with closing(scenario.embedded_guest(played)) as guest:
        told = scenario.play(played, guest)
        header = guest.kernel.crash_header
        assert header is not None
        header.check()
        assert elfcore.decode(header.data)[-1].vaddr >> 48 == 0xFFFF, "from the start of memory up"
    loaded, grown = (record.snapshot.crash_header for record in told.steps[2:])
    assert loaded == grown
    assert not isinstance(loaded, UnsetType)
    assert (loaded.kept_up_to_date, loaded.ranges) == (
        False,
        [(0x40000000, 0xEBFFFFFF), (0xFC000000, 0x13FFFFFFF)],
    )
    assert "crash-elfcorehdr-size" not in told.guest
    standing = story(Source("x", told)).moments[-1].standing
    assert standing is not None
    assert standing.missing == []


def test_recording_of_a_build_plays_back_with_its_room() -> None:
    played = scenario.loads('[guest]\nkernel = "6.12"\n')
    like = scenario.like(played, {"kernel": "6.12.1", "crash-elfcorehdr-size": 56 * 72})
    assert elfcorehdr_size(like.guest.release, like.guest.build) == 56 * 72
    assert scenario.embedded_guest(like).info["crash-elfcorehdr-size"] == 56 * 72
    for odd in (None, "x", -5, 1 << 70, 3):
        assert scenario.like(played, {"crash-elfcorehdr-size": odd}).guest == played.guest
