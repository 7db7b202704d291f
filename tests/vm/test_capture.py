"""A guest's files say of a memory block what the rest of the program says of it."""

from pathlib import Path

from virtiomem.live.export import export_sysroot
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.recording import MemoryBlock, Snapshot
from virtiomem.units import MiB
from virtiomem.vm.capture import read_capture
from virtiomem.vm.inside import Block

BLOCKS = [
    MemoryBlock(block=32, state="online", valid_zones="Movable", nodes=[0]),
    MemoryBlock(block=33, state="going-offline", valid_zones="Movable", nodes=[0]),
    MemoryBlock(block=34, state="offline", valid_zones="Normal Movable", nodes=[0]),
]


def test_a_block_that_is_going_offline_is_online_until_it_is_offline(tmp_path: Path) -> None:
    export_sysroot(Snapshot(iomem="", memory_blocks=BLOCKS, zones={}, devices=[]), 128 * MiB, tmp_path)
    assert [(tmp_path / f"sys/devices/system/memory/memory{n}/online").read_text() for n in (32, 33, 34)] == [
        "1\n",
        "1\n",
        "0\n",
    ]
    inside = read_capture(str(tmp_path))
    assert [(block.online, block.zone) for block in inside.blocks] == [
        (True, "Movable"),
        (True, "Movable"),
        (False, None),
    ]
    assert [Block(block=b.block, online=b.is_online, zone=b.zone) for b in read_memory_sysfs(tmp_path).blocks] == list(
        inside.blocks
    )
