from collections.abc import Callable
from typing import Any

import pytest

from virtiomem.architecture import X86_64
from virtiomem.errors import Errno
from virtiomem.memory import FaultPoint, OnlineType, ZoneType, store_state
from virtiomem.units import GiB, MiB

MakeRig = Callable[..., Any]
MB = 128 * MiB


@pytest.mark.parametrize(
    ("block", "force", "wanted", "mode", "unit"),
    [
        (2 * MiB, False, 0, "sbm", MB),
        (64 * MiB, False, 0, "sbm", MB),
        (MB, False, 0, "bbm", MB),
        (2 * MiB, True, 0, "bbm", MB),
        (2 * MiB, True, 256 * MiB, "bbm", 256 * MiB),
        (2 * MiB, True, 64 * MiB, "bbm", MB),
        (2 * MiB, True, 384 * MiB, "bbm", MB),
        (256 * MiB, False, 512 * MiB, "bbm", 512 * MiB),
        (2 * MiB, False, 512 * MiB, "sbm", MB),
    ],
)
def test_mode_follows_block_size_and_parameters(
    rig: MakeRig, block: int, force: bool, wanted: int, mode: str, unit: int
) -> None:
    guest = rig(block=block, force_bbm=force, bbm_block_size=wanted)
    assert (guest.driver.mode.name, guest.driver.mode.unit_size) == (mode, unit)


def test_big_blocks_are_added_as_one_and_leave_linux_before_the_device(rig: MakeRig) -> None:
    guest = rig(block=256 * MiB)
    assert guest.resize(GiB) == [f"PLUG +{at}M 1" for at in range(0, 1024, 256)]
    assert guest.listing()[1:] == ["  200000000-23fffffff : System RAM (virtio_mem)"]
    assert guest.resize(600 * MiB - 88 * MiB) == ["UNPLUG +768M 1", "UNPLUG +512M 1"]
    assert guest.resize(0) == ["UNPLUG +256M 1", "UNPLUG +0M 1"]


def test_difference_below_a_big_block_is_left(rig: MakeRig) -> None:
    guest = rig(force_bbm=True)
    assert guest.resize(130 * MiB) == ["PLUG +0M 64"]
    assert guest.driver.work.last_rc is Errno.OK


def test_offline_big_blocks_go_first_then_movable_then_the_rest(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE, force_bbm=True)
    guest.resize(4 * MB)
    for id_, how in zip((64, 65, 67), ("online_kernel", "online_movable", "online_kernel"), strict=True):
        assert not store_state(guest.memory, id_, OnlineType(how))
    assert guest.resize(0) == ["UNPLUG +256M 64", "UNPLUG +128M 64", "UNPLUG +384M 64", "UNPLUG +0M 64"]


@pytest.mark.parametrize("safe", [True, False])
def test_big_block_that_cannot_go_is_left_as_it_was(rig: MakeRig, safe: bool) -> None:
    guest = rig(block=256 * MiB, bbm_safe_unplug=safe)
    guest.resize(512 * MiB)
    guest.memory.faults.inject(FaultPoint.GOING_OFFLINE, Errno.OK)
    guest.memory.faults.inject(FaultPoint.GOING_OFFLINE, Errno.EBUSY)
    assert guest.resize(256 * MiB) == ["UNPLUG +0M 1"]
    assert guest.driver.mode.counts() == {"UNUSED": 1, "ADDED": 1}


def test_used_big_block_is_passed_over_and_another_goes(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL, force_bbm=True)
    guest.resize(3 * MB)
    for zone in guest.memory.nodes[0]:
        zone.boot_managed = 0
    guest.memory.users.use("slab", 2 * MiB, movable=False, seed=3)
    ((number, _),) = next(iter(guest.memory.users)).places
    left = [at for at in (256, 128, 0) if at != (number - 64) * 128]
    assert guest.resize(0) == [f"UNPLUG +{at}M 64" for at in left]
    assert guest.driver.work.last_rc is Errno.EBUSY
    assert guest.driver.work.retry_due == 50


def test_block_that_the_device_keeps_is_unplugged_later(rig: MakeRig) -> None:
    guest = rig(force_bbm=True)
    guest.resize(MB)
    guest.device.busy = True
    guest.resize(0)
    assert guest.driver.mode.counts() == {"PLUGGED": 1}
    assert len(guest.listing()) == 1
    guest.device.busy = False
    guest.channel.said.clear()
    guest.clock.advance(50)
    assert guest.channel.said == ["UNPLUG +0M 64"]
    assert guest.driver.mode.counts() == {"UNUSED": 1}


def test_unknown_error_while_removing_breaks_the_device(rig: MakeRig) -> None:
    guest = rig(force_bbm=True)
    guest.resize(MB)
    guest.memory.faults.inject(FaultPoint.GOING_OFFLINE, Errno.EPERM)
    guest.resize(0)
    assert guest.driver.work.broken


def test_number_of_blocks_wraps_at_sixteen_bits(rig: MakeRig) -> None:
    """Linux does not check it: 128 GiB in blocks of 2 MiB is 65536, which is 0 in 16 bits; the device refuses that."""
    guest = rig(size=256 * GiB, addr=128 * GiB, force_bbm=True, bbm_block_size=128 * GiB)
    asked = guest.resize(128 * GiB)
    assert asked == [f"PLUG +{120 * 1024}M 0"]
    assert guest.driver.work.broken


def normal_managed(guest: Any) -> int:
    pages: int = guest.memory.nodes[0].zones[ZoneType.NORMAL].managed
    return pages * X86_64.page_size


def test_big_block_that_cannot_be_added_is_unplugged_again(rig: MakeRig) -> None:
    guest = rig(block=256 * MiB)
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.ENOMEM)
    assert guest.resize(256 * MiB) == ["PLUG +0M 1", "UNPLUG +0M 1"]
    assert guest.driver.mode.counts() == {"UNUSED": 1}
    assert guest.wait(50) == ["PLUG +0M 1"]


def test_big_block_that_can_neither_be_added_nor_unplugged_is_cleaned_up_first(rig: MakeRig) -> None:
    guest = rig(block=256 * MiB)
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.ENOMEM)
    guest.channel.then_busy = True
    assert guest.resize(256 * MiB) == ["PLUG +0M 1", "UNPLUG +0M 1"]
    assert guest.driver.mode.counts() == {"PLUGGED": 1}
    guest.channel.then_busy = False
    assert guest.wait(50) == ["UNPLUG +0M 1"]
    assert guest.driver.mode.counts() == {"PLUGGED": 1}
    guest.device.busy = False
    assert guest.wait(100) == ["UNPLUG +0M 1", "PLUG +0M 1"]


def test_only_big_blocks_that_lie_wholly_in_the_region_are_used(rig: MakeRig) -> None:
    guest = rig(addr=8 * GiB + MB, size=1152 * MiB, force_bbm=True, bbm_block_size=512 * MiB)
    assert guest.resize(1152 * MiB) == ["PLUG +512M 256"]
    assert guest.driver.work.last_rc is Errno.ENOSPC
    assert guest.driver.work.retry_due is None


def test_with_unplug_online_off_only_wholly_offline_big_blocks_go(rig: MakeRig) -> None:
    guest = rig(block=256 * MiB, unplug_online=False)
    guest.resize(512 * MiB)
    assert guest.resize(0) == []
    assert not guest.set_state(64, OnlineType.OFFLINE)
    assert guest.channel.said == []
    assert not guest.set_state(65, OnlineType.OFFLINE)
    assert guest.channel.said == ["UNPLUG +0M 1"]


def test_big_block_with_one_used_memory_block_gives_the_others_back(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL, block=512 * MiB)
    guest.resize(512 * MiB)
    before = normal_managed(guest)
    guest.pin(66, 9)
    assert guest.resize(0) == []
    assert normal_managed(guest) == before
    assert guest.driver.work.last_rc is Errno.EBUSY
    guest.unpin(66)
    assert guest.wait(50) == ["UNPLUG +0M 1"]


@pytest.mark.parametrize("safe", [True, False])
def test_partly_offline_big_block_that_cannot_go_is_put_back_as_it_was(rig: MakeRig, safe: bool) -> None:
    """Its second block goes offline, its fourth does not; its first was offline before and stays so."""
    guest = rig(OnlineType.ONLINE_KERNEL, block=512 * MiB, bbm_safe_unplug=safe)
    guest.resize(512 * MiB)
    assert not guest.set_state(64, OnlineType.OFFLINE)
    before = normal_managed(guest)
    for errno in (Errno.OK, Errno.OK, Errno.EBUSY):
        guest.memory.faults.inject(FaultPoint.MIGRATE, errno)
    assert guest.resize(0) == []
    assert normal_managed(guest) == before
    assert guest.driver.added.offline_size == MB
    zones = [guest.memory.blocks[64 + at].zone for at in range(4)]
    assert [zone and str(zone.type) for zone in zones] == [None, "Normal", "Normal", "Normal"]


def test_block_that_cannot_go_back_online_stays_offline_and_is_not_given_back_twice(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL, block=512 * MiB)
    guest.resize(512 * MiB)
    for errno in (Errno.OK, Errno.EBUSY):
        guest.memory.faults.inject(FaultPoint.MIGRATE, errno)
    guest.memory.faults.inject(FaultPoint.GOING_ONLINE, Errno.ENOMEM)
    assert guest.resize(0) == []
    assert [guest.memory.blocks[64 + at].zone is None for at in range(4)] == [True, False, False, False]
    assert guest.driver.added.offline_size == MB


def test_movable_big_block_is_tried_twice_in_one_pass(rig: MakeRig) -> None:
    """As one of those that are all Movable, then as any."""
    guest = rig(block=512 * MiB)
    guest.resize(512 * MiB)
    guest.memory.faults.inject(FaultPoint.MIGRATE, Errno.EBUSY)
    assert guest.resize(0) == ["UNPLUG +0M 1"]
    assert guest.clock.now == 0


def test_threshold_lets_two_big_blocks_be_offline_however_large(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE, size=8 * GiB, block=2 * GiB)
    assert guest.resize(8 * GiB) == ["PLUG +0M 1", "PLUG +2048M 1"]
    assert guest.driver.work.last_rc is Errno.ENOSPC
    for id_ in range(64, 80):
        assert not guest.set_state(id_, OnlineType.ONLINE)
    assert guest.channel.said == ["PLUG +4096M 1"]  # half of the threshold, 2G, is online again
