"""A recorded or embedded guest as files: what lsmem, and any tool with a `--sysroot`, reads of a running Linux.

::

    DIR/proc/iomem                                 the map
    DIR/proc/zoneinfo                              spanned, present and managed pages of every zone
    DIR/sys/devices/system/memory/memoryN/…        phys_index phys_device removable state online valid_zones, nodeM links
    DIR/sys/devices/system/node/nodeM/memoryN      links

Exporting again brings the files up to date, block by block, so that a tool may keep watching. Files are written relative
to opened directories, three system calls each.

Models: drivers/base/memory.c and drivers/base/node.c (v6.1), what they show.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from virtiomem.abi import BlockFile, block_size_bytes, phys_index
from virtiomem.errors import UsageError
from virtiomem.files import StrPath, is_there, refuse_empty
from virtiomem.live.capture import MEMORY
from virtiomem.live.sysfs import NODES, directory, entry_numbers, read_attribute
from virtiomem.recording import zoneinfo
from virtiomem.recording.values import MemoryBlock, Snapshot
from virtiomem.text import shown
from virtiomem.writing import cannot_write

MARK = ".virtiomem-sysroot"
"""The file that says a directory was made here and may be changed."""


def export_sysroot(
    snapshot: Snapshot, block_size: int, target: str | Path, *, auto_online_blocks: str = "offline"
) -> None:
    """Write the files of a guest below `target`, or bring them up to date; `block_size` of a memory block in bytes.

    Raises UsageError when `target` holds anything that was not exported, or is not a name for a directory; BackendError when
    writing fails.
    """
    root = Path(target)
    try:
        _claim(root)
        (root / "proc").mkdir(exist_ok=True)
        (root / "proc/iomem").write_text(snapshot.iomem, encoding="utf-8", errors="surrogateescape")
        (root / "proc/zoneinfo").write_text(
            "".join(f"{line}\n" for line in zoneinfo.dumps(snapshot.zones)), encoding="ascii"
        )
        (root / MEMORY).mkdir(parents=True, exist_ok=True)
        (root / NODES).mkdir(parents=True, exist_ok=True)
        with directory(root / MEMORY) as memory, directory(root / NODES) as nodes:
            _put("block_size_bytes", block_size_bytes(block_size), memory)
            _put("auto_online_blocks", auto_online_blocks, memory)
            # Nodes' links to blocks that are gone would name directories that no longer exist.
            _remove_others(snapshot.memory_blocks, memory, nodes)
            _make_nodes({node for block in snapshot.memory_blocks for node in block.nodes}, nodes)
            for block in snapshot.memory_blocks:
                _export_block(block, memory, nodes)
    except OSError as error:
        raise cannot_write(error.filename or root, error) from None


def check_target(target: StrPath, *, inputs: Iterable[StrPath] = ()) -> None:
    """Raise UsageError when there is something at `target` that is neither empty nor was made by an export, or an input."""
    refuse_empty(target)
    root = Path(target)
    for source in inputs:
        if Path(os.path.realpath(source)).is_relative_to(os.path.realpath(root)):
            raise UsageError(f"{shown(root)}: would overwrite {shown(source)}; give another name")
    try:
        if root.exists() and not is_there(root / MARK) and any(root.iterdir()):
            raise UsageError(f"{shown(root)}: not empty, and not made by an export")
    except OSError as error:  # a file, or a name that nothing can have
        raise cannot_write(root, error) from None


def _claim(root: Path) -> None:
    """Mark a new or empty directory as ours; refuse one with other files."""
    check_target(root)
    root.mkdir(parents=True, exist_ok=True)
    if not (root / MARK).exists():
        # Before all other files: an export that was interrupted leaves a directory that the next one may write to.
        (root / MARK).write_text("virtiomem-sysroot/1\n", encoding="ascii")


def _put(name: str, text: str, where: int, *, new: bool = False) -> None:
    """Give a file this content, unless it has it."""
    # What has not changed is not touched: who watches the files would see it change.
    if not new and read_attribute(name, where) == text:
        return
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=where)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)


def _export_block(block: MemoryBlock, memory: int, nodes: int) -> None:
    """One memoryN directory, and the links between it and its nodes."""
    name = f"memory{block.block}"
    try:
        os.mkdir(name, dir_fd=memory)
        new = True
    except FileExistsError:
        new = False
    for attribute, text in zip(BlockFile, _texts(block), strict=True):
        _put(f"{name}/{attribute}", text, memory, new=new)
    # A block may have moved to another node since: its links are made again.
    if not new:
        _drop_links(name, memory, nodes)
    for node in block.nodes:
        os.symlink(f"../../node/node{node}", f"{name}/node{node}", dir_fd=memory)
        os.symlink(f"../../memory/{name}", f"node{node}/{name}", dir_fd=nodes)


def _texts(block: MemoryBlock) -> tuple[str, ...]:
    """Return the text of each of `abi.BlockFile`."""
    online = "0" if block.is_offline else "1"
    return phys_index(block.block), "0", str(block.removable), block.state, online, block.valid_zones


def _make_nodes(numbers: Iterable[int], nodes: int) -> None:
    for node in numbers:
        try:
            os.mkdir(f"node{node}", dir_fd=nodes)
        except FileExistsError:
            continue


def _drop_links(name: str, memory: int, nodes: int) -> None:
    """Take a block from its nodes."""
    with directory(name, memory) as block:
        links = entry_numbers(os.listdir(block), "node")
    for node in links:
        os.unlink(f"{name}/node{node}", dir_fd=memory)
        os.unlink(f"node{node}/{name}", dir_fd=nodes)


def _remove_others(blocks: Iterable[MemoryBlock], memory: int, nodes: int) -> None:
    """Remove the blocks of an earlier export that do not exist any more."""
    here = {block.block for block in blocks}
    for number in entry_numbers(os.listdir(memory), "memory"):
        if number not in here:
            name = f"memory{number}"
            _drop_links(name, memory, nodes)
            for attribute in BlockFile:
                os.unlink(f"{name}/{attribute}", dir_fd=memory)
            os.rmdir(name, dir_fd=memory)
