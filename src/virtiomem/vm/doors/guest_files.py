"""A guest's files, brought to this host, read as an agent would read them: a capture, or a directory with proc and sys."""

from pathlib import Path

from virtiomem.architecture import DEFAULT
from virtiomem.driver.parameters import PARAMETERS as PARAMETER_FILES
from virtiomem.driver.parameters import Parameters
from virtiomem.errors import UsageError
from virtiomem.files import is_directory
from virtiomem.live import capture as captures
from virtiomem.live.sysfs import MemorySysfs, read_memory_sysfs
from virtiomem.live.views import PARAMETERS, driver_config_of, memory_of
from virtiomem.recording import page_blocks
from virtiomem.recording.page_blocks import ZonePageblocks
from virtiomem.recording.page_use import BlockPages, read_lines
from virtiomem.vm import inside
from virtiomem.vm.inside import Block, GuestMemoryInfo

# Brought along by a person, yet written by a guest: bounded, as an agent's files are.
FILE_LIMIT = 1 << 20


def read_capture(path: str) -> GuestMemoryInfo:
    """What `virtiomem capture` wrote, or what the files below a directory say.

    Raises UsageError or BackendError, which name the file, when there are no memory blocks in it.
    """
    return _of_directory(path) if is_directory(path) else of_capture(captures.load(path))


def of_capture(capture: captures.Capture) -> GuestMemoryInfo:
    """Read a capture."""
    parameters = capture.section("sys/module/memory_hotplug/parameters").values
    return _inside(
        f"capture {capture.source}",
        memory_of(capture),
        meminfo=capture.section("proc/meminfo").text,
        zoneinfo=capture.section("proc/zoneinfo").text,
        page_size=capture.page_size,
        policy=parameters.get("online_policy", ""),
        driver=driver_config_of(capture).parameters if capture.section(PARAMETERS).values else None,
        pages=tuple(read_lines(capture.section("proc/kpageflags").lines)),
        pageblocks=tuple(page_blocks.parse(capture.section("proc/pagetypeinfo").lines)),
        pinned=inside.parse_pinned(capture.section("proc/vmstat").text),
    )


def _of_directory(folder: str) -> GuestMemoryInfo:
    return _inside(
        f"files in {folder}",
        read_memory_sysfs(folder, nodes=False),
        meminfo=_read(folder, inside.MEMINFO),
        zoneinfo=_read(folder, inside.ZONEINFO),
        policy=_read(folder, inside.ONLINE_POLICY),
        driver=_driver(folder),
    )


def _driver(folder: str) -> Parameters | None:
    """Return how the driver was loaded; None when its parameters are missing or cannot be parsed."""
    # A directory without them is one of a guest that was not asked, or whose driver is not loaded: both are unknown.
    files = {name: text for name in PARAMETER_FILES if (text := _read(folder, f"{PARAMETERS}/{name}").strip())}
    try:
        return Parameters.from_sysfs(files) if files else None
    except (ValueError, UsageError):
        return None


def _inside(
    source: str,
    sysfs: MemorySysfs,
    *,
    meminfo: str = "",
    zoneinfo: str = "",
    page_size: int | None = None,
    policy: str = "",
    driver: Parameters | None = None,
    pages: tuple[BlockPages, ...] = (),
    pageblocks: tuple[ZonePageblocks, ...] = (),
    pinned: int | None = None,
) -> GuestMemoryInfo:
    sizes = inside.parse_meminfo(meminfo)
    page_size = page_size or inside.page_size_of(sizes.get("MemTotal"), zoneinfo)
    return GuestMemoryInfo(
        source=source,
        block_size=sysfs.block_size,
        blocks=tuple(Block(block=block.block, online=block.is_online, zone=block.zone) for block in sysfs.blocks),
        mem_total=sizes.get("MemTotal"),
        mem_free=sizes.get("MemFree"),
        mem_available=sizes.get("MemAvailable"),
        zones=inside.parse_zoneinfo(zoneinfo, page_size or DEFAULT.page_size),
        auto_online_blocks=sysfs.auto_online_blocks,
        online_policy=inside.one_word(policy),
        driver=driver,
        page_size=page_size,
        pages=pages,
        pageblocks=pageblocks,
        pinned=pinned,
    )


def _read(folder: str, path: str) -> str:
    """A file of the guest, empty when it was not brought along."""
    try:
        with (Path(folder) / path.lstrip("/")).open("rb") as file:
            return file.read(FILE_LIMIT).decode(errors="replace")
    except OSError:
        return ""
