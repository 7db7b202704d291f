"""A guest's /proc/iomem and /sys/devices/system as files in a folder, for tools that read those of another Linux.

`lsmem --sysroot DIR`, `virtiomem blocks --sysroot DIR` and people with grep read it as they would read a running kernel.

Models: memory_block attributes in drivers/base/memory.c, node links in drivers/base/node.c (v6.1).
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

from virtiomem.errors import UsageError
from virtiomem.live.sysfs import MEMORY, NODES
from virtiomem.recording.values import MemoryBlock, Snapshot


def write_sysroot(
    root: str | Path, snapshot: Snapshot, *, block_size: int, auto_online_blocks: str = "offline"
) -> None:
    """Write a guest's files below `root`, all of them or none: a new folder, or an empty one that is there.

    `block_size` in bytes. Raises UsageError when `root` is something else, or cannot be written.
    """
    root = Path(root)
    check_free(root)
    made: Path | None = None
    try:
        made = Path(tempfile.mkdtemp(dir=root.resolve().parent, prefix=f".{root.name}."))
        made.chmod(0o755)
        _fill(made, snapshot, block_size, auto_online_blocks)
        made.replace(root)
    except OSError as error:
        raise UsageError(f"{root}: {error.strerror}") from None
    finally:
        if made is not None:
            rmtree(made, ignore_errors=True)


def check_free(root: Path) -> None:
    """Raise UsageError when there is something at `root` already that is no empty directory, or no place for it."""
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise UsageError(f"{root}: is there already, and is no empty directory")
    if not root.resolve().parent.is_dir():
        raise UsageError(f"{root}: No such file or directory")


def _fill(root: Path, snapshot: Snapshot, block_size: int, auto_online_blocks: str) -> None:
    """Write everything below an empty folder."""
    memory, nodes = root / MEMORY, root / NODES
    memory.mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "proc/iomem").write_text(snapshot.iomem)
    (memory / "block_size_bytes").write_text(f"{block_size:x}\n")
    (memory / "auto_online_blocks").write_text(f"{auto_online_blocks}\n")
    for node in sorted({node for block in snapshot.memory_blocks for node in block.nodes}):
        (nodes / f"node{node}").mkdir(parents=True)
    for block in snapshot.memory_blocks:
        _block(memory, nodes, block)


def _block(memory: Path, nodes: Path, block: MemoryBlock) -> None:
    """One memory block's directory, and its links to and from its nodes."""
    name = f"memory{block.block}"
    directory = os.fspath(memory / name)
    os.mkdir(directory)  # noqa: PTH102 - a hundred thousand blocks have a million of these
    for attribute, value in _attributes(block):
        with open(f"{directory}/{attribute}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(f"{value}\n")
    for node in block.nodes:
        os.symlink(f"../../node/node{node}", f"{directory}/node{node}")  # noqa: PTH211
        os.symlink(f"../../memory/{name}", nodes / f"node{node}" / name)  # noqa: PTH211


def _attributes(block: MemoryBlock) -> Iterator[tuple[str, object]]:
    """A memory block's files and what they say."""
    yield "phys_index", f"{block.block:08x}"
    yield "phys_device", 0
    yield "removable", block.removable
    yield "state", block.state
    yield "online", int(block.state == "online")
    yield "valid_zones", block.valid_zones
