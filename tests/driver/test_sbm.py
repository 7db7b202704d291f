from collections.abc import Callable
from typing import Any

import pytest

from virtiomem.errors import Errno
from virtiomem.memory import FaultPoint, OnlineType, ZoneType, store_state
from virtiomem.units import GiB, MiB

MakeRig = Callable[..., Any]
Plugs = Callable[..., list[str]]
MB = 128 * MiB


def test_blocks_are_plugged_ascending_and_unplugged_descending(rig: MakeRig, plugs: Plugs) -> None:
    """The worked example of a real guest: 2G, 1G, 1.5G and 6M, nothing."""
    guest = rig()
    assert guest.resize(2 * GiB) == plugs("PLUG", range(0, 2048, 128), 64)
    assert guest.resize(1 * GiB) == plugs("UNPLUG", range(1920, 1023, -128), 64)
    assert guest.resize(1542 * MiB) == [*plugs("PLUG", range(1024, 1536, 128), 64), "PLUG +1536M 3"]
    assert guest.listing() == ["200000000-2ffffffff : virtio0", "  200000000-267ffffff : System RAM (virtio_mem)"]
    partial = plugs("UNPLUG", (1540, 1538, 1536), 1)
    assert guest.resize(0) == partial + plugs("UNPLUG", range(1408, -1, -128), 64)
    assert guest.listing() == ["200000000-2ffffffff : virtio0"]


def test_partial_blocks_are_filled_before_new_ones_come(rig: MakeRig) -> None:
    guest = rig()
    assert guest.resize(10 * MiB) == ["PLUG +0M 5"]
    assert guest.resize(140 * MiB) == ["PLUG +10M 59", "PLUG +128M 6"]


def test_offline_memory_is_filled_last_and_unplugged_first(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    guest.resize(140 * MiB)
    assert not store_state(guest.memory, 64, OnlineType.ONLINE_KERNEL)
    assert guest.resize(100 * MiB) == ["UNPLUG +128M 6"] + [f"UNPLUG +{at}M 1" for at in range(126, 98, -2)]
    assert guest.driver.mode.counts() == {"UNUSED": 1, "KERNEL_PARTIAL": 1}
    assert guest.resize(130 * MiB) == ["PLUG +100M 14", "PLUG +128M 1"]


def test_holes_of_an_offline_block_are_unplugged_run_by_run_from_the_top(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    guest.resize(MB)
    assert guest.resize(MB - 4 * MiB) == ["UNPLUG +124M 2"]
    assert guest.resize(0) == ["UNPLUG +0M 62"]


def test_adding_stops_while_a_gibibyte_is_offline_and_goes_on_when_half_is_online(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    assert len(guest.resize(4 * GiB)) == 8
    assert guest.driver.work.last_rc is Errno.ENOSPC
    assert guest.driver.work.retry_due is None
    counts = []
    for id_ in range(64, 68):
        assert not store_state(guest.memory, id_, OnlineType.ONLINE)
        guest.clock.run_until_idle()
        counts.append(len(guest.channel.said))
    assert counts == [8, 8, 8, 12]


def test_busy_sub_blocks_are_passed_over_and_tried_again_later(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL)
    guest.resize(MB)
    guest.memory.nodes[0].zones[ZoneType.NORMAL].boot_managed = 0  # so that it lands in hotplugged memory
    guest.memory.users.use("slab", 2 * MiB, movable=False, seed=1)
    (place,) = next(iter(guest.memory.users)).places
    asked = guest.resize(0)
    assert len(asked) == 63
    assert f"UNPLUG +{place[1] * 2}M 1" not in asked
    assert guest.driver.work.last_rc is Errno.EBUSY
    guest.memory.users.free("slab")
    guest.channel.said.clear()
    guest.clock.advance(51)
    assert guest.channel.said == [f"UNPLUG +{place[1] * 2}M 1"]
    assert guest.device.plugged_size == 0


def test_no_room_to_move_to_ends_the_attempt(rig: MakeRig) -> None:
    """Linux takes ENOMEM for a reason to stop, EBUSY for one to try the next sub-block."""
    guest = rig()
    guest.resize(MB)
    guest.memory.users.use("cache", 2 * MiB, movable=True)
    for zone in guest.memory.nodes[0]:
        zone.boot_managed = 0
    assert guest.resize(0) == []
    assert guest.driver.work.last_rc is Errno.ENOMEM
    assert guest.driver.work.retry_due == 50


def test_retries_double_from_fifty_seconds_to_three_hundred(rig: MakeRig) -> None:
    guest = rig()
    guest.device.busy = True
    guest.resize(MB)
    due = []
    for _ in range(6):
        due.append(guest.driver.work.retry_due)
        guest.clock.advance(due[-1] - guest.clock.now)
    assert due == [50, 150, 350, 650, 950, 1250]
    guest.device.busy = False
    guest.clock.advance(300)
    assert guest.driver.work.retry_due is None
    assert guest.device.plugged_size == MB


def test_failed_adding_unplugs_again_and_is_tried_later(rig: MakeRig) -> None:
    guest = rig()
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.ENOMEM)
    assert guest.resize(MB) == ["PLUG +0M 64", "UNPLUG +0M 64"]
    assert guest.driver.work.retry_due == 50
    guest.clock.advance(50)
    assert guest.device.plugged_size == MB


def test_block_that_could_not_be_unplugged_is_cleaned_up_first(rig: MakeRig) -> None:
    guest = rig()
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.ENOMEM)
    real, answers = guest.channel.send, iter([None, b"\x02" + bytes(9)])

    def second_is_busy(request: bytes) -> bytes:
        answer: bytes = real(request)
        other = next(answers, None)
        if other is not None:
            guest.device.request(0, 8 * GiB, 64)
        return other or answer

    guest.channel.send = second_is_busy
    guest.device.requested_size = MB
    guest.clock.run_until_idle()
    assert guest.driver.mode.counts() == {"PLUGGED": 1}
    guest.channel.said.clear()
    guest.clock.advance(50)
    assert guest.channel.said == ["UNPLUG +0M 64", "PLUG +0M 64"]
    guest.module.check()


def test_adding_that_fails_for_good_breaks_the_device(rig: MakeRig) -> None:
    guest = rig()
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.EEXIST)
    guest.resize(MB)
    assert guest.driver.work.broken
    assert guest.log[-1] == "virtio_mem virtio0: unknown error, marking device broken: -17"
    assert guest.resize(0) == []


def test_emptied_block_that_cannot_be_removed_is_filled_first_again(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(2 * MB)
    guest.memory.faults.inject(FaultPoint.OFFLINE_AND_REMOVE, Errno.ENOMEM)
    assert guest.resize(MB) == ["UNPLUG +128M 64"]
    assert guest.driver.mode.counts() == {"MOVABLE": 1, "MOVABLE_PARTIAL": 1}
    assert len(guest.listing()) == 2
    assert guest.resize(2 * MB) == ["PLUG +128M 64"]


def test_with_unplug_online_off_memory_goes_when_it_is_taken_offline(rig: MakeRig) -> None:
    guest = rig(unplug_online=False)
    guest.resize(2 * MB)
    assert guest.resize(0) == []
    assert not store_state(guest.memory, 64, OnlineType.OFFLINE)
    guest.clock.run_until_idle()
    assert guest.channel.said == ["UNPLUG +0M 64"]


def test_only_whole_memory_blocks_of_an_odd_region_are_used(rig: MakeRig) -> None:
    guest = rig(addr=8 * GiB + 34 * MiB, size=1090 * MiB)
    asked = guest.resize(1090 * MiB)
    assert asked == [f"PLUG +{at}M 64" for at in range(128, 1024, 128)]
    assert guest.driver.work.last_rc is Errno.ENOSPC


def test_two_gibibyte_blocks_stop_where_the_usable_region_ends_inside_one(rig: MakeRig) -> None:
    guest = rig(size=8 * GiB, memory_block=2 * GiB)
    assert guest.resize(3 * GiB) == ["PLUG +0M 1024"]  # usable to 3.25G: one whole block
    assert guest.driver.work.last_rc is Errno.ENOSPC
    assert guest.resize(4 * GiB) == ["PLUG +2048M 1024"]
    assert guest.resize(1 * GiB) == [
        "UNPLUG +2048M 1024",
        *(f"UNPLUG +{at}M 1" for at in range(2046, 1022, -2)),
    ]


def test_region_smaller_than_a_block_is_of_no_use(rig: MakeRig) -> None:
    guest = rig(size=64 * MiB)
    assert guest.resize(64 * MiB) == []
    assert guest.driver.work.last_rc is Errno.ENOSPC
    assert "The alignment of the physical end address can make some memory unusable." in "\n".join(guest.log)


@pytest.mark.parametrize("block", [1 * MiB, 4 * MiB, 64 * MiB])
def test_sub_block_is_a_device_block_but_at_least_a_pageblock(rig: MakeRig, block: int) -> None:
    guest = rig(block=block)
    unit = max(block, 2 * MiB)
    assert guest.resize(unit) == [f"PLUG +0M {unit // block}"]
    assert guest.driver.mode.plug_size == unit


def test_smallest_blocks_below_a_pageblock_stay_unplugged(rig: MakeRig) -> None:
    guest = rig(block=MiB)
    assert guest.resize(3 * MiB) == ["PLUG +0M 2"]
    assert guest.driver.work.last_rc is Errno.OK
    assert guest.device.plugged_size == 2 * MiB


def test_config_change_in_mid_work_is_heard_before_the_next_request(rig: MakeRig) -> None:
    guest = rig()
    real = guest.channel.send

    def shrink_after_third(request: bytes) -> bytes:
        answer: bytes = real(request)
        if len(guest.channel.said) == 3:
            guest.device.requested_size = MB
        return answer

    guest.channel.send = shrink_after_third
    assert guest.resize(GiB) == ["PLUG +0M 64", "PLUG +128M 64", "PLUG +256M 64", "UNPLUG +256M 64", "UNPLUG +128M 64"]
