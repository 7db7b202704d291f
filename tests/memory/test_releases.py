"""What the hotplug core does otherwise from one release of Linux to the next."""

from collections.abc import Callable

import pytest

from virtiomem.errors import Errno
from virtiomem.memory import (
    MHP_MEMMAP_ON_MEMORY,
    BlockState,
    Memory,
    MemoryEvent,
    MemoryNotify,
    OnlineType,
    add_memory,
    store_state,
)
from virtiomem.units import GiB, MiB

Boot = Callable[..., Memory]
MB = 128 * MiB
HERE = 8 * GiB
BLOCK = HERE // MB


def listen(memory: Memory, veto: MemoryEvent | None = None) -> list[str]:
    """The events from now on; one is vetoed."""
    heard: list[str] = []

    def hear(event: MemoryEvent, _: MemoryNotify) -> Errno:
        heard.append(event.name)
        return Errno.EBUSY if event is veto else Errno.OK

    memory.notifiers.register(hear)
    return heard


def added(boot: Boot, kernel: str) -> Memory:
    """A kernel with one offline block at HERE."""
    memory = boot(kernel=kernel)
    assert not add_memory(memory, 0, HERE, MB)
    return memory


@pytest.mark.parametrize(
    ("kernel", "more"), [("6.1", False), ("6.8", False), ("6.9", True), ("6.18", True), ("7.3", False)]
)
def test_events_stand_between_prepare_and_finish(boot: Boot, kernel: str, more: bool) -> None:
    memory = added(boot, kernel)
    heard = listen(memory)
    assert not store_state(memory, BLOCK, OnlineType.ONLINE)
    assert not store_state(memory, BLOCK, OnlineType.OFFLINE)
    inner = ["GOING_ONLINE", "ONLINE", "GOING_OFFLINE", "OFFLINE"]
    assert heard == (["PREPARE_ONLINE", *inner, "FINISH_OFFLINE"] if more else inner)


def test_veto_of_prepare_is_the_last_that_anyone_hears(boot: Boot) -> None:
    memory = added(boot, "6.12")
    heard = listen(memory, MemoryEvent.PREPARE_ONLINE)
    assert store_state(memory, BLOCK, OnlineType.ONLINE) is Errno.EBUSY
    assert heard == ["PREPARE_ONLINE"]
    assert memory.blocks[BLOCK].state is BlockState.OFFLINE


def test_block_that_was_prepared_and_did_not_come_online_is_finished(boot: Boot) -> None:
    memory = added(boot, "6.12")
    heard = listen(memory, MemoryEvent.GOING_ONLINE)
    assert store_state(memory, BLOCK, OnlineType.ONLINE) is Errno.EBUSY
    assert heard == ["PREPARE_ONLINE", "GOING_ONLINE", "CANCEL_ONLINE", "FINISH_OFFLINE"]


def test_block_that_stays_online_is_not_finished(boot: Boot) -> None:
    memory = added(boot, "6.12")
    assert not store_state(memory, BLOCK, OnlineType.ONLINE)
    heard = listen(memory, MemoryEvent.GOING_OFFLINE)
    assert store_state(memory, BLOCK, OnlineType.OFFLINE) is Errno.EBUSY
    assert heard == ["GOING_OFFLINE", "CANCEL_OFFLINE"]


@pytest.mark.parametrize(("kernel", "rc"), [("6.1", Errno.EINVAL), ("6.12", Errno.OK)])
def test_memory_whose_struct_pages_cannot_be_inside_it_is_refused_or_has_them_elsewhere(
    boot: Boot, kernel: str, rc: Errno
) -> None:
    memory = boot(kernel=kernel)
    assert add_memory(memory, 0, HERE, MB, MHP_MEMMAP_ON_MEMORY) is rc
    assert (BLOCK in memory.blocks) is not bool(rc)
    memory.check()
