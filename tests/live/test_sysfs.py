from pathlib import Path
from typing import Any

import pytest

from virtiomem.errors import BackendError
from virtiomem.live.capture import MEMORY
from virtiomem.live.sysfs import read_memory_sysfs


def test_a_block_is_read_with_its_state_zones_and_nodes(make_sysfs: Any, block: Any) -> None:
    root = make_sysfs([block(2, "offline", "0", "Normal Movable", (1,))])
    memory = read_memory_sysfs(root)
    (found,) = memory.blocks
    assert (found.block, found.state, found.removable, found.valid_zones, found.nodes) == (
        *(2, "offline", 0, "Normal Movable"),
        [1],
    )
    assert (memory.block_size, memory.auto_online_blocks) == (128 << 20, "online_movable")
    memory.check()


def test_blocks_ascend_by_number_not_by_name(make_sysfs: Any, block: Any) -> None:
    root = make_sysfs([block(10), block(9), block(100)])
    assert [found.block for found in read_memory_sysfs(root).blocks] == [9, 10, 100]


def test_a_block_without_attributes_is_still_there(make_sysfs: Any, block: Any) -> None:
    root = make_sysfs([block(0, None, None, None, ())])
    (found,) = read_memory_sysfs(root).blocks
    assert (found.state, found.removable, found.valid_zones, found.nodes) == ("unknown", 0, "", [])


def test_node_directories_tell_all_nodes_of_a_block(make_sysfs: Any, block: Any) -> None:
    root = make_sysfs([block(0, nodes=()), block(1, nodes=(7,))])
    for node in (0, 3):
        directory = root / f"sys/devices/system/node/node{node}"
        directory.mkdir(parents=True)
        (directory / "memory0").symlink_to("../../memory/memory0")
    assert [found.nodes for found in read_memory_sysfs(root).blocks] == [[0, 3], [7]]


def test_what_is_not_asked_for_stays_empty(make_sysfs: Any, block: Any) -> None:
    (found,) = read_memory_sysfs(make_sysfs([block(0)]), zones=False, nodes=False).blocks
    assert (found.valid_zones, found.nodes) == ("", [])


def test_a_directory_without_memory_blocks_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=str(tmp_path)):
        read_memory_sysfs(tmp_path)
    (tmp_path / MEMORY).mkdir(parents=True)
    with pytest.raises(BackendError, match="has no memory blocks"):
        read_memory_sysfs(tmp_path)
    (tmp_path / MEMORY / "block_size_bytes").write_text("8000000\n")
    with pytest.raises(BackendError, match="no memory blocks in it"):
        read_memory_sysfs(tmp_path)


@pytest.mark.parametrize("size", ["", "0", "3", "zz", "-8"])
def test_a_block_size_that_is_invalid_is_named(make_sysfs: Any, block: Any, size: str) -> None:
    with pytest.raises(BackendError, match="is not a block size"):
        read_memory_sysfs(make_sysfs([block(0)], block_size=size))
