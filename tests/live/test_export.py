from pathlib import Path

import pytest
from msgspec.structs import replace

from virtiomem import recording
from virtiomem.errors import UsageError
from virtiomem.live.collect import collect
from virtiomem.live.export import MARK, export_sysroot
from virtiomem.live.load import snapshot_of
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.recording.values import MemoryBlock, Snapshot

RECORDINGS = Path(__file__).parent.parent / "data/recordings"
MB = 128 << 20


def snapshots(name: str) -> list[Snapshot]:
    loaded = recording.load(RECORDINGS / name / "recording.json")
    return [loaded.boot, *(step.snapshot for step in loaded.steps)]


def tree(root: Path) -> dict[str, str]:
    """Every file and link below a directory, and what is in it."""
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("name", ["a-movable", "d-two-devices", "m-dimm"])
def test_what_is_exported_reads_back_as_recorded(name: str, tmp_path: Path) -> None:
    for snapshot in snapshots(name):
        export_sysroot(snapshot, MB, tmp_path)
        memory = read_memory_sysfs(tmp_path)
        assert (memory.block_size, memory.blocks) == (MB, snapshot.memory_blocks)
        back = snapshot_of(collect(tmp_path))
        assert (back.zones, back.iomem.rstrip("\n")) == (snapshot.zones, snapshot.iomem.rstrip("\n"))


def test_exporting_again_leaves_what_a_fresh_export_makes(tmp_path: Path) -> None:
    for snapshot in snapshots("e-manual-movable"):
        export_sysroot(snapshot, MB, tmp_path / "kept")
    export_sysroot(snapshots("e-manual-movable")[-1], MB, tmp_path / "fresh")
    assert tree(tmp_path / "kept") == tree(tmp_path / "fresh")


def test_a_block_says_what_the_kernel_says(tmp_path: Path) -> None:
    block = MemoryBlock(block=33, state="offline", valid_zones="Normal Movable", nodes=[1])
    snapshot = replace(snapshots("a-movable")[0], memory_blocks=[block])
    export_sysroot(snapshot, 1 << 30, tmp_path, auto_online_blocks="online_movable")
    files = tree(tmp_path / "sys/devices/system")
    assert files == {
        "memory/auto_online_blocks": "online_movable\n",
        "memory/block_size_bytes": "40000000\n",
        "memory/memory33/node1": "-> ../../node/node1",
        "memory/memory33/online": "0\n",
        "memory/memory33/phys_device": "0\n",
        "memory/memory33/phys_index": "00000021\n",
        "memory/memory33/removable": "1\n",
        "memory/memory33/state": "offline\n",
        "memory/memory33/valid_zones": "Normal Movable\n",
        "node/node1/memory33": "-> ../../memory/memory33",
    }


def test_a_block_that_moves_to_another_node_leaves_the_first(tmp_path: Path) -> None:
    block = MemoryBlock(block=1, state="online", valid_zones="Normal", nodes=[0])
    for nodes in ([0], [0, 1], [1]):
        snapshot = replace(snapshots("a-movable")[0], memory_blocks=[replace(block, nodes=nodes)])
        export_sysroot(snapshot, MB, tmp_path)
        assert read_memory_sysfs(tmp_path).blocks[0].nodes == nodes
    assert list((tmp_path / "sys/devices/system/node/node0").iterdir()) == []


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="not empty, and not made by an export"):
        export_sysroot(snapshots("a-movable")[0], MB, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="mine: "):
        export_sysroot(snapshots("a-movable")[0], MB, tmp_path / "mine")


def test_an_export_is_marked(tmp_path: Path) -> None:
    export_sysroot(snapshots("a-movable")[0], MB, tmp_path / "new/deep")
    assert (tmp_path / "new/deep" / MARK).exists()
