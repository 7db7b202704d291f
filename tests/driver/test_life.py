"""A driver comes, goes, and comes again; a crash kernel's driver only asks."""

from collections.abc import Callable
from typing import Any

from virtiomem.clock import Clock
from virtiomem.driver import VirtioMemModule, VmcoreDriver
from virtiomem.errors import Errno
from virtiomem.memory import Memory, OnlineType
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.units import PAGE_SIZE, GiB, MiB

MakeRig = Callable[..., Any]
MB = 128 * MiB
BASE = 8 * GiB


def test_unloading_an_idle_driver_leaves_no_trace(rig: MakeRig) -> None:
    guest = rig()
    guest.module.unload()
    assert guest.listing() == []
    assert list(guest.memory.groups) == []
    guest.memory.check()


def test_online_memory_outlives_the_driver_and_keeps_it_from_coming_back(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB)
    guest.module.unload()
    assert guest.log[-1] == "virtio_mem virtio0: device still has system memory added"
    assert len(guest.listing()) == 2
    guest.load()
    assert guest.module.failed == {"virtio0": Errno.EBUSY}
    assert guest.log[-1] == "virtio_mem virtio0: reloading the driver is not supported"
    assert guest.device.plugged_size == MB


def test_partial_offline_block_is_removed_but_stays_plugged_until_the_next_driver_unplugs_all(rig: MakeRig) -> None:
    guest = rig(OnlineType.OFFLINE)
    guest.resize(64 * MiB)
    guest.module.unload()
    assert guest.listing() == []
    assert guest.device.plugged_size == 64 * MiB
    guest.transport.said.clear()
    guest.load()
    assert guest.transport.said == ["UNPLUG_ALL +-8192M 0", "PLUG +0M 32"]


def test_new_kernel_on_plugged_memory_begins_with_unplug_all(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(2 * MB)
    tree = ResourceTree()
    tree.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
    memory, clock = Memory(tree), Clock()
    guest.transport.said.clear()
    guest.device.busy = True
    module = VirtioMemModule(memory, clock, [("virtio0", guest.transport)])
    clock.run_until_idle()
    assert module.devices[0].last_rc is Errno.ETXTBSY
    guest.device.busy = False
    clock.advance(50)
    assert [said.split()[0] for said in guest.transport.said] == ["UNPLUG_ALL", "UNPLUG_ALL", "PLUG", "PLUG"]


def test_driver_without_a_pending_change_sends_nothing_at_load(rig: MakeRig) -> None:
    assert rig().transport.said == []


def test_driver_of_a_crash_kernel_asks_once_for_each_block(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB)
    guest.transport.said.clear()
    vmcore = VmcoreDriver(guest.transport)
    assert vmcore.is_ram(BASE)
    assert vmcore.is_ram(BASE + PAGE_SIZE)
    assert not vmcore.is_ram(BASE + MB)
    assert vmcore.is_ram(BASE - PAGE_SIZE)
    assert vmcore.is_ram(BASE + 4 * GiB)
    assert guest.transport.said == ["STATE +0M 1", "STATE +128M 1"]


def test_driver_of_a_crash_kernel_asks_nothing_when_nothing_is_plugged(rig: MakeRig) -> None:
    guest = rig()
    vmcore = VmcoreDriver(guest.transport)
    assert not vmcore.is_ram(BASE)
    assert guest.transport.said == []


def test_driver_of_a_crash_kernel_takes_any_error_for_not_ram(rig: MakeRig) -> None:
    guest = rig()
    guest.resize(MB)
    for answer in (b"", b"\x03" + bytes(9), b"\xff" * 10, bytes(3)):
        guest.transport.send = lambda _, answer=answer: answer
        assert not VmcoreDriver(guest.transport).is_ram(BASE)
