"""A guest's files say about a memory block what the rest of the program says about it."""

from pathlib import Path

import pytest

from virtiomem.driver.parameters import Parameters
from virtiomem.live.capture import dump
from virtiomem.live.export import export_sysroot
from virtiomem.live.load import from_snapshot
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.recording import MemoryBlock, Snapshot, ZonePages
from virtiomem.units import MiB
from virtiomem.vm.doors.guest_files import read_capture
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


@pytest.mark.parametrize("size", ["", "x", "-5", "9" * 5000, str(1 << 70)])
def test_a_parameter_that_does_not_read_as_one_is_not_known(tmp_path: Path, size: str) -> None:
    """The files were copied here; they are no reason to see nothing of the memory blocks."""
    export_sysroot(Snapshot(iomem="", memory_blocks=BLOCKS, zones={}, devices=[]), 128 * MiB, tmp_path)
    parameters = tmp_path / "sys/module/virtio_mem/parameters"
    parameters.mkdir(parents=True)
    (parameters / "bbm_block_size").write_text(size)
    assert read_capture(str(tmp_path)).driver is None
    (parameters / "bbm_block_size").write_text(f"{256 * MiB}\n")
    assert read_capture(str(tmp_path)).driver == Parameters(bbm_block_size=256 * MiB)


def test_zones_count_pages_of_the_size_that_the_capture_says(tmp_path: Path) -> None:
    zones = {"node0": {"Movable": ZonePages(spanned=2048, present=2048, managed=2048)}}
    taken = from_snapshot(Snapshot(iomem="", memory_blocks=BLOCKS, zones=zones, devices=[]), 128 * MiB)
    for page_size, present in ((None, 8 * MiB), (65536, 128 * MiB)):
        dump(taken._replace(said_page_size=page_size), tmp_path / "guest.capture")
        assert [zone.present for zone in read_capture(str(tmp_path / "guest.capture")).zones] == [present]
