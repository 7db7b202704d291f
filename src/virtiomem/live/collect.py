"""Collect a capture from a running Linux, or from a copy of its files."""

import array
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, takewhile
from pathlib import Path

from virtiomem.abi import PageFlag
from virtiomem.architecture import DEFAULT
from virtiomem.errors import BackendError, VirtiomemError
from virtiomem.files import MAX_LISTING, is_directory
from virtiomem.live import kcore
from virtiomem.live.block_lines import block_lines
from virtiomem.live.capture import ABSENT, DENIED, NO_HEADER, NO_NOTES, NOT_COLLECTED, Capture, Section
from virtiomem.live.sources import MEMORY_FILES, SOURCES, SectionSource
from virtiomem.live.sysfs import entry_numbers, read_memory_sysfs
from virtiomem.recording.page_use import FLAGS_SIZE, PIECE, BlockPages
from virtiomem.resource import iomem
from virtiomem.resource.names import VIRTIO_MEM_RAM
from virtiomem.text import printable, shown
from virtiomem.units import KiB, TiB, format_size
from virtiomem.wire.mem import DEVICE_ID

NOTES_DENIED = f"crash notes {DENIED}"
"""Only root may read them."""
_WORD = re.compile(r'(?:[^ "]|"[^"]*"?)+')
"""A kernel parameter; a quoted part may hold spaces."""
MAX_FILE = MAX_LISTING
MAX_ADDED = 64 * TiB
"""More memory has no machine; each 2M of it are looked up."""
_ATTRIBUTE = 64 * KiB
"""No file of /sys is longer than a page."""
PAGES_UNIT = PIECE
"""The grain of [proc/kpageflags]: no virtio-mem device plugs less in a memory block that Linux uses."""
COUNTING_SECONDS = 20.0
"""How long the pages of memory blocks are counted, and as long again which are plugged; docs/capture.md says what 1 TiB
takes."""


def collect(
    sysroot: str | Path = "/",
    *,
    pages: bool = False,
    seconds: float = COUNTING_SECONDS,
    only: Container[str] | None = None,
    by: str = "virtiomem",
) -> Capture:
    """Read everything in `sources.SOURCES` below `sysroot`; `pages` also asks, as root, what pages are used for.

    `seconds` is how long pages are counted. `only` names the headings to read, `by` is what the capture says about its
    maker. What is absent or denied is remarked in its section. Raises BackendError when `sysroot` is not a directory.
    """
    root = Path(sysroot)
    if not is_directory(root):
        raise BackendError(f"{shown(root)}: no such directory")
    page_size = os.sysconf("SC_PAGE_SIZE") if root.resolve() == Path("/") else None  # no file of a copy says
    sections: dict[str, Section] = {}
    for source in SOURCES:
        if only is not None and source.heading not in only:
            continue
        # Still a heading: the headings are the manifest, so a reader sees that it was left out and not forgotten.
        if source.on_request and not pages:
            sections[source.heading] = Section(remark=NOT_COLLECTED)
        elif source.kind == "pages":
            sections[source.heading] = _pages(root, sections, page_size or DEFAULT.page_size, seconds)
        else:
            sections[source.heading] = _section(root, source)
    return Capture(
        sections,
        collected=datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        by=by,
        said_page_size=page_size,
        source=str(root),
        root=root,
    )


def _section(root: Path, source: SectionSource) -> Section:
    """Read one source, or remark why not."""
    try:
        return _READERS[source.kind](root / source.heading, source)
    except OSError as error:
        return Section(remark=_why_not(error))
    except VirtiomemError as error:
        return Section(remark=str(error))


def _why_not(error: OSError) -> str:
    """A remark instead of lines."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ABSENT
    return DENIED if error.errno in (errno.EACCES, errno.EPERM) else str(error.strerror)


def _file(path: Path, _source: SectionSource | None = None, *, limit: int = MAX_FILE) -> Section:
    """A whole file; a byte that is no UTF-8 survives. OSError for one that is too long, or none."""
    with os.fdopen(_open(path), "rb") as file:
        data = file.read(limit + 1)
    # One byte more is read than is kept: a file of /proc has no size that could be asked for first.
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"longer than {format_size(limit)}")
    return Section(data.decode("utf-8", "surrogateescape"))


def _open(path: Path) -> int:
    """A file's descriptor; OSError for a pipe, which may have no writer, or a device, which may have no end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    # Looked at once it is open, not before: what a name stands for may change in between.
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a file")
    return handle


def _read(path: Path, *, limit: int = MAX_FILE) -> list[str]:
    """A file's lines."""
    return _file(path, limit=limit).lines


def _lines(path: Path, source: SectionSource) -> Section:
    """Those lines that begin with the words wanted."""
    return Section.of(line for line in _read(path) if line.lstrip().startswith(source.what))


def _words(path: Path, source: SectionSource) -> Section:
    """Those words of the command line that are known to say something of memory."""
    words = _WORD.findall(" ".join(_read(path)))
    taken = [word for word in words if is_wanted(word, source.what)]
    return Section.of([" ".join(taken)] if taken else [], f"{len(taken)} of {len(words)} parameters")


def is_wanted(word: str, parameters: Iterable[str]) -> bool:
    """True when a word of the command line is one of `parameters`, or of a module that they name as ``module.*``."""
    # As parameqn() compares: a dash is an underscore, and quotes may stand anywhere.
    name = word.partition("=")[0].replace('"', "").replace("-", "_")
    module = name.partition(".")[0]
    return name in parameters or ("." in name and f"{module}.*" in parameters)


def _directory(path: Path, source: SectionSource) -> Section:
    """Small files: those of the names wanted that are there."""
    # Asked first: `_values` passes over missing files, so a missing directory would look like an empty one.
    if not path.is_dir():
        return Section(remark=ABSENT)
    return Section.of(_values(path, source.what))


def _values(path: Path, names: Iterable[str], prefix: str = "") -> Iterator[str]:
    for name in names:
        try:
            yield f"{prefix}{name} {' '.join(_read(path / name, limit=_ATTRIBUTE))}"
        except OSError:
            continue


def _blocks(path: Path, _source: SectionSource) -> Section:
    """All memory blocks, neighbours that are alike on one line."""
    memory = read_memory_sysfs(path.parents[3])
    return Section.of([*_values(path, MEMORY_FILES), *block_lines(memory.blocks)])


def _devices(path: Path, _source: SectionSource) -> Section:
    """Every virtio-mem device, bound to the driver or not."""
    return Section.of(_device(entry) for entry in sorted(path.iterdir()) if _is_virtio_mem(entry))


def _is_virtio_mem(device: Path) -> bool:
    try:
        # By its number: a device that no driver has taken has nothing else that tells.
        return int(_read(device / "device")[0], 16) == DEVICE_ID
    except (OSError, ValueError, IndexError):
        return False


def _device(device: Path) -> str:
    driver = (device / "driver").resolve().name if (device / "driver").exists() else "-"
    # virtioN has no numa_node; its parent, a PCI function or a platform device, has.
    node = next(_values(device.resolve().parent, ["numa_node"]), "").partition(" ")[2] or "-1"
    return f"{printable(device.name)} driver={driver} parent={device.resolve().parent.name} node={node}"


def _dimms(path: Path, _source: SectionSource) -> Section:
    """Every memory device of ACPI, and the memory blocks that Linux made of it."""
    return Section.of(_dimm(entry) for entry in sorted(path.iterdir()) if entry.name.startswith("PNP0C80:"))


def _dimm(device: Path) -> str:
    status = next(_values(device, ["status"]), "").partition(" ")[2] or "-"
    links = (link.resolve().name for link in device.iterdir() if link.name.startswith("physical_node"))
    blocks = entry_numbers(links, "memory")
    return f"{printable(device.name)} status={status} blocks={','.join(map(str, blocks)) or '-'}"


def _dax(path: Path, _source: SectionSource) -> Section:
    """Every DAX device; system-ram is the mode of those that kmem has."""
    return Section.of(_dax_device(entry) for entry in sorted(path.iterdir()))


def _dax_device(device: Path) -> str:
    driver = (device / "driver").resolve().name if (device / "driver").exists() else "-"
    values = dict(line.split(" ", 1) for line in _values(device, ("resource", "size", "target_node")))
    told = " ".join(f"{name}={values.get(name) or '-'}" for name in ("resource", "size", "target_node"))
    return f"{printable(device.name)} driver={driver} {told}"


def _log(path: Path, source: SectionSource) -> Section:
    """The driver's lines in the kernel log, of those that repeat with other values the last."""
    if not path.is_char_device():
        return Section(remark=ABSENT)
    return Section.of(last_of_each(line for line in _kernel_log(path) if line.startswith(source.what)))


def last_of_each(lines: Iterable[str]) -> list[str]:
    """Lines without those that a later one replaces: the same text up to the last colon."""
    # A key that is there keeps its place: the last value stands where the first one stood.
    return list({line.rpartition(": ")[0]: line for line in lines}.values())


def _kernel_log(path: Path) -> Iterator[str]:
    """The messages in the kernel's ring buffer, oldest first."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    read = 0
    try:
        while True:
            try:
                # A read gives one record, and EINVAL where it does not fit: none is longer (CONSOLE_EXT_LOG_MAX, v6.1).
                record = os.read(handle, 8192)
            except BrokenPipeError:  # overwritten while we read: go on with the oldest that is left
                continue
            except BlockingIOError:
                return
            read += len(record)
            if not record or read > MAX_FILE:  # another device than the kernel's, which has an end, or none
                return
            # A record is `level,sequence,time,flags;message`, then lines of KEY=VALUE.
            yield record.decode("utf-8", "surrogateescape").partition(";")[2].partition("\n")[0]
    finally:
        os.close(handle)


def _notes(path: Path, source: SectionSource) -> Section:
    """Which CPUs there are, and the address and size of each one's crash notes."""
    lines = [*_values(path, source.what)]
    cpus = [path / f"cpu{number}" for number in entry_numbers((entry.name for entry in path.iterdir()), "cpu")]
    for cpu in cpus:
        lines += _values(cpu, ("crash_notes", "crash_notes_size"), f"{cpu.name}/")
    # With the blank: crash_notes_size begins alike.
    if any("/crash_notes " in line for line in lines):
        return Section.of(lines)
    return Section.of(lines, NOTES_DENIED if any((cpu / "crash_notes").exists() for cpu in cpus) else NO_NOTES)


def _pages(root: Path, sections: dict[str, Section], page_size: int, seconds: float) -> Section:
    """Find which of the memory that virtio-mem added is plugged, and what the pages of each memory block are used for."""
    try:
        # With `only` the map may not have been asked for.
        tree = iomem.loads((sections.get("proc/iomem") or _file(root / "proc/iomem")).text)
        handle = _open(root / "proc/kpageflags")
    except OSError as error:
        return Section(remark=_why_not(error))
    except VirtiomemError as error:
        return Section(remark=str(error))
    try:
        # Not the whole region of a device: what Linux never added has no struct pages to ask.
        added = [(node.start, node.end) for _, node in tree.walk() if node.name == VIRTIO_MEM_RAM]
        if sum(end - start + 1 for start, end in added) > MAX_ADDED:
            return Section(remark=f"more than {format_size(MAX_ADDED)} of virtio-mem")
        until = time.monotonic() + seconds
        lines = [line for start, end in added for line in _page_lines(handle, start, end, page_size, until)]
        late = "what is plugged, for those blocks there was time for" if added and time.monotonic() > until else ""
        # With a time of its own: whatever the first look took, some blocks are counted, and those say why memory stays.
        counted, remark = _counted(handle, root, page_size, seconds)
        return Section.of(lines + counted, "; ".join(filter(None, (late, remark))))
    finally:
        os.close(handle)


def _page_lines(handle: int, start: int, end: int, page_size: int, until: float) -> Iterator[str]:
    """`START-END plugged`, `unplugged` or `unknown` (its memory block is offline, or time is up), neighbours joined."""
    states = map(partial(_unit_state, handle, page_size), range(start, end + 1, PAGES_UNIT))
    # Lazily: as a list, the states of 64 TiB would be 33 million words.
    for state, group in groupby(takewhile(lambda state: state and time.monotonic() < until, states)):
        stop = min(start + sum(PAGES_UNIT for _ in group), end + 1)
        yield f"{start:08x}-{stop - 1:08x} {state}"
        start = stop
    if start <= end:
        yield f"{start:08x}-{end:08x} unknown"


def _unit_state(handle: int, page_size: int, unit: int) -> str:
    """Unplugged when all pages are marked offline: a balloon marks single ones. Empty behind the last page there is."""
    try:
        raw = os.pread(handle, PAGES_UNIT // page_size * 8, unit // page_size * 8)
    except OverflowError:  # no file is that long
        return ""
    # In a copy the file may end within a word, which array() refuses.
    flags = array.array("Q", raw[: len(raw) // 8 * 8])
    if not flags:
        return ""
    # Linux shows NOPAGE where it has no struct page, which it has for online memory only.
    if all(of & PageFlag.NOPAGE for of in flags):
        return "unknown"
    return "unplugged" if all(of & PageFlag.OFFLINE for of in flags) else "plugged"


def _counted(handle: int, root: Path, page_size: int, seconds: float) -> tuple[list[str], str]:
    """Count the uses of pages of the memory blocks that are online: the highest first, while there is time."""
    try:
        # Neither is needed here, and both cost system calls for each block.
        memory = read_memory_sysfs(root, zones=False, nodes=False)
    except VirtiomemError:
        return [], ""
    size = memory.block_size // page_size * FLAGS_SIZE
    wanted = [block.block for block in memory.blocks if block.is_online]
    found: list[BlockPages] = []
    remark, until = "", time.monotonic() + seconds
    # The highest first: those go first when memory is unplugged, and time may run out.
    for number in reversed(wanted):
        if time.monotonic() > until:
            remark = f"pages of the blocks above memory{number}"
            break
        # A block's flags in one call: a call for each page would cost more than the kernel's answer.
        raw = os.pread(handle, size, number * size)
        # Less is a block that is just being removed.
        if len(raw) == size:
            found.append(BlockPages.counted(number, raw, page_size))
    return [str(block) for block in reversed(found)], remark


def _header(path: Path, _source: SectionSource) -> Section:
    """Read the header of the loaded crash kernel; nothing is opened where none is loaded."""
    root = path.parents[1]
    # Raises where there is no kcore, so that the section says `absent` and not that no header is loaded.
    path.stat()
    try:
        loaded = _read(root / "sys/kernel/kexec_crash_loaded") == ["1"]
    except OSError:
        loaded = False
    if not loaded:
        return Section(remark=NO_HEADER)
    ranges = kcore.crash_header(path, _file(root / "proc/iomem").text)
    return Section.of(f"{start:08x}-{end:08x}" for start, end in ranges) if ranges else Section(remark=NO_HEADER)


_READERS: dict[str, Callable[[Path, SectionSource], Section]] = {
    "header": _header,
    "file": _file,
    "lines": _lines,
    "words": _words,
    "directory": _directory,
    "blocks": _blocks,
    "devices": _devices,
    "dimms": _dimms,
    "dax": _dax,
    "log": _log,
    "notes": _notes,
}
