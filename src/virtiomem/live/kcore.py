"""The crash header in a running kernel's own memory, which root may read through /proc/kcore.

The kernel puts the header of kexec_file_load at the start of what is reserved for a crash kernel; that of kexec_load lies
where kexec-tools put it, and is not looked for. Nothing else is read, and of the header only what it dumps is kept: it has
virtual addresses, too.

Models: read_kcore() in fs/proc/kcore.c (v6.1), as seen by a reader.
"""

import os
from pathlib import Path

from virtiomem.errors import UsageError
from virtiomem.kdump import elfcore
from virtiomem.kdump.comparison import ram_of
from virtiomem.kdump.elfcore import SegmentType
from virtiomem.kdump.ranges import CrashRange, kernel_ranges
from virtiomem.resource import iomem
from virtiomem.units import KiB

_HEAD = 64 * KiB
"""Of /proc/kcore: room for a thousand ranges of RAM."""
_PAGE = 4 * KiB
MAX_HEADER = 4 << 20
"""A header of 75 000 ranges."""


def crash_header(path: Path, listing: str) -> list[CrashRange]:
    """The ranges in the header of a crash kernel that was loaded with kexec_file_load; empty where none is found.

    `path` is /proc/kcore, `listing` the map. Raises OSError when it cannot be read, ListingError for no map.
    """
    reserved = kernel_ranges(iomem.loads(listing)).excluded
    # Two ranges are excluded always: what is below 1M, and the crash kernel's where one is reserved.
    if len(reserved) < 2:
        return []
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _read(handle, reserved[1][0])
    except UsageError:  # no core header, of all or of the crash kernel
        return []
    finally:
        os.close(handle)


def _read(handle: int, start: int) -> list[CrashRange]:
    """The ranges in the header at a physical address. Raises UsageError where no header is."""
    # A fixed size: /proc/kcore is as long as the address space.
    head = os.pread(handle, _HEAD, 0)
    for one in elfcore.decode(head[: elfcore.table_end(head)]):
        if one.type == SegmentType.LOAD and one.paddr <= start < one.paddr + one.memsz:
            offset = one.offset + start - one.paddr
            size = elfcore.table_end(os.pread(handle, _PAGE, offset))
            return ram_of(elfcore.decode(os.pread(handle, size, offset))) if size <= MAX_HEADER else []
    return []
