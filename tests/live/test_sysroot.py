from pathlib import Path

import pytest
from msgspec import structs

from virtiomem import recording
from virtiomem.errors import UsageError
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.live.sysroot import write_sysroot
from virtiomem.recording import Snapshot
from virtiomem.units import MiB

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"


@pytest.fixture
def snapshot() -> Snapshot:
    whole = recording.load(RECORDINGS / "d-two-devices" / "recording.json").steps[4].snapshot
    return structs.replace(whole, memory_blocks=[*whole.memory_blocks[:3], *whole.memory_blocks[-3:]])


def test_what_was_written_reads_back(tmp_path: Path, snapshot: Snapshot) -> None:
    write_sysroot(tmp_path / "root", snapshot, block_size=128 * MiB, auto_online_blocks="online_movable")
    read = read_memory_sysfs(tmp_path / "root")
    assert read.blocks == snapshot.memory_blocks
    assert read.block_size == 128 * MiB
    assert read.auto_online_blocks == "online_movable"
    assert (tmp_path / "root/proc/iomem").read_text() == snapshot.iomem


def test_links_lead_from_blocks_to_nodes_and_back(tmp_path: Path, snapshot: Snapshot) -> None:
    write_sysroot(tmp_path / "root", snapshot, block_size=128 * MiB)
    system = tmp_path / "root/sys/devices/system"
    assert (system / "memory/memory103/node1").resolve() == (system / "node/node1").resolve()
    assert (system / "node/node1/memory103").resolve() == (system / "memory/memory103").resolve()
    assert (system / "memory/memory103/phys_index").read_text() == "00000067\n"


def test_empty_folder_is_filled(tmp_path: Path, snapshot: Snapshot) -> None:
    write_sysroot(tmp_path, snapshot, block_size=128 * MiB)
    assert (tmp_path / "proc/iomem").exists()


@pytest.mark.parametrize("made", ["file", "folder"])
def test_what_is_there_is_left_alone(tmp_path: Path, snapshot: Snapshot, made: str) -> None:
    root = tmp_path / "root"
    if made == "file":
        root.write_text("mine")
    else:
        (root / "mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already"):
        write_sysroot(root, snapshot, block_size=128 * MiB)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_nothing_is_left_of_a_failed_write(tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.symlink", fail)
    with pytest.raises(UsageError, match="root: No space left on device"):
        write_sysroot(tmp_path / "root", snapshot, block_size=128 * MiB)
    assert list(tmp_path.iterdir()) == []


def test_missing_place_is_usage(tmp_path: Path, snapshot: Snapshot) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        write_sysroot(tmp_path / "a" / "b", snapshot, block_size=128 * MiB)
