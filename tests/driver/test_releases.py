"""What the driver does otherwise from one release of Linux to the next."""

from collections.abc import Callable
from typing import Any

import pytest

from virtiomem.abi import Sleep
from virtiomem.errors import Errno
from virtiomem.memory import FaultPoint, MemoryEvent, MemoryNotify, OnlineType
from virtiomem.units import MiB
from virtiomem.wire.mem import Feature

MakeRig = Callable[..., Any]
MB = 128 * MiB


def refuse(guest: Any, errno: Errno, times: int) -> None:
    """Let another notifier refuse the next blocks that are to go offline."""
    guest.memory.faults.inject(FaultPoint.GOING_OFFLINE, errno, times)


@pytest.mark.parametrize(("kernel", "due", "blocks"), [("6.1", None, 4), ("6.12", 50, 3)])
def test_emptied_block_that_did_not_go_stays_or_is_removed_by_the_timer(
    rig: MakeRig, kernel: str, due: float | None, blocks: int
) -> None:
    guest = rig(kernel=kernel)
    guest.resize(4 * MB)
    refuse(guest, Errno.EBUSY, 1)
    assert guest.resize(3 * MB) == ["UNPLUG +384M 64"]
    assert guest.driver.work.retry_due == due
    assert guest.wait(50) == []
    assert sum(not block.boot for block in guest.memory.blocks.values()) == blocks
    assert guest.driver.work.retry_due is None


def test_emptied_blocks_are_tried_again_movable_before_kernel_before_offline_and_each_from_below(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE, kernel="6.12")
    guest.resize(4 * MB)
    for block, how in ((64, "online_kernel"), (65, "online_movable"), (66, "online_movable"), (67, "online_kernel")):
        guest.set_state(block, OnlineType(how))
    guest.memory.faults.inject(FaultPoint.OFFLINE_AND_REMOVE, Errno.EBUSY, 4)
    guest.resize(0)
    assert guest.driver.mode.counts() == {"MOVABLE_PARTIAL": 2, "KERNEL_PARTIAL": 2}
    guest.set_state(64, OnlineType.OFFLINE)
    going: list[tuple[int, bool]] = []

    def note(event: MemoryEvent, notify: MemoryNotify) -> Errno:
        if event is MemoryEvent.GOING_OFFLINE:
            going.append((notify.start // MB, 64 in guest.memory.blocks))
        return Errno.OK

    guest.memory.notifiers.register(note)
    guest.wait(50)
    assert going == [(65, True), (66, True), (67, True)]
    assert guest.driver.mode.counts() == {"UNUSED": 4}


def test_emptied_block_that_did_not_go_is_tried_again_before_memory_is_plugged_and_filled_when_it_stays(
    rig: MakeRig,
) -> None:
    guest = rig(kernel="6.12")
    guest.resize(2 * MB)
    refuse(guest, Errno.EBUSY, 2)
    guest.resize(MB)
    assert guest.resize(2 * MB) == ["PLUG +128M 64"]
    assert guest.driver.mode.counts() == {"MOVABLE": 2}
    assert guest.driver.work.retry_due == 50
    guest.wait(50)
    assert guest.driver.work.retry_due is None


@pytest.mark.parametrize(("kernel", "broken"), [("6.1", True), ("6.12", False)])
def test_big_block_that_another_notifier_refuses_breaks_the_device_or_is_tried_again(
    rig: MakeRig, kernel: str, broken: bool
) -> None:
    guest = rig(block=256 * MiB, kernel=kernel)
    guest.resize(256 * MiB)
    refuse(guest, Errno.EINVAL, 2)
    assert guest.resize(0) == []
    assert guest.driver.work.broken is broken
    assert guest.wait(50) == ([] if broken else ["UNPLUG +0M 1"])


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_parameter_that_the_module_no_longer_has_is_ignored_with_a_warning(rig: MakeRig, kernel: str) -> None:
    guest = rig(block=256 * MiB, bbm_safe_unplug=False, kernel=kernel)
    ignored = "virtio_mem: unknown parameter 'bbm_safe_unplug' ignored" in guest.log
    assert ignored is guest.driver.parameters.bbm_safe_unplug is (kernel == "6.12")


@pytest.mark.parametrize(("kernel", "taken"), [("6.1", 1), ("6.12", 0)])
def test_once_the_configuration_changed_no_more_pages_are_taken(rig: MakeRig, kernel: str, taken: int) -> None:
    guest = rig(kernel=kernel)
    guest.resize(MB + 8 * MiB)
    send = guest.channel.send

    def send_and_change(request: bytes) -> bytes:
        answer: bytes = send(request)
        guest.device.requested_size = MB + 6 * MiB
        guest.memory.faults.inject(FaultPoint.CONTIG, Errno.OK, 5)
        guest.channel.send = send
        return answer

    guest.channel.send = send_and_change
    assert guest.resize(MB) == ["UNPLUG +134M 1"]
    assert len(guest.memory.faults.pending()[FaultPoint.CONTIG]) == 5 - taken


PLUGGED, MEMORY_LASTS = MB, Feature.ACPI_PXM | Feature.PERSISTENT_SUSPEND


@pytest.mark.parametrize(
    ("kernel", "to", "plugged", "features", "refusal"),
    [
        ("6.1", "idle", 0, MEMORY_LASTS, "save/restore not supported."),
        ("6.1", "memory", 0, MEMORY_LASTS, "save/restore not supported."),
        ("6.9", "disk", 0, MEMORY_LASTS, "save/restore not supported."),
        ("6.10", "idle", PLUGGED, Feature.ACPI_PXM, None),
        ("6.12", "memory", 0, Feature.ACPI_PXM, None),
        ("6.12", "memory", PLUGGED, Feature.ACPI_PXM, "suspending with plugged memory is not supported"),
        ("6.12", "memory", PLUGGED, MEMORY_LASTS, None),
        ("6.12", "disk", 0, MEMORY_LASTS, "hibernation is not supported."),
    ],
)
def test_guest_sleeps_where_its_memory_outlives_it(
    rig: MakeRig, kernel: str, to: str, plugged: int, features: Feature, refusal: str | None
) -> None:
    guest = rig(kernel=kernel, features=features)
    guest.resize(plugged)
    guest.log.clear()
    assert guest.module.freeze(Sleep(to)) is (Errno.EPERM if refusal else Errno.OK)
    assert guest.log == ([f"virtio_mem virtio0: {refusal}"] if refusal else [])


def test_driver_that_wakes_up_looks_at_its_device_and_goes_on(rig: MakeRig) -> None:
    guest = rig(kernel="6.12")
    assert guest.resize(2 * MB) == ["PLUG +0M 64", "PLUG +128M 64"]
    guest.device.busy = True
    assert guest.resize(MB) == ["UNPLUG +128M 64"]
    guest.device.busy = False
    guest.channel.said.clear()
    assert not guest.module.freeze(Sleep.IDLE)
    guest.module.restore()
    guest.clock.run_until_idle()
    assert guest.channel.said == ["UNPLUG +128M 64"]
    assert guest.driver.work.retry_due is None
