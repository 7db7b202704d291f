"""A guest's files, copied to this host (a directory with proc and sys in it), read as an agent would read them."""

from pathlib import Path

from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.vm import inside
from virtiomem.vm.inside import Block, Inside

FILE_LIMIT = 1 << 20


def read_capture(folder: str) -> Inside:
    """What the files say; BackendError when there are no memory blocks among them."""
    sysfs = read_memory_sysfs(folder, nodes=False)
    meminfo = inside.parse_meminfo(_read(folder, inside.MEMINFO))
    return Inside(
        source=f"capture {folder}",
        block_size=sysfs.block_size,
        blocks=tuple(_block(block.block, block.state, block.valid_zones) for block in sysfs.blocks),
        mem_total=meminfo.get("MemTotal"),
        mem_free=meminfo.get("MemFree"),
        mem_available=meminfo.get("MemAvailable"),
        zones=inside.parse_zoneinfo(_read(folder, inside.ZONEINFO)),
        auto_online_blocks=sysfs.auto_online_blocks,
        online_policy=inside.one_word(_read(folder, inside.ONLINE_POLICY)),
    )


def _block(number: int, state: str, valid_zones: str) -> Block:
    online = state == "online"
    return Block(block=number, online=online, zone=valid_zones if online and valid_zones != "none" else None)


def _read(folder: str, path: str) -> str:
    """A file of the capture, empty when it was not captured."""
    try:
        with (Path(folder) / path.lstrip("/")).open("rb") as file:
            return file.read(FILE_LIMIT).decode(errors="replace")
    except OSError:
        return ""
