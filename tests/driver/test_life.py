"""A driver comes, goes, and comes again; a crash kernel's driver only asks."""

from collections.abc import Callable
from typing import Any

import pytest

from virtiomem.architecture import X86_64
from virtiomem.clock import Clock
from virtiomem.device.mem import MemDevice
from virtiomem.driver import VirtioMemModule, VmcoreDriver
from virtiomem.errors import Errno
from virtiomem.memory import FaultPoint, Memory, OnlineType, Policy, store_state
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.transport.loopback import Loopback
from virtiomem.units import GiB, MiB, Span

MakeRig = Callable[..., Any]
MB = 128 * MiB
BASE = 8 * GiB


def test_probe_tells_what_the_device_is_in_the_order_of_the_kernel(rig: MakeRig) -> None:
    guest = rig(addr=BASE + 2 * MiB, size=1090 * MiB, force_bbm=True, bbm_block_size=3 * MiB)
    assert [line.removeprefix("virtio_mem virtio0: ") for line in guest.log] == [
        "start address: 0x200200000",
        "region size: 0x44200000",
        "device block size: 0x200000",
        "nid: 0",
        "The alignment of the physical start address can make some memory unusable.",
        "The alignment of the physical end address can make some memory unusable.",
        "bbm_block_size is not a power of 2",
        "memory block size: 0x8000000",
        "big block size: 0x8000000",
        "plugged size: 0x0",
        "requested size: 0x0",
    ]


def test_unloading_an_idle_driver_leaves_no_trace(rig: MakeRig) -> None:
    guest = rig()
    guest.module.unload()
    assert guest.listing() == []
    assert list(guest.memory.groups) == []
    guest.memory.check()


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        ("6.1", "virtio_mem: probe of virtio0 failed with error -16"),
        ("6.12", "virtio_mem virtio0: probe with driver virtio_mem failed with error -16"),
    ],
)
def test_online_memory_outlives_the_driver_and_keeps_it_from_coming_back(rig: MakeRig, kernel: str, said: str) -> None:
    guest = rig(kernel=kernel)
    guest.resize(MB)
    guest.module.unload()
    assert guest.log[-1] == "virtio_mem virtio0: device still has system memory added"
    assert len(guest.listing()) == 2
    assert [group.blocks for group in guest.memory.groups] == [1]
    guest.load()
    assert guest.module.failed == {"virtio0": Errno.EBUSY}
    assert guest.log[-2:] == ["virtio_mem virtio0: reloading the driver is not supported", said]
    assert guest.device.plugged_size == MB


def test_online_blocks_left_behind_can_go_offline_only_when_they_are_whole(rig: MakeRig) -> None:
    """No driver is left to let go of the pages that were withheld, or to unplug anything."""
    guest = rig()
    guest.resize(MB + 6 * MiB)
    guest.module.unload()
    assert store_state(guest.memory, 65, OnlineType.OFFLINE) is Errno.EBUSY
    assert not store_state(guest.memory, 64, OnlineType.OFFLINE)
    assert not store_state(guest.memory, 64, OnlineType.ONLINE_KERNEL)
    assert guest.device.plugged_size == MB + 6 * MiB
    guest.memory.check()


def test_driver_that_gave_up_works_again_after_a_reload(rig: MakeRig) -> None:
    guest = rig()
    guest.memory.faults.inject(FaultPoint.ARCH_ADD, Errno.EEXIST)
    guest.resize(MB)
    assert guest.driver.work.broken
    assert "virtio_mem virtio0: adding memory failed: -17" in guest.log
    guest.module.unload()
    assert guest.listing() == []
    guest.channel.said.clear()
    guest.load()
    assert guest.channel.said == ["PLUG +0M 64"]


def test_driver_that_waits_for_its_timer_does_not_wake_after_it_was_unloaded(rig: MakeRig) -> None:
    guest = rig()
    guest.device.busy = True
    guest.resize(MB)
    guest.module.unload()
    guest.device.busy = False
    guest.channel.said.clear()
    guest.clock.advance(1000)
    guest.device.requested_size = 2 * MB
    guest.clock.run_until_idle()
    assert guest.channel.said == []


def test_memory_beyond_what_can_be_hotplugged_stays_unused() -> None:
    tree = ResourceTree()
    tree.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
    memory = Memory(tree, hotpluggable_end=BASE + 300 * MiB - 1, policy=Policy(default_state=OnlineType.ONLINE))
    device = MemDevice(addr=BASE, region_size=GiB, requested_size=GiB)
    log: list[str] = []
    clock = Clock()
    module = VirtioMemModule(memory, clock, [("virtio0", Loopback(device))], log=lambda _, text: log.append(text))
    clock.run_until_idle()
    assert device.plugged_size == 2 * MB
    assert module.devices[0].work.last_rc is Errno.ENOSPC
    complaint = "Some device memory is not addressable/pluggable. This can make some memory unusable."
    assert f"virtio_mem virtio0: {complaint}" in log


def test_node_is_that_of_the_proximity_domain_if_it_is_known_else_that_of_the_address() -> None:
    tree = ResourceTree()
    tree.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
    nodes = {0: [Span(4 * GiB, 5 * GiB)], 1: [Span(5 * GiB, 6 * GiB), Span(BASE, BASE + GiB)]}

    def nid(device: MemDevice, features: int | None = None) -> int:
        memory = Memory(tree, nodes=nodes)
        module = VirtioMemModule(memory, Clock(), [("virtio0", Loopback(device, features=features))])
        probed = module.devices[0].nid
        module.unload()
        return probed

    here = MemDevice(addr=BASE, region_size=GiB, node=0, nodes=4)
    assert nid(here) == 0
    assert nid(here, features=0) == 1
    assert nid(MemDevice(addr=BASE, region_size=GiB, node=3, nodes=4)) == 1
    assert nid(MemDevice(addr=16 * GiB, region_size=GiB, node=3, nodes=4)) == 0


def test_partial_offline_block_is_removed_but_stays_plugged_until_the_next_driver_unplugs_all(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    guest.resize(64 * MiB)
    guest.module.unload()
    assert guest.listing() == []
    assert guest.device.plugged_size == 64 * MiB
    guest.channel.said.clear()
    guest.load()
    assert guest.channel.said == ["UNPLUG_ALL +-8192M 0", "PLUG +0M 32"]


def test_last_device_goes_first_so_that_its_neighbour_leaves_no_trace_either(rig: MakeRig) -> None:
    """The search for leftovers looks one byte too far, into the next device's memory, which by then is gone."""
    guest = rig(OnlineType.OFFLINE, size=GiB)
    guest.module.unload()
    above = Loopback(MemDevice(addr=BASE + GiB, region_size=GiB, requested_size=64 * MiB))
    module = VirtioMemModule(guest.memory, guest.clock, [("virtio0", guest.channel), ("virtio1", above)])
    guest.clock.run_until_idle()
    assert [line.split(" : ")[1] for line in guest.listing()] == ["virtio0", "virtio1", "System RAM (virtio_mem)"]
    module.unload()
    assert guest.listing() == []


def test_device_below_memory_that_stays_keeps_its_place_too(rig: MakeRig) -> None:
    guest = rig(OnlineType.ONLINE, size=GiB)
    guest.module.unload()
    above = Loopback(MemDevice(addr=BASE + GiB, region_size=GiB, requested_size=MB))
    devices = [("virtio0", guest.channel), ("virtio1", above)]
    module = VirtioMemModule(guest.memory, guest.clock, devices)
    guest.clock.run_until_idle()
    module.unload()
    assert [line.split(" : ")[1] for line in guest.listing()] == ["virtio0", "virtio1", "System RAM (virtio_mem)"]
    again = VirtioMemModule(guest.memory, guest.clock, devices)
    assert again.failed == {"virtio1": Errno.EBUSY}


def test_new_kernel_on_plugged_memory_begins_with_unplug_all(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(2 * MB)
    tree = ResourceTree()
    tree.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
    memory, clock = Memory(tree), Clock()
    guest.channel.said.clear()
    guest.device.busy = True
    module = VirtioMemModule(memory, clock, [("virtio0", guest.channel)])
    clock.run_until_idle()
    assert module.devices[0].work.last_rc is Errno.ETXTBSY
    guest.device.busy = False
    clock.advance(50)
    assert [said.split()[0] for said in guest.channel.said] == ["UNPLUG_ALL", "UNPLUG_ALL", "PLUG", "PLUG"]


def test_driver_without_a_pending_change_sends_nothing_at_load(rig: MakeRig) -> None:
    assert rig().channel.said == []


def test_driver_of_a_crash_kernel_asks_once_for_each_block(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB)
    guest.channel.said.clear()
    vmcore = VmcoreDriver(guest.channel)
    assert vmcore.is_ram(BASE)
    assert vmcore.is_ram(BASE + X86_64.page_size)
    assert not vmcore.is_ram(BASE + MB)
    assert vmcore.is_ram(BASE - X86_64.page_size)
    assert vmcore.is_ram(BASE + 4 * GiB)
    assert guest.channel.said == ["STATE +0M 1", "STATE +128M 1"]


def test_driver_of_a_crash_kernel_asks_nothing_when_nothing_is_plugged(rig: MakeRig) -> None:
    guest = rig()
    vmcore = VmcoreDriver(guest.channel)
    assert not vmcore.is_ram(BASE)
    assert guest.channel.said == []


def test_driver_of_a_crash_kernel_takes_any_error_for_not_ram(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB)
    for answer in (b"", b"\x03" + bytes(9), b"\xff" * 10, bytes(3)):
        guest.channel.send = lambda _, answer=answer: answer
        assert not VmcoreDriver(guest.channel).is_ram(BASE)
