"""Struct pages inside the memory that they describe."""

from collections.abc import Callable

import pytest

from virtiomem.abi import MemmapOnMemory
from virtiomem.errors import Errno
from virtiomem.memory import (
    MHP_MEMMAP_ON_MEMORY,
    Memory,
    MemoryEvent,
    MemoryNotify,
    OnlineType,
    Policy,
    add_memory,
    device_offline,
    remove_memory,
    store_state,
)
from virtiomem.units import GiB, MiB, Span

Boot = Callable[..., Memory]
MB = 128 * MiB
HERE = 8 * GiB
PAGES, MEMMAP = 32768, 512
"""Of a memory block of 128M, and those of them that its struct pages take."""


def added(boot: Boot, kernel: str, size: int, setting: str = "Y") -> tuple[Memory, Errno]:
    """A kernel that was asked to have the struct pages of new memory inside it; what goes online is movable."""
    memory = boot(kernel=kernel)
    memory.policy = Policy(default_state=OnlineType.ONLINE_MOVABLE, memmap_on_memory=MemmapOnMemory(setting))
    return memory, add_memory(memory, 0, HERE, size, MHP_MEMMAP_ON_MEMORY)


def movable(memory: Memory) -> tuple[int, int]:
    """Present and managed pages of Movable."""
    zone = next(zone for zone in memory.nodes[0] if zone.type == "Movable")
    memory.check()
    return zone.present, zone.managed


@pytest.mark.parametrize(
    ("kernel", "setting", "blocks", "rc", "inside"),
    [
        ("6.1", "Y", 1, Errno.OK, 1),
        ("6.1", "Y", 8, Errno.EINVAL, 0),
        ("6.1", "N", 1, Errno.EINVAL, 0),
        ("6.1", "force", 1, Errno.EINVAL, 0),
        ("6.6", "Y", 8, Errno.OK, 0),
        ("6.6", "force", 1, Errno.OK, 1),
        ("6.8", "Y", 8, Errno.OK, 8),
        ("6.12", "N", 8, Errno.OK, 0),
    ],
)
def test_memory_has_its_struct_pages_inside_where_the_kernel_can(
    boot: Boot, kernel: str, setting: str, blocks: int, rc: Errno, inside: int
) -> None:
    memory, answer = added(boot, kernel, blocks * MB, setting)
    assert answer is rc
    there = 0 if rc else blocks * PAGES
    assert movable(memory) == (there, there - inside * MEMMAP)


def test_gibibyte_of_memory_manages_what_a_real_6_12_did(boot: Boot) -> None:
    memory, _ = added(boot, "6.12", GiB)
    assert movable(memory) == (262144, 258048)


def test_block_goes_offline_and_away_with_its_struct_pages_and_listeners_hear_of_the_rest(boot: Boot) -> None:
    memory, _ = added(boot, "6.12", 2 * MB)
    heard = []

    def hear(event: MemoryEvent, told: MemoryNotify) -> Errno:
        heard.append((event, told.start, told.size))
        return Errno.OK

    memory.notifiers.register(hear)
    for block in list(memory.blocks_in(HERE, 2 * MB)):
        assert not device_offline(memory, block)
    assert movable(memory) == (0, 0)
    assert heard[0] == (MemoryEvent.GOING_OFFLINE, HERE + 2 * MiB, MB - 2 * MiB)
    assert not remove_memory(memory, HERE, 2 * MB)
    memory.check()


def test_range_is_removed_whole_where_all_blocks_are_alike(boot: Boot) -> None:
    memory, _ = added(boot, "6.1", MB)
    assert not add_memory(memory, 0, HERE + MB, MB, MHP_MEMMAP_ON_MEMORY)
    for block in (HERE // MB, HERE // MB + 1):
        assert not store_state(memory, block, OnlineType.OFFLINE)
    assert remove_memory(memory, HERE, 2 * MB) is Errno.EINVAL
    assert not remove_memory(memory, HERE, MB)


def test_struct_pages_are_never_used(boot: Boot) -> None:
    memory, _ = added(boot, "6.12", MB)
    memory.users.use("all", MB - 2 * MiB, movable=True)
    block = memory.blocks[HERE // MB]
    assert 0 not in block.used
    assert len(block.used) == 63
    memory.check()


@pytest.mark.parametrize(("kernel", "kept"), [("6.1", True), ("6.12", False)])
def test_mixed_range_that_stays_keeps_its_entry_of_the_firmware_map_up_to_6_7(
    boot: Boot, kernel: str, kept: bool
) -> None:
    memory, _ = added(boot, kernel, MB, "N")
    memory.policy = Policy(memmap_on_memory=MemmapOnMemory.YES)
    assert not add_memory(memory, 0, HERE + MB, 2 * MB)
    assert not remove_memory(memory, HERE + MB, MB)
    assert not add_memory(memory, 0, HERE + MB, MB, MHP_MEMMAP_ON_MEMORY)
    assert remove_memory(memory, HERE + MB, 2 * MB) is Errno.EINVAL
    assert (Span.sized(HERE + MB, 2 * MB) in memory.firmware_map) is kept
