from collections.abc import Callable
from typing import Any

import pytest

from virtiomem.architecture import X86_64
from virtiomem.memory import (
    MHP_NID_IS_MGID,
    Memory,
    OnlinePolicy,
    OnlineType,
    Policy,
    add_memory,
    remove_memory,
    store_state,
)
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.units import GiB, MiB, Span

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
    small = auto.groups.register_static(0, 2 * GiB // X86_64.page_size)
    large = auto.groups.register_static(0, 5 * GiB // X86_64.page_size)
    assert not add_memory(auto, small, HERE, 2 * GiB, MHP_NID_IS_MGID)
    assert not add_memory(auto, large, HERE + 2 * GiB, 5 * GiB, MHP_NID_IS_MGID)
    assert zones(auto) == "M" * 16 + "N" * 40


def test_kernel_memory_of_a_dynamic_group_allows_more_movable_memory(auto: Memory) -> None:
    group = auto.groups.register_dynamic(0, MB // X86_64.page_size)
    for block in range(64):
        assert not add_memory(auto, group, HERE + block * MB, MB, MHP_NID_IS_MGID)
    assert zones(auto)[48:56] == "NMMMNMMM"
    assert zones(auto).count("M") * 100 <= 301 * (16 + zones(auto).count("N"))


def test_unit_of_a_dynamic_group_follows_its_first_block(auto: Memory) -> None:
    group = auto.groups.register_dynamic(0, 2 * MB // X86_64.page_size)
    auto.policy.default_state = OnlineType.OFFLINE
    assert not add_memory(auto, group, HERE, 2 * MB, MHP_NID_IS_MGID)
    assert not store_state(auto, 64, OnlineType.ONLINE_KERNEL)
    assert not store_state(auto, 65, OnlineType.ONLINE)
    assert zones(auto) == "NN"


def test_groups_are_refused_and_freed_as_they_should(boot: Boot) -> None:
    from virtiomem.errors import Errno, KernelError

    memory = boot()
    for bad in (0, 3 * MB // X86_64.page_size, MB // X86_64.page_size // 2):
        with pytest.raises(KernelError, match="EINVAL"):
            memory.groups.register_dynamic(0, bad)
    first, second = memory.groups.register_static(0, 1), memory.groups.register_static(0, 1)
    assert (first, second) == (0, 1)
    assert memory.groups.unregister(0) is Errno.OK
    assert memory.groups.unregister(0) is Errno.EINVAL
    assert memory.groups.register_static(0, MB // X86_64.page_size) == 0
    assert not add_memory(memory, 0, HERE, MB, MHP_NID_IS_MGID)
    assert memory.groups.unregister(0) is Errno.EBUSY
    assert not remove_memory(memory, HERE, MB)
    assert memory.groups.unregister(0) is Errno.OK


def two_nodes(first: int, second: int, **policy: Any) -> Memory:
    """Node 0 with `first` bytes of boot memory at 4 GiB, node 1 with `second` behind it; policy auto-movable."""
    iomem = ResourceTree()
    iomem.request_region(4 * GiB, first + second, "System RAM", IORESOURCE_SYSTEM_RAM)
    nodes = {0: [Span.sized(4 * GiB, first)], 1: [Span.sized(4 * GiB + first, second)]}
    chosen = Policy(OnlineType.ONLINE, OnlinePolicy.AUTO_MOVABLE, **policy)
    return Memory(iomem, nodes=nodes, policy=chosen, block_size=MB)


def test_each_node_keeps_the_ratio_for_itself_when_the_policy_is_numa_aware() -> None:
    memory = two_nodes(GiB, GiB, auto_movable_ratio=100)
    for block in range(10):
        assert not add_memory(memory, 0, HERE + block * MB, MB)
    assert zones(memory) == "M" * 8 + "N" * 2


def test_nodes_share_the_ratio_when_the_policy_is_not_numa_aware() -> None:
    memory = two_nodes(GiB, GiB, auto_movable_ratio=100, auto_movable_numa_aware=False)
    for block in range(18):
        assert not add_memory(memory, 0, HERE + block * MB, MB)
    assert zones(memory) == "M" * 16 + "N" * 2


def test_movable_memory_of_one_node_counts_against_the_ratio_of_all() -> None:
    memory = two_nodes(GiB, 3 * GiB, auto_movable_ratio=100)
    memory.policy.default_state = OnlineType.ONLINE_MOVABLE
    assert not add_memory(memory, 0, HERE, 2 * GiB)
    memory.policy.default_state = OnlineType.ONLINE
    for block in range(18):
        assert not add_memory(memory, 1, HERE + 2 * GiB + block * MB, MB)
    assert zones(memory)[16:] == "M" * 16 + "N" * 2


def test_groups_of_another_node_do_not_matter_to_this_node() -> None:
    """What a dynamic group's Movable needs of the early kernel memory is not there for others on its node."""
    memory = two_nodes(GiB, GiB, auto_movable_ratio=100)
    group = memory.groups.register_dynamic(0, MB // X86_64.page_size)
    for block in range(8):
        assert not add_memory(memory, group, HERE + block * MB, MB, MHP_NID_IS_MGID)
    assert zones(memory) == "M" * 8
    assert not add_memory(memory, 0, HERE + GiB, MB)
    assert not add_memory(memory, 1, HERE + 2 * GiB, MB)
    assert zones(memory)[8:] == "NM"


def test_kernel_memory_of_a_dynamic_group_is_of_use_to_that_group_alone(auto: Memory) -> None:
    auto.policy.auto_movable_ratio = 100
    group = auto.groups.register_dynamic(0, MB // X86_64.page_size)
    auto.policy.default_state = OnlineType.ONLINE_KERNEL
    for block in range(4):
        assert not add_memory(auto, group, HERE + block * MB, MB, MHP_NID_IS_MGID)
    auto.policy.default_state = OnlineType.ONLINE
    for block in range(17):
        assert not add_memory(auto, 0, HERE + GiB + block * MB, MB)
    assert zones(auto)[4:] == "M" * 16 + "N"
    assert not add_memory(auto, group, HERE + 4 * GiB, MB, MHP_NID_IS_MGID)
    assert zones(auto)[21:] == "M"


def test_early_kernel_memory_that_other_groups_need_is_not_there_for_this_one(auto: Memory) -> None:
    auto.policy.auto_movable_ratio = 100
    first, second = (auto.groups.register_dynamic(0, MB // X86_64.page_size) for _ in range(2))
    for block in range(12):
        assert not add_memory(auto, first, HERE + block * MB, MB, MHP_NID_IS_MGID)
    for block in range(6):
        assert not add_memory(auto, second, HERE + 2 * GiB + block * MB, MB, MHP_NID_IS_MGID)
    assert zones(auto) == "M" * 12 + "MMMMNM"


def test_ratio_may_become_nought_while_groups_have_movable_memory(auto: Memory) -> None:
    groups = [auto.groups.register_dynamic(0, MB // X86_64.page_size) for _ in range(2)]
    assert not add_memory(auto, groups[0], HERE, MB, MHP_NID_IS_MGID)
    auto.policy.auto_movable_ratio = 0
    assert not add_memory(auto, groups[1], HERE + MB, MB, MHP_NID_IS_MGID)
    assert zones(auto) == "MN"


def test_static_group_goes_on_as_it_began(auto: Memory) -> None:
    """With kernel memory in it the rest follows; what is movable already counts as placed."""
    auto.policy.default_state = OnlineType.OFFLINE
    auto.policy.auto_movable_ratio = 100
    group = auto.groups.register_static(0, 2 * GiB // X86_64.page_size)
    assert not add_memory(auto, group, HERE, 2 * GiB, MHP_NID_IS_MGID)
    for id_ in range(64, 79):
        assert not store_state(auto, id_, OnlineType.ONLINE)
    assert zones(auto) == "M" * 15 + "-"
    assert not store_state(auto, 78, OnlineType.OFFLINE)
    assert not store_state(auto, 78, OnlineType.ONLINE_KERNEL)
    assert not store_state(auto, 79, OnlineType.ONLINE)
    assert zones(auto) == "M" * 14 + "NN"


def test_unit_of_a_dynamic_group_is_placed_as_a_whole_or_not_at_all(auto: Memory) -> None:
    """Half of a unit fits the ratio, the whole does not; what is movable in it already counts as placed."""
    auto.policy.auto_movable_ratio = 100
    auto.policy.default_state = OnlineType.ONLINE_MOVABLE
    assert not add_memory(auto, 0, HERE, 14 * MB)
    auto.policy.default_state = OnlineType.OFFLINE
    group = auto.groups.register_dynamic(0, 4 * MB // X86_64.page_size)
    assert not add_memory(auto, group, HERE + 4 * GiB, 4 * MB, MHP_NID_IS_MGID)
    assert not store_state(auto, 97, OnlineType.ONLINE)
    assert zones(auto)[14:] == "-N--"
    assert not store_state(auto, 97, OnlineType.OFFLINE)
    for id_ in (96, 98):
        assert not store_state(auto, id_, OnlineType.ONLINE_MOVABLE)
    assert not store_state(auto, 97, OnlineType.ONLINE)
    assert zones(auto)[14:] == "MNM-"
    auto.policy.auto_movable_ratio = 120
    assert not store_state(auto, 99, OnlineType.ONLINE)
    assert zones(auto)[14:] == "MNMN"
    for id_ in (97, 99):
        assert not store_state(auto, id_, OnlineType.OFFLINE)
    assert not store_state(auto, 97, OnlineType.ONLINE)
    assert not store_state(auto, 99, OnlineType.ONLINE)
    assert zones(auto)[14:] == "MMMM"
