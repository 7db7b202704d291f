"""A guest's exported /sys, read by util-linux' own lsmem: the same as what the recording says."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from virtiomem import recording
from virtiomem.cli.main import main
from virtiomem.recording import MemoryBlock

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        shutil.which("lsmem") is None and "CI" not in os.environ, reason="NO lsmem HERE: apt install util-linux"
    ),
]

MANY = """
title = "ten thousand blocks"
[guest]
memory = "64G"
memory-block-size = "128M"
default-state = "online_movable"
[[device]]
id = "vm0"
max-size = "1280G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "1234G"
[[step]]
do = "set-state"
blocks = [1000, 1001, 1005, 2000, 10000]
state = "offline"
"""

COLUMNS = "RANGE,SIZE,STATE,REMOVABLE,BLOCK,NODE,ZONES"


def exported(scenario: Path, folder: Path) -> list[MemoryBlock]:
    """Play a scenario, export the guest to `folder`, and return what its recording says of memory blocks."""
    target = folder.parent / "r.json"
    assert main(["run", str(scenario), "--sysroot", str(folder), "--record", str(target)]) == 0
    return recording.load(target).steps[-1].snapshot.memory_blocks


def lsmem(root: Path, *options: str) -> Any:
    ran = subprocess.run(
        ["lsmem", "--sysroot", str(root), "--json", "--bytes", *options], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)["memory"]


@pytest.fixture(scope="module")
def ten_thousand() -> Iterator[tuple[Path, list[MemoryBlock]]]:
    """A guest of ten thousand memory blocks, exported, and what its recording says of them.

    A hundred thousand files: in memory where there is such a place, and gone afterwards.
    """
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        (folder / "s.toml").write_text(MANY)
        yield folder / "root", exported(folder / "s.toml", folder / "root")


def test_lsmem_reads_every_block(ten_thousand: tuple[Path, list[MemoryBlock]]) -> None:
    root, blocks = ten_thousand
    seen = lsmem(root, "--all", "--output", COLUMNS)
    assert len(seen) == len(blocks) > 10_000
    assert [(int(row["block"]), row["state"], row["node"]) for row in seen] == [
        (block.block, block.state, block.nodes[0]) for block in blocks
    ]
    assert [row["zones"].replace("/", " ").lower() for row in seen] == [block.valid_zones.lower() for block in blocks]
    assert {row["size"] for row in seen} == {128 << 20}


@pytest.mark.parametrize("split", ["STATE", "NODE", "ZONES", "STATE,NODE,ZONES"])
def test_lsmem_sums_up_as_our_own_command_does(
    ten_thousand: tuple[Path, list[MemoryBlock]], capsys: pytest.CaptureFixture[str], split: str
) -> None:
    root, _ = ten_thousand
    options = ["--output", COLUMNS, "--split", split]
    assert main(["blocks", "--sysroot", str(root), "--json", "--bytes", *options]) == 0
    ours = json.loads(capsys.readouterr().out)["memory"]
    assert ours == lsmem(root, *options)
    assert len(ours) > 1
