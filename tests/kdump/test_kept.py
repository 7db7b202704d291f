"""The crash header that a kernel keeps, against what a real 6.12 had in memory when it crashed."""

from typing import Any

import pytest

from virtiomem import scenario
from virtiomem.errors import Errno, KernelError
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.kdump.kept import KeptHeader
from virtiomem.memory import OnlineType, store_state
from virtiomem.recording.values import Load, Resize
from virtiomem.releases.linux import LinuxBuild
from virtiomem.units import GiB, MiB, Size

DEVICE = '[[device]]\nid = "vm0"\nmax-size = "16G"\nmemaddr = "0x180000000"\n'
START = 0x180000000
MB = 128 * MiB


def guest_of(
    kernel: str = "6.12", state: str = "online_movable", listing: str | None = None, **driver: str
) -> EmbeddedGuest:
    """A guest with the driver loaded."""
    table = "[driver]\n" + "".join(f"{name} = {value}\n" for name, value in driver.items())
    played = scenario.loads(f'[guest]\nkernel = "{kernel}"\ndefault-state = "{state}"\n{table}{DEVICE}')
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
