from collections.abc import Callable
from typing import Any

import pytest

from tests.refused import refused
from virtiomem.errors import ArgumentValueError, Errno
from virtiomem.memory import (
    MHP_MEMMAP_ON_MEMORY,
    MHP_MERGE_RESOURCE,
    MHP_NID_IS_MGID,
    BlockState,
    FaultPoint,
    Memory,
    OnlineType,
    Policy,
    add_memory,
    add_memory_driver_managed,
    add_memory_resource,
    device_online,
    offline_and_remove_memory,
    remove_memory,
)
from virtiomem.memory.core import MAX_BLOCKS
from virtiomem.resource import iomem
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import Resource, ResourceTree
from virtiomem.units import GiB, MiB, Span

Boot = Callable[..., Memory]
MB = 128 * MiB
HERE = 8 * GiB


def listing(memory: Memory) -> list[str]:
    return iomem.dumps(memory.iomem).splitlines()[1:]


def managed(memory: Memory, start: int, size: int = MB, flags: int = MHP_MERGE_RESOURCE) -> Errno:
    return add_memory_driver_managed(memory, 0, start, size, NAME, flags)


NAME = "System RAM (test)"


def test_added_memory_is_in_tree_and_sysfs_and_offline_by_default(boot: Boot) -> None:
    memory = boot()
    assert managed(memory, HERE, 2 * MB) is Errno.OK
    assert listing(memory) == ["200000000-20fffffff : System RAM (test)"]
    assert [memory.blocks[id_].state for id_ in (64, 65)] == [BlockState.OFFLINE] * 2
    memory.check()


def test_neighbours_merge_only_when_both_were_added_with_the_flag(boot: Boot) -> None:
    memory = boot()
    assert not managed(memory, HERE)
    assert not managed(memory, HERE + MB, flags=0)
    assert not managed(memory, HERE + 2 * MB)
    assert not managed(memory, HERE + 3 * MB)
    assert listing(memory) == [
        "200000000-207ffffff : System RAM (test)",
        "208000000-20fffffff : System RAM (test)",
        "210000000-21fffffff : System RAM (test)",
    ]


@pytest.mark.parametrize(
    ("start", "size", "errno"),
    [
        (HERE + MiB, MB, Errno.EINVAL),
        (HERE, MB + MiB, Errno.EINVAL),
        (HERE, 0, Errno.E2BIG),
        (1 << 52, MB, Errno.E2BIG),
        (5 * GiB, MB, Errno.EEXIST),
    ],
    ids=["misaligned", "odd size", "empty", "beyond physical memory", "taken"],
)
def test_bad_range_is_refused_and_nothing_stays(boot: Boot, start: int, size: int, errno: Errno) -> None:
    memory = boot()
    assert managed(memory, start, size) is errno
    assert listing(memory) == []
    memory.check()


def test_the_last_block_that_is_addressable_can_be_added_and_no_further(boot: Boot) -> None:
    memory = boot()
    last = memory.hotpluggable_end + 1 - MB
    assert managed(memory, last, 2 * MB) is Errno.E2BIG
    assert managed(memory, last + MB, MB) is Errno.E2BIG
    assert managed(memory, last, MB) is Errno.OK
    assert managed(memory, 0, MB) is Errno.OK


@pytest.mark.parametrize("name", ["System RAM", "System RAM (x", "Soft Reserved"])
def test_driver_managed_memory_needs_a_name_of_its_own(boot: Boot, name: str) -> None:
    assert add_memory_driver_managed(boot(), 0, HERE, MB, name) is Errno.EINVAL


def test_unknown_node_and_unknown_group_are_refused(boot: Boot) -> None:
    memory = boot()
    assert add_memory(memory, 7, HERE, MB) is Errno.EINVAL
    assert add_memory(memory, 7, HERE, MB, MHP_NID_IS_MGID) is Errno.EINVAL
    assert add_memory(memory, 0, HERE, MB, MHP_MEMMAP_ON_MEMORY) is Errno.EINVAL
    assert listing(memory) == []


@pytest.mark.parametrize(
    "point",
    [FaultPoint.REGISTER_RESOURCE, FaultPoint.ONLINE_NODE, FaultPoint.ARCH_ADD, FaultPoint.CREATE_BLOCKS],
)
def test_failure_while_adding_leaves_nothing_behind(boot: Boot, point: FaultPoint) -> None:
    memory = boot(OnlineType.ONLINE)
    memory.faults.inject(point, Errno.ENOMEM)
    assert managed(memory, HERE) is Errno.ENOMEM
    assert listing(memory) == []
    assert 64 not in memory.blocks
    memory.check()
    assert managed(memory, HERE) is Errno.OK


def test_refused_onlining_does_not_undo_the_adding_and_stops_at_the_first_block(boot: Boot) -> None:
    memory = boot(OnlineType.ONLINE_MOVABLE)
    memory.faults.inject(FaultPoint.GOING_ONLINE, Errno.ENOMEM)
    assert managed(memory, HERE, 2 * MB) is Errno.OK
    assert [memory.blocks[id_].state for id_ in (64, 65)] == [BlockState.OFFLINE] * 2
    memory.check()


def test_firmware_map_knows_plain_memory_until_it_goes(boot: Boot) -> None:
    memory = boot()
    assert not add_memory(memory, 0, HERE, MB)
    assert not managed(memory, HERE + MB)
    assert memory.firmware_map == [Span(HERE, HERE + MB)]
    assert not remove_memory(memory, HERE, MB)
    assert memory.firmware_map == []


def test_online_memory_is_not_removed(boot: Boot) -> None:
    memory = boot(OnlineType.ONLINE)
    assert not managed(memory, HERE)
    assert remove_memory(memory, HERE, MB) is Errno.EBUSY
    assert listing(memory) == ["200000000-207ffffff : System RAM (test)"]


def test_blocks_that_are_not_there_are_no_obstacle_to_removal_but_their_resource_stays(boot: Boot) -> None:
    """The resource is released only where one of them holds the whole range."""
    memory = boot()
    assert not managed(memory, HERE)
    assert not remove_memory(memory, HERE, 2 * MB)
    assert 64 not in memory.blocks
    assert listing(memory) == ["200000000-207ffffff : System RAM (test)"]


def test_taking_away_less_than_whole_memory_blocks_is_refused(boot: Boot) -> None:
    memory = boot()
    assert not managed(memory, HERE)
    for start, size in ((HERE, 0), (HERE, MiB), (HERE + MiB, MB)):
        assert offline_and_remove_memory(memory, start, size) is Errno.EINVAL
    for start, size in ((HERE, 0), (HERE, MiB), (HERE + MiB, MB)):
        with pytest.raises(ArgumentValueError, match="must be whole memory blocks"):
            remove_memory(memory, start, size)


def test_removing_the_middle_splits_the_resource(boot: Boot) -> None:
    memory = boot(OnlineType.ONLINE)
    for block in range(3):
        assert not managed(memory, HERE + block * MB)
    assert not offline_and_remove_memory(memory, HERE + MB, MB)
    assert listing(memory) == ["200000000-207ffffff : System RAM (test)", "210000000-217ffffff : System RAM (test)"]
    memory.check()


def test_block_that_cannot_go_brings_back_those_that_went_in_their_zones(boot: Boot) -> None:
    memory = boot()
    assert not managed(memory, HERE, 4 * MB)
    for id_, how in zip(range(64, 67), ["online_movable", "online_kernel", "online_movable"], strict=True):
        assert not device_online(memory, memory.blocks[id_], OnlineType(how))
    memory.faults.inject(FaultPoint.MIGRATE, Errno.OK)
    memory.faults.inject(FaultPoint.MIGRATE, Errno.OK)
    memory.faults.inject(FaultPoint.MIGRATE, Errno.EBUSY)
    assert offline_and_remove_memory(memory, HERE, 4 * MB) is Errno.EBUSY
    zones = [memory.blocks[id_].zone for id_ in range(64, 68)]
    assert [zone and str(zone.type) for zone in zones] == ["Movable", "Normal", "Movable", None]
    memory.check()


def test_memory_block_size_follows_boot_memory() -> None:
    from virtiomem.memory.core import probe_memory_block_size

    sizes = [probe_memory_block_size(end) for end in (6 * GiB, 64 * GiB, 65 * GiB, 64 * GiB + 256 * MiB)]
    assert sizes == [128 * MiB, 2 * GiB, 1 * GiB, 256 * MiB]


def test_a_range_far_larger_than_memory_costs_what_is_there(boot: Boot) -> None:
    memory = boot()
    assert not managed(memory, HERE)
    everything = (1 << 64) - MB
    assert remove_memory(memory, 0, everything) is Errno.EBUSY
    assert offline_and_remove_memory(memory, HERE, everything - HERE) is Errno.OK
    assert HERE // MB not in memory.blocks
    memory.check()


@pytest.mark.parametrize(
    ("start", "size"), [(0, 1 << 64), (1 << 64, MB), (-MB, MB), (HERE, -MB), (HERE, 1.5), (None, MB)]
)
def test_a_range_that_cannot_be_is_refused_and_nothing_changes(boot: Boot, start: Any, size: Any) -> None:
    memory = boot()
    assert not managed(memory, HERE)
    for verb in (remove_memory, offline_and_remove_memory):
        refused(verb, memory, start, size)
    refused(add_memory, memory, 0, start, size)
    assert listing(memory) == ["200000000-207ffffff : System RAM (test)"]
    memory.check()


def test_more_memory_blocks_than_a_kernel_can_have_are_refused(boot: Boot) -> None:
    memory = boot()
    assert managed(memory, 1 << 47, MAX_BLOCKS * MB) is Errno.ENOMEM
    assert listing(memory) == []
    vast = ResourceTree()
    vast.request_region(0, 1 << 63, "System RAM", IORESOURCE_SYSTEM_RAM)
    refused(Memory, vast)


def test_only_system_ram_of_the_tree_can_be_added(boot: Boot) -> None:
    memory = boot()
    window = memory.iomem.request_region(HERE, MB, "window")
    for res in (window, Resource(HERE, HERE + MB - 1, "System RAM", IORESOURCE_SYSTEM_RAM), memory.iomem, None):
        refused(add_memory_resource, memory, 0, res)
    assert HERE // MB not in memory.blocks


def test_a_block_that_went_away_cannot_go_online(boot: Boot) -> None:
    memory = boot()
    assert not managed(memory, HERE)
    gone = memory.blocks[HERE // MB]
    assert not remove_memory(memory, HERE, MB)
    refused(device_online, memory, gone)
    memory.check()


@pytest.mark.parametrize(
    "arguments",
    [
        {"block_size": 0},
        {"block_size": 3 * MB},
        {"block_size": 4 * GiB},
        {"block_size": True},
        {"policy": "auto-movable"},
        {"nodes": {0: [(0, GiB)]}},
        {"nodes": {0: [Span(0, 2 * GiB)], 1: [Span(GiB, 3 * GiB)]}},
        {"nodes": {-1: []}},
        {"hotpluggable_end": 1.5},
    ],
)
def test_a_kernel_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    refused(Memory, ResourceTree(), **arguments)
    refused(Memory, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("default_state", "online"), ("online_policy", 1), ("auto_movable_ratio", -1), ("auto_movable_ratio", 1.5)],
)
def test_a_policy_has_only_values_that_can_be(name: str, value: Any) -> None:
    policy = Policy()
    refused(setattr, policy, name, value)
    refused(Policy, **{name: value})
    assert policy == Policy()
