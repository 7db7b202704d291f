"""Room that a kernel sets aside for a crash header, and the sizes of what is in one.

Separate from `elfcore`, which makes headers: every scenario is checked against the room, and few load a crash kernel.
"""

import struct
from typing import Any

from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.releases.linux import LinuxBuild, LinuxRelease
from virtiomem.units import align_up

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
"""The ELF header."""
PHDR = struct.Struct("<IIQQQQQQ")
"""A program header."""
KERNEL_ALIGN = 4096
"""ELF_CORE_HEADER_ALIGN of the kernel: its buffer is a multiple of it."""
MAX_HEADER_RANGES = 1 << 20
"""Of a megabyte each they would be a terabyte: no build sets room aside for more."""


def keeps_header(release: LinuxRelease, architecture: Architecture = DEFAULT_ARCHITECTURE) -> bool:
    """Return whether a kernel of this release updates the header that it made when memory comes and goes. Since: 6.6
    (keeps_crash_header).
    """
    return release.keeps_crash_header and architecture.keeps_crash_header


def size_of(entries: int) -> int:
    """Bytes of a header with that many program headers, as the kernel sets them aside."""
    return align_up(EHDR.size + PHDR.size * entries, KERNEL_ALIGN)


def segments_in(size: int) -> int:
    """Return the number of program headers that fit `size` bytes."""
    return (size - EHDR.size) // PHDR.size


def room_of(release: LinuxRelease, build: LinuxBuild, architecture: Architecture = DEFAULT_ARCHITECTURE) -> int | None:
    """Return the bytes that a header made by kexec_file_load() may have, or None if it gets what it needs."""
    segments = _segments(release, build, architecture)
    return None if segments is None else size_of(segments)


def ranges_that_fit(
    release: LinuxRelease,
    build: LinuxBuild,
    possible_cpus: int = 1,
    architecture: Architecture = DEFAULT_ARCHITECTURE,
) -> int | None:
    """Return how many ranges fit such a header after the CPUs' notes, or None if its size is not fixed."""
    room = room_of(release, build, architecture)
    return None if room is None else segments_in(room) - 2 - max(possible_cpus, 1)


def elfcorehdr_size(
    release: LinuxRelease, build: LinuxBuild, architecture: Architecture = DEFAULT_ARCHITECTURE
) -> int | None:
    """Return the bytes that /sys/kernel/crash_elfcorehdr_size shows, or None if the kernel has no such file."""
    segments = _segments(release, build, architecture)
    return None if segments is None else segments * PHDR.size


def _segments(release: LinuxRelease, build: LinuxBuild, architecture: Architecture) -> int | None:
    """Return how many program headers the kernel reserves room for, or None if the room is not fixed.

    Since: 6.6 (crash_header_cpus, crash_header_ranges).
    """
    kept = keeps_header(release, architecture)
    return 2 + build.crash_header_cpus + build.crash_header_ranges if kept else None


def choices_of(size: object) -> dict[str, Any]:
    """A build's choices, as `[guest]` keys, that a crash_elfcorehdr_size comes from, if they matter: their sum.

    Empty for any other size.
    """
    segments = size // PHDR.size - 2 if isinstance(size, int) else -1
    if not 0 <= segments <= MAX_HEADER_RANGES:
        return {}
    # The file shows their sum alone, and everything here goes by the sum: all of it is given to the ranges.
    return {"crash_header_cpus": 0, "crash_header_ranges": segments}
