"""Sub-block mode when the device, Linux or another driver says no: what is left, and what comes next."""

from collections.abc import Callable
from typing import Any

import pytest

from virtiomem.architecture import X86_64
from virtiomem.errors import Errno
from virtiomem.memory import FaultPoint, MemoryEvent, MemoryNotify, OnlineType, ZoneType, add_memory, store_state
from virtiomem.units import GiB, MiB

MakeRig = Callable[..., Any]
MB = 128 * MiB
BASE = 8 * GiB
FIRST = 64


def movable_managed(guest: Any) -> int:
    pages: int = guest.memory.nodes[0].zones[ZoneType.MOVABLE].managed
    return pages * X86_64.page_size


def veto_going_offline(event: MemoryEvent, _: MemoryNotify) -> Errno:
    return Errno.EBUSY if event is MemoryEvent.GOING_OFFLINE else Errno.OK


# -- the device says no ----------------------------------------------------------------------------------------------------


def test_online_block_that_a_busy_device_keeps_goes_back_to_the_allocator(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(2 * MB)
    guest.device.busy = True
    assert guest.resize(MB) == ["UNPLUG +128M 64"]
    assert guest.driver.mode.counts() == {"MOVABLE": 2}
    assert movable_managed(guest) == 2 * MB
    assert guest.driver.work.last_rc is Errno.ETXTBSY
    guest.device.busy = False
    assert guest.wait(50) == ["UNPLUG +128M 64"]


def test_busy_device_ends_the_unplugging_of_single_sub_blocks(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB + 6 * MiB)
    guest.device.busy = True
    assert guest.resize(MB) == ["UNPLUG +132M 1"]
    assert movable_managed(guest) == MB + 6 * MiB
    assert guest.driver.mode.counts() == {"MOVABLE": 1, "MOVABLE_PARTIAL": 1}


def test_offline_block_that_a_busy_device_keeps_stays_whole(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    guest.resize(MB)
    guest.device.busy = True
    assert guest.resize(MB // 2) == ["UNPLUG +64M 32"]
    assert guest.driver.mode.counts() == {"OFFLINE": 1}
    assert guest.driver.work.retry_due == 50


def test_block_left_over_stays_so_while_the_device_keeps_it_and_nothing_else_is_done(rig: MakeRig) -> None:
    guest = rig()
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.ENOMEM)
    guest.channel.then_busy = True
    assert guest.resize(6 * MiB) == ["PLUG +0M 3", "UNPLUG +0M 3"]
    assert guest.driver.mode.counts() == {"PLUGGED": 1}
    guest.channel.then_busy = False
    assert guest.wait(50) == ["UNPLUG +0M 3"]
    assert guest.driver.mode.counts() == {"PLUGGED": 1}
    guest.device.busy = False
    assert guest.wait(100) == ["UNPLUG +0M 3", "PLUG +0M 3"]


def test_new_block_that_the_device_refuses_is_the_first_to_be_tried_again(rig: MakeRig) -> None:
    guest = rig()
    guest.device.busy = True
    assert guest.resize(MB) == ["PLUG +0M 64"]
    assert guest.driver.mode.counts() == {"UNUSED": 1}
    guest.device.busy = False
    assert guest.wait(50) == ["PLUG +0M 64"]


# -- Linux says no ---------------------------------------------------------------------------------------------------------


def test_holes_between_busy_sub_blocks_are_filled_from_below(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL)
    guest.resize(MB)
    guest.pin(FIRST, 10, 20)
    assert len(guest.resize(0)) == 62
    assert guest.device.plugged_size == 4 * MiB
    assert guest.resize(10 * MiB) == ["PLUG +0M 3"]
    assert guest.resize(26 * MiB) == ["PLUG +6M 7", "PLUG +22M 1"]
    assert guest.driver.mode.counts() == {"KERNEL_PARTIAL": 1}
    assert guest.resize(MB) == ["PLUG +24M 8", "PLUG +42M 43"]
    assert guest.driver.mode.counts() == {"KERNEL": 1}


def test_runs_of_an_offline_block_are_unplugged_from_above(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL)
    guest.resize(MB)
    guest.pin(FIRST, 3, 4, 5, 20)
    guest.resize(0)
    guest.unpin(FIRST)
    guest.device.requested_size = 8 * MiB
    guest.clock.run_until_idle()
    assert not guest.set_state(FIRST, OnlineType.OFFLINE)
    assert guest.resize(6 * MiB) == ["UNPLUG +40M 1"]
    assert guest.resize(4 * MiB) == ["UNPLUG +10M 1"]
    assert guest.driver.mode.counts() == {"OFFLINE_PARTIAL": 1}
    assert guest.resize(0) == ["UNPLUG +6M 2"]
    assert guest.driver.mode.counts() == {"UNUSED": 1}


def test_whole_block_with_one_busy_page_is_unplugged_sub_block_by_sub_block(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL)
    guest.resize(2 * MB)
    guest.pin(FIRST + 1, 0)
    asked = guest.resize(MB)
    assert asked[:63] == [f"UNPLUG +{at}M 1" for at in range(254, 128, -2)]
    assert asked[63:] == ["UNPLUG +126M 1"]  # what could not be had there is taken from the next block
    assert guest.driver.work.last_rc is Errno.OK


def test_block_half_of_which_is_asked_for_is_not_tried_whole(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB)
    assert guest.resize(MB - 4 * MiB) == ["UNPLUG +126M 1", "UNPLUG +124M 1"]


def test_more_than_half_a_gibibyte_offline_stops_growth_even_with_large_blocks(rig: MakeRig) -> None:
    """Two memory blocks may always be offline, however large they are."""
    guest = rig(OnlineType.OFFLINE, size=16 * GiB, memory_block=2 * GiB)
    assert guest.resize(8 * GiB) == ["PLUG +0M 1024", "PLUG +2048M 1024"]
    assert guest.driver.work.last_rc is Errno.ENOSPC
    assert not guest.set_state(4, OnlineType.ONLINE)
    assert guest.channel.said == ["PLUG +4096M 1024"]


# -- another notifier refuses ----------------------------------------------------------------------------------------------


def test_memory_of_another_driver_in_the_region_does_not_go_online(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    assert not add_memory(guest.memory, 0, BASE + 2 * MB, MB)
    rc = store_state(guest.memory, FIRST + 2, OnlineType.ONLINE)
    assert rc is Errno.EPERM
    assert guest.log[-1] == "virtio_mem virtio0: memory block onlining denied"
    assert guest.memory.nodes[0].zones[ZoneType.NORMAL].spanned == 2 * GiB // X86_64.page_size


def test_block_that_stays_online_after_all_has_its_unplugged_pages_withheld_again(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(6 * MiB)
    guest.memory.faults.inject(FaultPoint.MIGRATE, Errno.EBUSY)
    assert guest.set_state(FIRST, OnlineType.OFFLINE) is Errno.EBUSY
    assert movable_managed(guest) == 6 * MiB
    assert guest.driver.mode.counts() == {"MOVABLE_PARTIAL": 1}


@pytest.mark.parametrize("priority", [10, -10], ids=["before the driver", "after the driver"])
def test_veto_of_offlining_leaves_the_withheld_pages_as_they_were(rig: MakeRig, priority: int) -> None:
    """Asked before the veto or never asked: a cancellation undoes what was done, and no more."""
    guest = rig()
    guest.resize(6 * MiB)
    guest.memory.notifiers.register(veto_going_offline, priority)
    assert guest.set_state(FIRST, OnlineType.OFFLINE) is Errno.EBUSY
    assert movable_managed(guest) == 6 * MiB
    guest.memory.notifiers.unregister(veto_going_offline)
    assert not guest.set_state(FIRST, OnlineType.OFFLINE)
    assert guest.driver.added.offline_size == MB


@pytest.mark.parametrize("priority", [10, -10], ids=["before the driver", "after the driver"])
def test_veto_of_onlining_leaves_the_block_offline_for_the_next_try(rig: MakeRig, priority: int) -> None:
    def veto(event: MemoryEvent, _: MemoryNotify) -> Errno:
        return Errno.ENOMEM if event is MemoryEvent.GOING_ONLINE else Errno.OK

    guest = rig(OnlineType.OFFLINE)
    guest.resize(6 * MiB)
    guest.memory.notifiers.register(veto, priority)
    assert guest.set_state(FIRST, OnlineType.ONLINE_MOVABLE) is Errno.ENOMEM
    assert guest.driver.mode.counts() == {"OFFLINE_PARTIAL": 1}
    guest.memory.notifiers.unregister(veto)
    assert not guest.set_state(FIRST, OnlineType.ONLINE_MOVABLE)
    assert movable_managed(guest) == 6 * MiB


def test_driver_that_leaves_lets_nothing_of_its_go_online_or_offline(rig: MakeRig) -> None:
    """Between the decision to leave and the end, notifications are refused with EBUSY."""
    guest = rig(OnlineType.OFFLINE)
    guest.resize(2 * MB)
    assert not guest.set_state(FIRST, OnlineType.ONLINE)
    guest.driver._removing = True
    assert store_state(guest.memory, FIRST + 1, OnlineType.ONLINE) is Errno.EBUSY
    assert store_state(guest.memory, FIRST, OnlineType.OFFLINE) is Errno.EBUSY


# -- the page allocator says no --------------------------------------------------------------------------------------------

BY_SUB_BLOCK = [f"UNPLUG +{offset}M 1" for offset in range(126, -1, -2)]


@pytest.mark.parametrize(
    ("zone", "failures", "requests"),
    [
        (OnlineType.ONLINE_MOVABLE, 4, ["UNPLUG +0M 64"]),
        (OnlineType.ONLINE_MOVABLE, 5, BY_SUB_BLOCK),
        (OnlineType.ONLINE_KERNEL, 1, BY_SUB_BLOCK),
    ],
    ids=["movable, the fifth try succeeds", "movable, five tries fail", "kernel, the only try fails"],
)
def test_pages_in_movable_are_tried_five_times_elsewhere_once(
    rig: MakeRig, zone: OnlineType, failures: int, requests: list[str]
) -> None:
    guest = rig(zone)
    guest.resize(MB)
    guest.memory.faults.inject(FaultPoint.CONTIG, Errno.EBUSY, failures)
    assert guest.resize(0) == requests
    assert guest.device.plugged_size == 0
    assert guest.memory.faults.take(FaultPoint.CONTIG) is Errno.OK


def test_an_allocator_out_of_memory_ends_the_pass_at_once(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(2 * MB)
    guest.memory.faults.inject(FaultPoint.CONTIG, Errno.ENOMEM)
    assert guest.resize(0) == []
    assert guest.driver.work.last_rc is Errno.ENOMEM
    assert [(str(one.span), one.errno) for one in guest.driver.added.failures] == [
        ("0x208000000-0x20fffffff", Errno.ENOMEM)
    ]
    assert guest.wait(50) == ["UNPLUG +128M 64", "UNPLUG +0M 64"]


def test_other_failures_of_the_allocator_are_taken_for_busy(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE_KERNEL)
    guest.resize(2 * MiB)
    guest.memory.faults.inject(FaultPoint.CONTIG, Errno.EINTR, 2)
    assert guest.resize(0) == []
    assert guest.driver.work.last_rc is Errno.EBUSY
