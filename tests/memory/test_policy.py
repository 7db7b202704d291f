from collections.abc import Callable

import pytest

from virtiomem.memory import (
    MHP_NID_IS_MGID,
    Memory,
    OnlinePolicy,
    OnlineType,
    add_memory,
    remove_memory,
    store_state,
)
from virtiomem.units import PAGE_SIZE, GiB, MiB

Boot = Callable[..., Memory]
MB = 128 * MiB
HERE = 8 * GiB


def zones(memory: Memory) -> str:
    """One letter a hotplugged block: Movable, Normal or offline."""
    blocks = sorted((block for block in memory.blocks.values() if not block.boot), key=lambda block: block.id)
    return "".join(str(block.zone.type)[0] if block.zone else "-" for block in blocks)


@pytest.fixture
def auto(boot: Boot) -> Memory:
    """Policy auto-movable, 2 GiB of boot memory: 6 GiB and a little may be movable."""
    return boot(OnlineType.ONLINE, online_policy=OnlinePolicy.AUTO_MOVABLE)


def test_auto_movable_stops_at_the_ratio(auto: Memory) -> None:
    for block in range(50):
        assert not add_memory(auto, 0, HERE + block * MB, MB)
    assert zones(auto) == "M" * 48 + "N" * 2


def test_ratio_nought_means_kernel_memory_only(auto: Memory) -> None:
    auto.policy.auto_movable_ratio = 0
    assert not add_memory(auto, 0, HERE, MB)
    assert zones(auto) == "N"


def test_static_group_is_movable_as_a_whole_or_not_at_all(auto: Memory) -> None:
    small = auto.groups.register_static(0, 2 * GiB // PAGE_SIZE)
    large = auto.groups.register_static(0, 5 * GiB // PAGE_SIZE)
    assert not add_memory(auto, small, HERE, 2 * GiB, MHP_NID_IS_MGID)
    assert not add_memory(auto, large, HERE + 2 * GiB, 5 * GiB, MHP_NID_IS_MGID)
    assert zones(auto) == "M" * 16 + "N" * 40


def test_kernel_memory_of_a_dynamic_group_lets_more_of_it_be_movable(auto: Memory) -> None:
    group = auto.groups.register_dynamic(0, MB // PAGE_SIZE)
    for block in range(64):
        assert not add_memory(auto, group, HERE + block * MB, MB, MHP_NID_IS_MGID)
    assert zones(auto)[48:56] == "NMMMNMMM"
    assert zones(auto).count("M") * 100 <= 301 * (16 + zones(auto).count("N"))


def test_unit_of_a_dynamic_group_follows_its_first_block(auto: Memory) -> None:
    group = auto.groups.register_dynamic(0, 2 * MB // PAGE_SIZE)
    auto.policy.default_state = OnlineType.OFFLINE
    assert not add_memory(auto, group, HERE, 2 * MB, MHP_NID_IS_MGID)
    assert not store_state(auto, 64, OnlineType.ONLINE_KERNEL)
    assert not store_state(auto, 65, OnlineType.ONLINE)
    assert zones(auto) == "NN"


def test_groups_are_refused_and_freed_as_they_should(boot: Boot) -> None:
    from virtiomem.errors import Errno, KernelError

    memory = boot()
    for bad in (0, 3 * MB // PAGE_SIZE, MB // PAGE_SIZE // 2):
        with pytest.raises(KernelError, match="EINVAL"):
            memory.groups.register_dynamic(0, bad)
    first, second = memory.groups.register_static(0, 1), memory.groups.register_static(0, 1)
    assert (first, second) == (0, 1)
    assert memory.groups.unregister(0) is Errno.OK
    assert memory.groups.unregister(0) is Errno.EINVAL
    assert memory.groups.register_static(0, MB // PAGE_SIZE) == 0
    assert not add_memory(memory, 0, HERE, MB, MHP_NID_IS_MGID)
    assert memory.groups.unregister(0) is Errno.EBUSY
    assert not remove_memory(memory, HERE, MB)
    assert memory.groups.unregister(0) is Errno.OK
