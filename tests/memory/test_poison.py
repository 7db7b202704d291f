"""Poisoned pages: where they can be, and what a memory block that has one still does."""

import pytest

from virtiomem.errors import Errno
from virtiomem.memory import Memory, OnlineType, add_memory, memory_failure, remove_memory, store_state
from virtiomem.memory.contig import alloc_contig_range
from virtiomem.releases.linux import LINUX
from virtiomem.resource import iomem
from virtiomem.units import GiB, MiB

MB = 128 * MiB
START = 8 * GiB
BLOCK = START // MB


@pytest.fixture(params=["6.1", "6.12"])
def memory(request: pytest.FixtureRequest) -> Memory:
    """Two online blocks at 8 GiB, the second page of the first one's third MiB pair poisoned."""
    memory = Memory(iomem.loads("100000000-17fffffff : System RAM\n"), release=LINUX.release(request.param))
    assert not add_memory(memory, 0, START, 2 * MB)
    for block in (BLOCK, BLOCK + 1):
        assert not store_state(memory, block, OnlineType.ONLINE_MOVABLE)
    assert not memory_failure(memory, START + 4 * MiB + 0x1234)
    return memory


def test_block_with_a_poisoned_page_goes_offline_and_online_again_only_on_an_older_kernel(memory: Memory) -> None:
    assert not store_state(memory, BLOCK, OnlineType.OFFLINE)
    heard: list[object] = []
    memory.notifiers.register(lambda event, _: heard.append(event) or Errno.OK)  # type: ignore[func-returns-value]
    refused = memory.release.refuses_poison
    assert store_state(memory, BLOCK, OnlineType.ONLINE) is (Errno.EHWPOISON if refused else Errno.OK)
    assert bool(heard) is not refused
    memory.check()


def test_poisoned_block_can_be_removed_and_is_forgotten(memory: Memory) -> None:
    assert not store_state(memory, BLOCK, OnlineType.OFFLINE)
    assert not remove_memory(memory, START, MB)
    assert not add_memory(memory, 0, START, MB)
    assert not store_state(memory, BLOCK, OnlineType.ONLINE)


def test_the_pages_around_a_poisoned_one_are_never_allocated(memory: Memory) -> None:
    assert alloc_contig_range(memory, START + 4 * MiB, 2 * MiB) is Errno.EBUSY
    assert alloc_contig_range(memory, START + 6 * MiB, 2 * MiB) is Errno.OK
    assert alloc_contig_range(memory, START, MB) is Errno.EBUSY


def test_page_is_poisoned_once_and_only_where_memory_is_online(memory: Memory) -> None:
    assert memory_failure(memory, START + 4 * MiB + 0x1FFF) is Errno.EHWPOISON
    assert memory_failure(memory, START + 4 * MiB + 0x2000) is Errno.OK
    assert memory_failure(memory, START + 2 * MB) is Errno.ENXIO
    assert not store_state(memory, BLOCK + 1, OnlineType.OFFLINE)
    assert memory_failure(memory, START + MB) is Errno.ENXIO
