"""/sys/devices/system/memory of a running Linux, or of a copy of its files, read fast.

Reading is bound by system calls: three per file (open, read, close), relative to one directory that is opened once.
Attributes that were not requested are not read. Nodes come from the node directories' own links, one listing per node
instead of one per block.

Models: drivers/base/memory.c and node_links in drivers/base/node.c (v6.1), as seen by a reader.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from virtiomem.abi import READ_OF_BLOCKS
from virtiomem.errors import BackendError
from virtiomem.live.capture import MEMORY
from virtiomem.recording.values import MemoryBlock
from virtiomem.text import one_line, quoted, shown
from virtiomem.units import GiB, MiB, format_size, is_power_of_two

NODES = "sys/devices/system/node"

_READ_SIZE = 4096
"""A sysfs attribute is never longer than a page."""

UNKNOWN_STATE = "unknown"
"""The state of a block that does not tell it."""


@dataclass(frozen=True, slots=True, repr=False)
class MemorySysfs:
    """The memory blocks of a Linux, ascending; `block_size` in bytes.

    `auto_online_blocks` and `crash_hotplug` are None when the kernel has no such file.
    """

    block_size: int
    blocks: list[MemoryBlock]
    auto_online_blocks: str | None = None
    crash_hotplug: str | None = None
    """``1``: the kernel rewrites the loaded crash header when memory comes and goes (since Linux 6.6)."""

    def __repr__(self) -> str:
        from virtiomem.recording.describe import numbers

        states: dict[str, list[int]] = {}
        for block in self.blocks:
            states.setdefault(block.state, []).append(block.block)
        told = "; ".join(f"{state} {numbers(blocks)}" for state, blocks in states.items())
        return one_line(f"<MemorySysfs: {len(self.blocks)} blocks of {format_size(self.block_size)}: {told}>")

    def check(self) -> None:
        """Assert that the block size is a power of two and the blocks ascend."""
        assert is_power_of_two(self.block_size), "block size is a power of two"
        numbers = [block.block for block in self.blocks]
        assert numbers == sorted(set(numbers)), "blocks ascend, each once"


def read_memory_sysfs(sysroot: str | Path = "/", *, zones: bool = True, nodes: bool = True) -> MemorySysfs:
    """Read all memory blocks under `sysroot`; `zones` and `nodes` False leave those empty and cost no system calls.

    Raises BackendError when there are no memory blocks to read.
    """
    path = Path(sysroot) / MEMORY
    try:
        with directory(path) as opened:
            return _read(opened, path, Path(sysroot) / NODES if nodes else None, zones)
    except OSError as error:
        raise BackendError(f"{error.filename or path}: {error.strerror}") from None


def _read(memory: int, path: Path, nodes_path: Path | None, zones: bool) -> MemorySysfs:
    """Read everything below the opened memory directory."""
    # First of all: without CONFIG_MEMORY_HOTPLUG there is no such file, and every other complaint would mislead.
    size = read_attribute("block_size_bytes", memory)
    if size is None:
        raise BackendError(f"{path}: this system has no memory blocks")
    numbers = entry_numbers(os.listdir(memory), "memory")
    if not numbers:
        raise BackendError(f"{path}: no memory blocks in it")
    block_size = parse_block_size(size, path / "block_size_bytes")
    node_links = {} if nodes_path is None else _nodes_of_blocks(nodes_path, numbers, memory)
    state, valid_zones, removable = (str(file.value) for file in READ_OF_BLOCKS)
    blocks = [
        MemoryBlock(
            block=number,
            # A block that goes away while it is read stays in the list, its state unknown.
            state=read_attribute(f"memory{number}/{state}", memory) or UNKNOWN_STATE,
            removable=1 if read_attribute(f"memory{number}/{removable}", memory) == "1" else 0,
            valid_zones=(read_attribute(f"memory{number}/{valid_zones}", memory) or "") if zones else "",
            nodes=node_links.get(number, []),
        )
        for number in numbers
    ]
    return MemorySysfs(
        block_size=block_size,
        blocks=blocks,
        auto_online_blocks=read_attribute("auto_online_blocks", memory),
        crash_hotplug=read_attribute("crash_hotplug", memory),
    )


BLOCK_SIZES = "a power of two from 1M to 32G"
"""Generous on both sides, since what sysfs says is shown as lsmem shows it: sections have 16M (powerpc) or more, and x86-64
takes blocks of 2G at most (MAX_BLOCK_SIZE)."""


def is_block_size(size: int) -> bool:
    """True for what memory blocks can have, in bytes, on any architecture: see `BLOCK_SIZES`."""
    return is_power_of_two(size) and MiB <= size <= 32 * GiB


def parse_block_size(text: str, source: object) -> int:
    """Read `block_size_bytes`: hexadecimal without a prefix.

    Raises BackendError, which names the value, when it is not a power of two, or more than any machine has.
    """
    try:
        size = int(text, 16)
    except ValueError:
        size = 0
    if not is_block_size(size):
        raise BackendError(f"{shown(source)}: {quoted(text)} is not a block size ({BLOCK_SIZES}, in hexadecimal)")
    return size


def read_attribute(name: str, where: int) -> str | None:
    """The text of a small file below an opened directory, without its final newline; None when it cannot be read."""
    try:
        # O_NONBLOCK: in a copy of the files there may be a pipe, and opening it would wait for a writer.
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=where)
    except OSError:
        return None
    try:
        return os.read(handle, _READ_SIZE).decode(errors="replace").rstrip("\n")
    except OSError:  # a block that goes away while it is read; EINVAL of an attribute that has no answer
        return None
    finally:
        os.close(handle)


def _nodes_of_blocks(path: Path, blocks: Iterable[int], memory: int) -> dict[int, list[int]]:
    """The nodes of each block: from `nodeN/memoryM`, and from `memoryM/nodeN` for the blocks that no node names."""
    found: dict[int, list[int]] = {}
    try:
        with directory(path) as nodes:
            for node in entry_numbers(os.listdir(nodes), "node"):
                for block in entry_numbers(_listing(f"node{node}", nodes), "memory"):
                    found.setdefault(block, []).append(node)
    except OSError:  # no NUMA in this kernel, or a copy without the node directories
        pass
    for block in blocks:
        if block not in found and (links := entry_numbers(_listing(f"memory{block}", memory), "node")):
            found[block] = links
    return found


def entry_numbers(names: Iterable[str], prefix: str) -> list[int]:
    """The numbers of the entries `<prefix>N`, of nine digits at most, ascending."""
    entry = re.compile(rf"{prefix}([0-9]{{1,9}})")
    return sorted({int(match[1]) for match in map(entry.fullmatch, names) if match})


def _listing(name: str, where: int) -> list[str]:
    """The entries of a directory below an opened one; none when it went away."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=where)
    except OSError:
        return []
    try:
        return os.listdir(handle)
    finally:
        os.close(handle)


@contextmanager
def directory(path: str | Path, within: int | None = None) -> Iterator[int]:
    """A directory, opened so that what is in it can be named relative to it; `within` is another such."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    try:
        yield handle
    finally:
        os.close(handle)
