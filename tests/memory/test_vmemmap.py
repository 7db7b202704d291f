"""What new memory costs, and who pays for it: against what real guests had free, and how much they could add."""

from itertools import count

import pytest

from virtiomem.errors import Errno
from virtiomem.guest.base import GuestConfig
from virtiomem.guest.machine import MachineLayout
from virtiomem.memory import (
    Memory,
    OnlineType,
    Policy,
    ZoneType,
    add_memory,
    device_offline,
    device_online,
    remove_memory,
)
from virtiomem.memory.vmemmap import BLOCK_OVERHEAD, free_after_boot
from virtiomem.releases.linux import DEBIAN, LINUX
from virtiomem.resource import iomem
from virtiomem.scenario import boot_listing
from virtiomem.units import GiB, KiB, MiB, Size, Span

MB = 128 * MiB
HERE = 256 * GiB

MEASURED = {
    "6.1": {256: 128884, 512: 385800, 1024: 891300, 2048: 1921004, 4096: 3978640},
    "6.12": {256: 130604, 512: 385944, 1024: 895988, 2048: 1925548, 4096: 3980936},
}
"""MemFree in KiB by MiB of boot memory, of Debian's cloud kernels with our initramfs (QEMU 7.2, q35)."""

STOPPED = [
    ("6.1", 256, 7808),
    ("6.1", 512, 23936),
    ("6.12", 512, 23808),
]
"""Kernel and MiB of boot memory, and MiB that it added of 64G asked for with online_movable before it was out of memory."""


def booted(kernel: str, memory: int, state: OnlineType, free: int | None = None, **nodes: object) -> Memory:
    """A kernel of this release on a q35 with `memory` bytes; what was measured, or `free`, is free."""
    layout = MachineLayout.of(GuestConfig(memory=Size(memory)))
    return Memory(
        iomem.loads(boot_listing(layout, 1, LINUX.release(kernel))),
        policy=Policy(default_state=state),
        release=LINUX.release(kernel),
        free=MEASURED[kernel][memory // MiB] * KiB if free is None else free,
        **nodes,  # type: ignore[arg-type]
    )


def grow(memory: Memory, limit: int) -> int:
    """Add block after block, as virtio-mem does, until one is refused; the bytes that are there then."""
    for block in count():
        if block * MB == limit or (rc := add_memory(memory, 0, HERE + block * MB, MB)):
            memory.check()
            assert block * MB == limit or rc is Errno.ENOMEM
            return block * MB
    raise AssertionError("not reached")


@pytest.mark.parametrize("kernel", MEASURED)
def test_what_is_free_by_default_is_what_was_measured(kernel: str) -> None:
    for memory, free in MEASURED[kernel].items():
        assert abs(free_after_boot(DEBIAN.release(kernel), memory * MiB) - free * KiB) <= 2 * MiB


@pytest.mark.parametrize(("kernel", "memory", "stopped"), STOPPED)
def test_growth_that_is_movable_only_stops_where_a_real_linux_did(kernel: str, memory: int, stopped: int) -> None:
    grown = grow(booted(kernel, memory * MiB, OnlineType.ONLINE_MOVABLE), 64 * GiB)
    assert abs(grown - stopped * MiB) <= 2 * MB


@pytest.mark.parametrize("kernel", MEASURED)
def test_growth_of_a_kernel_zone_pays_for_itself(kernel: str) -> None:
    assert grow(booted(kernel, 256 * MiB, OnlineType.ONLINE_KERNEL), 64 * GiB) == 64 * GiB


def test_a_newer_kernel_keeps_its_minimum_however_much_is_movable() -> None:
    booting = (booted(kernel, GiB, OnlineType.ONLINE_MOVABLE, free=870 * MiB) for kernel in ("6.1", "6.12"))
    older, newer = (grow(memory, 64 * GiB) for memory in booting)
    assert 40 * MiB <= (older - newer) / 64 <= 48 * MiB


def test_a_range_that_cannot_be_paid_for_is_refused_and_what_it_took_is_lost() -> None:
    memory = booted("6.12", 512 * MiB, OnlineType.OFFLINE)
    assert add_memory(memory, 0, HERE, 64 * GiB) is Errno.ENOMEM
    memory.check()
    assert not any(memory.blocks_in(HERE, 64 * GiB))
    assert add_memory(memory, 0, HERE, MB) is Errno.ENOMEM


def test_what_a_block_took_comes_back_when_it_goes() -> None:
    memory = booted("6.1", 512 * MiB, OnlineType.OFFLINE)
    before = memory.vmemmap.available(0)
    assert not add_memory(memory, 0, HERE, 4 * MB)
    assert before - memory.vmemmap.available(0) == 4 * (2 * MiB + BLOCK_OVERHEAD) // memory.page_size
    assert not remove_memory(memory, HERE, 4 * MB)
    assert memory.vmemmap.available(0) == before


def test_without_a_count_there_is_always_enough() -> None:
    memory = Memory(iomem.loads("00100000-0fffffff : System RAM\n"), policy=Policy(OnlineType.ONLINE_MOVABLE))
    assert grow(memory, 64 * GiB) == 64 * GiB


def test_another_node_pays_where_the_memory_s_own_has_nothing() -> None:
    nodes = {0: [Span(0, 512 * MiB)], 1: []}
    memory = booted("6.1", 512 * MiB, OnlineType.ONLINE_MOVABLE, nodes=nodes)
    assert memory.vmemmap.available_on(1) == 0
    assert not add_memory(memory, 1, HERE, MB)
    ((zone, pages),) = memory.blocks[HERE // MB].paid
    assert (zone.nid, zone.type, pages) == (0, ZoneType.DMA32, 513)


def test_kernel_pages_that_have_nowhere_else_to_be_keep_a_block_online() -> None:
    memory = booted("6.1", 256 * MiB, OnlineType.ONLINE_KERNEL, free=16 * MiB)
    assert not add_memory(memory, 0, HERE, MB)
    memory.policy.default_state = OnlineType.ONLINE_MOVABLE
    assert grow_at(memory, HERE + MB) > 8
    assert device_offline(memory, memory.blocks[HERE // MB]) is Errno.EBUSY
    memory.check()


def grow_at(memory: Memory, start: int) -> int:
    """Blocks that can be added from an address on."""
    return next(block for block in count() if add_memory(memory, 0, start + block * MB, MB))


def test_blocks_that_go_to_another_zone_change_what_zones_keep() -> None:
    memory = booted("6.1", 4 * GiB, OnlineType.ONLINE_KERNEL)
    assert grow(memory, 2 * GiB) == 2 * GiB
    normal = memory.nodes[0].zones[ZoneType.NORMAL]
    before = memory.vmemmap.kept(normal)
    for block in list(memory.blocks_in(HERE, 2 * GiB)):
        assert not device_offline(memory, block)
        assert not device_online(memory, block, OnlineType.ONLINE_MOVABLE)
    after = memory.vmemmap.kept(normal)
    assert after < before
    assert after == dict(memory.vmemmap._watermarks(sum(zone.managed for zone in memory.vmemmap._sharing)))[normal]


@pytest.mark.parametrize("size", [256 * MiB, 3 * GiB, 16 * GiB])
def test_watermarks_are_left_out_of_account_only_where_they_cannot_matter(size: int) -> None:
    """Block after block, until none can be paid for: the same zones pay as where the watermarks are always computed."""
    quick, slow = (booted("6.12", size, OnlineType.ONLINE_MOVABLE, free=size * 9 // 10).vmemmap for _ in range(2))
    slow._max_minimum = size
    paid = 0
    while (parts := quick.take(0, quick.block_pages)) is not None:
        other = slow.take(0, slow.block_pages)
        assert other is not None
        assert [(zone.type, taken) for zone, taken in parts] == [(zone.type, taken) for zone, taken in other]
        paid += 1
    assert slow.take(0, slow.block_pages) is None
    assert paid > 10
