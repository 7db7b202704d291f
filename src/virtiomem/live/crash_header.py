"""Crash header of a captured Linux: what it held, holds and will hold, where the capture shows it.

A recording tells all of it. On a running machine root may read the header where it lies (/proc/kcore). Else the kernel's own
word (crash_hotplug) or its release says whether it keeps the header up to date; then what is online is in it for certain.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.errors import UsageError
from virtiomem.kdump import room
from virtiomem.kdump.comparison import subtract
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import CrashRange
from virtiomem.kdump.room import choices_of
from virtiomem.kdump.standing import Standing, is_kept, ram_for
from virtiomem.live.capture import MEMORY, Capture
from virtiomem.live.views import CrashState, architecture_of, crash_state_of, elfcorehdr_size_of, memory_of
from virtiomem.recording.values import CrashHeader, Kexec, LoadCrashKernel, Reboot, Recording
from virtiomem.releases.linux import DEBIAN, DEFAULT, LinuxRelease
from virtiomem.resource.tree import Resource
from virtiomem.units import Span

CRASH_HEADER = "crash-header"
"""The heading of what recordings tell: `syscall NAME`, then lines of `loading FIRST-LAST` and `now FIRST-LAST`."""
KCORE = "proc/kcore"
"""The heading of what the kernel's own memory tells: lines of `FIRST-LAST`."""

_RANGE = re.compile(r"(?:(?P<when>loading|now) )?(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16})")
_LOADERS = {f"syscall {loader.syscall}": loader for loader in Loader}


def header_lines(recording: Recording) -> Iterator[str]:
    """Yield the lines of [crash-header] for the end of a recording; none where no crash kernel is loaded."""
    end, _ = header_at_end(recording)
    if end is UNSET:
        return
    yield f"syscall {end.syscall}"
    # The last load that was not refused: the header that is in memory now was made by it.
    loads = (record for record in reversed(recording.steps) if isinstance(record.step, LoadCrashKernel))
    loaded = next((record.snapshot.crash_header for record in loads if record.error is None), UNSET)
    for when, header in (("loading", loaded), ("now", end)):
        for first, last in header.ranges if header is not UNSET else ():
            yield f"{when} {first:x}-{last:x}"


def header_at_end(recording: Recording) -> tuple[CrashHeader | UnsetType, int | None]:
    """The header at the end of a recording, and whether (1, 0) a crash kernel is loaded then; None where it does not say."""
    end = recording.steps[-1].snapshot.crash_header if recording.steps else recording.boot.crash_header
    if end is not UNSET:
        return end, 1
    done = [type(record.step) for record in recording.steps if record.error is None]
    # A load whose header was not recorded proves nothing; only a reboot behind a load makes sure that none is left.
    last = [kind for kind in done if kind in (LoadCrashKernel, Kexec, Reboot)]
    return end, 0 if LoadCrashKernel in last[:-1] and last[-1] is not LoadCrashKernel else None


def ranges_that_fit(capture: Capture, release: LinuxRelease) -> int | None:
    """Return the number of ranges that a header of the kernel has room for; None where it gets what it needs.

    The build's choices are what the kernel said, else Debian's.
    """
    build = DEBIAN.release(release.name)._replace(**choices_of(elfcorehdr_size_of(capture)))
    architecture = architecture_of(capture) or DEFAULT_ARCHITECTURE
    return room.ranges_that_fit(release, build, crash_state_of(capture).possible_cpus, architecture)


def noted_cpus(state: CrashState, release: LinuxRelease) -> int:
    """CPUs that a header which the kernel makes has a note for; 0 where nothing says how many there are.

    Models: crash_prepare_elf64_headers(). Since: 6.6 (notes_possible_cpus).
    """
    return state.possible_cpus if release.notes_possible_cpus else state.present_cpus


@dataclass(slots=True)
class _Told:
    """Facts about a crash header that a capture holds."""

    loader: Loader | None = None
    loading: list[CrashRange] = field(default_factory=list)
    now: list[CrashRange] = field(default_factory=list)


def standing_of(
    capture: Capture, tree: Resource, release: LinuxRelease | None = None, loader: Loader | None = None
) -> Standing:
    """Compare the header with the map; `release` of Linux and `loader` of the crash kernel where they are known.

    Raises UsageError for a header, or memory blocks, that do not read as they should.
    """
    told = _told(capture)
    files = capture.section("sys/kernel").values
    loaded = True if told.now else {"0": False, "1": True}.get(files.get("kexec_crash_loaded", ""))
    crash_hotplug = capture.section(MEMORY).values.get("crash_hotplug") if loaded else None
    # Only a header that the kernel has made does it keep up to date, so the file tells who loaded it.
    if crash_hotplug is not None and loader is None:
        loader = Loader.KERNEL if crash_hotplug == "1" else Loader.KEXEC_TOOLS
    loader = told.loader or loader
    architecture = architecture_of(capture) or DEFAULT_ARCHITECTURE
    ram = ram_for(loader, tree, release or DEFAULT, architecture)
    if loaded is False:
        return Standing(ram, loaded)
    keeps = is_kept(release, loader, crash_hotplug, architecture)
    # With the header itself at hand nothing need be inferred.
    sure = _online(capture, ram) if keeps and not told.now else None
    return Standing(ram, loaded, loader, keeps, told.loading or None, told.now or None, sure)


def _told(capture: Capture) -> _Told:
    """Read the facts in a recording or of a kernel; ranges are made to ascend."""
    told = _Told()
    for heading in (CRASH_HEADER, KCORE):
        for line in capture.section(heading).lines:
            if line in _LOADERS:
                told.loader = _LOADERS[line]
                continue
            match = _RANGE.fullmatch(line)
            first, last = (int(match["start"], 16), int(match["end"], 16)) if match else (1, 0)
            if match is None or last < first:
                raise UsageError(f"{capture.source}: not a line of a crash header: {line[:80]!r}")
            (told.loading if match["when"] == "loading" else told.now).append((first, last))
        # It is looked for only where kexec_file_load puts it.
        if heading == KCORE and capture.section(heading).text and told.loader is None:
            told.loader = Loader.KERNEL
    told.loading.sort()
    told.now.sort()
    return told


def _online(capture: Capture, ram: list[CrashRange]) -> list[CrashRange] | None:
    """The RAM that is not in offline blocks: each block that is online was so at loading, or came online since."""
    if not capture.section(MEMORY).text:
        return None
    memory = memory_of(capture)
    offline = (Span.of_block(block.block, memory.block_size) for block in memory.blocks if not block.is_online)
    return subtract(ram, ((span.start, span.stop - 1) for span in offline))
