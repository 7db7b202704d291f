from msgspec import structs

from virtiomem.recording import MemoryBlock, Snapshot
from virtiomem.recording.sharing import share


def _snapshot(*states: str) -> Snapshot:
    blocks = [
        MemoryBlock(block=number, state=state, valid_zones="Movable", nodes=[0]) for number, state in enumerate(states)
    ]
    return Snapshot(iomem="00000000-00000fff : x\n", memory_blocks=blocks, zones={}, devices=[])


def test_blocks_that_are_as_they_were_are_there_once() -> None:
    before, now = _snapshot("online", "online"), _snapshot("online", "offline", "online")
    kept = share(before, now)
    assert kept == now
    assert [any(block is old for old in before.memory_blocks) for block in kept.memory_blocks] == [True, False, False]


def test_guest_that_is_as_it_was_takes_nothing_more() -> None:
    before, now = _snapshot("online"), structs.replace(_snapshot("online"), zones={"node0": {}})
    kept = share(before, now)
    assert kept.iomem is before.iomem
    assert kept.memory_blocks is before.memory_blocks
    assert kept.zones == {"node0": {}}
