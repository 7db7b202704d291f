from collections.abc import Callable

import pytest

from virtiomem.architecture import X86_64
from virtiomem.errors import Errno
from virtiomem.memory import (
    BlockState,
    FaultPoint,
    Memory,
    MemoryEvent,
    MemoryNotify,
    OnlineType,
    ZoneType,
    add_memory,
    store_state,
    sysfs,
)
from virtiomem.memory.contig import alloc_contig_range, clear_fake_offline, set_fake_offline
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.units import GiB, MiB

Boot = Callable[..., Memory]
MB = 128 * MiB
HERE = 8 * GiB
PAGES = MB // X86_64.page_size


class Listener:
    """A notifier that notes what it hears, and may veto."""

    def __init__(self, *vetoes: MemoryEvent) -> None:
        self.heard: list[str] = []
        self.last: MemoryNotify | None = None
        self.vetoes = vetoes

    def __call__(self, event: MemoryEvent, notify: MemoryNotify) -> Errno:
        self.heard.append(event.name)
        self.last = notify
        return Errno.EBUSY if event in self.vetoes else Errno.OK


@pytest.fixture
def memory(boot: Boot) -> Memory:
    memory = boot()
    assert not add_memory(memory, 0, HERE, 2 * MB)
    return memory


def test_listeners_hear_both_phases(memory: Memory) -> None:
    listener = Listener()
    memory.notifiers.register(listener)
    assert not store_state(memory, 64, OnlineType.ONLINE)
    assert not store_state(memory, 64, OnlineType.OFFLINE)
    assert listener.heard == ["GOING_ONLINE", "ONLINE", "GOING_OFFLINE", "OFFLINE"]
    assert listener.last == MemoryNotify(HERE, MB, 0)


def test_veto_of_onlining_is_sent_to_notifiers_that_were_never_asked(memory: Memory) -> None:
    first, last = Listener(MemoryEvent.GOING_ONLINE), Listener()
    memory.notifiers.register(last)
    memory.notifiers.register(first, priority=10)
    assert store_state(memory, 64, OnlineType.ONLINE_MOVABLE) is Errno.EBUSY
    assert first.heard == ["GOING_ONLINE", "CANCEL_ONLINE"]
    assert last.heard == ["CANCEL_ONLINE"]
    assert memory.nodes[0].zones[ZoneType.MOVABLE].spanned == 0
    memory.check()


@pytest.mark.parametrize("point", [FaultPoint.GOING_OFFLINE, FaultPoint.MIGRATE])
def test_failed_offlining_is_cancelled_and_the_block_stays(memory: Memory, point: FaultPoint) -> None:
    listener = Listener()
    memory.notifiers.register(listener)
    assert not store_state(memory, 64, OnlineType.ONLINE)
    memory.faults.inject(point, Errno.EBUSY)
    assert store_state(memory, 64, OnlineType.OFFLINE) is Errno.EBUSY
    assert listener.heard[-1] == "CANCEL_OFFLINE"
    assert memory.blocks[64].state is BlockState.ONLINE
    memory.check()


def test_failed_isolation_is_not_notified(memory: Memory) -> None:
    assert not store_state(memory, 64, OnlineType.ONLINE)
    listener = Listener()
    memory.notifiers.register(listener)
    memory.faults.inject(FaultPoint.ISOLATE, Errno.EBUSY)
    assert store_state(memory, 64, OnlineType.OFFLINE) is Errno.EBUSY
    assert listener.heard == []


@pytest.mark.parametrize("word", list(OnlineType))
def test_state_that_a_block_has_already_is_refused(memory: Memory, word: OnlineType) -> None:
    if word is not OnlineType.OFFLINE:
        assert not store_state(memory, 64, OnlineType.ONLINE)
    assert store_state(memory, 64, word) is Errno.EINVAL


def test_block_that_is_not_there_is_refused(memory: Memory) -> None:
    assert store_state(memory, 1000, OnlineType.ONLINE) is Errno.ENOENT


def test_a_block_that_is_not_all_ram_stays() -> None:
    iomem = ResourceTree()
    iomem.request_region(X86_64.page_size, 2 * MB - X86_64.page_size, "System RAM", IORESOURCE_SYSTEM_RAM)
    memory = Memory(iomem)
    assert store_state(memory, 0, OnlineType.OFFLINE) is Errno.EINVAL  # the first page has no user
    assert store_state(memory, 1, OnlineType.OFFLINE) is Errno.EBUSY
    assert [block.state for block in memory.blocks.values()] == [BlockState.ONLINE] * 2


def test_boot_memory_stays(memory: Memory) -> None:
    assert store_state(memory, 40, OnlineType.OFFLINE) is Errno.EBUSY


def test_pages_are_counted_in_and_out(memory: Memory) -> None:
    movable = memory.nodes[0].zones[ZoneType.MOVABLE]
    assert not store_state(memory, 65, OnlineType.ONLINE_MOVABLE)
    assert (movable.present, movable.managed, movable.spanned) == (PAGES, PAGES, PAGES)
    assert not store_state(memory, 65, OnlineType.OFFLINE)
    assert (movable.present, movable.managed, movable.spanned) == (0, 0, 0)


def test_withheld_pages_keep_a_block_online_unless_they_are_let_go(memory: Memory) -> None:
    assert not store_state(memory, 64, OnlineType.ONLINE_MOVABLE)
    assert not alloc_contig_range(memory, HERE, 4 * MiB)
    set_fake_offline(memory, HERE, 4 * MiB, onlined=True)
    assert store_state(memory, 64, OnlineType.OFFLINE) is Errno.EBUSY
    clear_fake_offline(memory, HERE, 4 * MiB)
    assert not store_state(memory, 64, OnlineType.OFFLINE)
    memory.check()


def test_valid_zones_name_where_online_would_go_first(memory: Memory) -> None:
    assert sysfs.valid_zones(memory, memory.blocks[64]) == "Normal Movable"
    assert not store_state(memory, 65, OnlineType.ONLINE_MOVABLE)
    assert sysfs.valid_zones(memory, memory.blocks[65]) == "Movable"
    assert sysfs.valid_zones(memory, memory.blocks[64]) == "Normal Movable"
    assert not add_memory(memory, 0, HERE + 2 * MB, 2 * MB)
    assert not store_state(memory, 67, OnlineType.ONLINE_MOVABLE)
    assert sysfs.valid_zones(memory, memory.blocks[66]) == "Movable Normal"


def test_unmovable_use_keeps_a_block_and_movable_use_moves(memory: Memory) -> None:
    for id_ in (64, 65):
        assert not store_state(memory, id_, OnlineType.ONLINE_MOVABLE)
    memory.users.use("cache", 100 * MiB, movable=True)
    assert not store_state(memory, 65, OnlineType.OFFLINE)
    memory.check()
    assert memory.blocks[64].used
    memory.users.free("cache")
    assert not memory.blocks[64].used
