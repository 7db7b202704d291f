"""The crash header in memory against the map: what it held, holds and will hold; what of RAM it lacks, what it has too many of.

A header that lacks RAM loses it in a crash. One that has more than there is does no harm: the crash kernel asks the
virtio-mem device what is plugged, and reads zeros for the rest.
"""

from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Self

from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.kdump.comparison import above_low, subtract
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import CrashRange, kernel_ranges, kexec_tools_ranges
from virtiomem.kdump.room import keeps_header
from virtiomem.recording.values import CrashHeader
from virtiomem.releases.linux import LinuxRelease
from virtiomem.resource.tree import Resource


@dataclass(frozen=True, slots=True)
class Standing:
    """Comparison of the header in memory with the map; None where the value is not known.

    `ram`: what a header made now would hold. `at_loading`, `now`: what the header held and holds. `certain`: what it holds
    for certain where `now` is not known. Ranges are of first and last byte, ascending.
    """

    ram: list[CrashRange]
    loaded: bool | None
    """Whether a crash kernel is loaded."""
    loader: Loader | None = None
    kept_up_to_date: bool | None = None
    """Whether the kernel makes the header again when a memory block is online or offline."""
    at_loading: list[CrashRange] | None = None
    now: list[CrashRange] | None = None
    certain: list[CrashRange] | None = None

    @classmethod
    def of(
        cls,
        tree: Resource,
        header: CrashHeader,
        release: LinuxRelease,
        architecture: Architecture = DEFAULT_ARCHITECTURE,
    ) -> Self:
        """A header that was recorded, against the map of that moment."""
        loader = Loader.of(header.syscall)
        ram = ram_for(loader, tree, release, architecture)
        return cls(ram, True, loader, header.kept_up_to_date, None, list(header.ranges))

    @property
    def after_next(self) -> list[CrashRange] | None:
        """Contents of the header after the next block goes online or offline: all that is in the map, that block included.

        A block that goes offline is still in the map at that moment; the header has it until the event after that.
        """
        return self.now if self.kept_up_to_date is False else self.ram if self.kept_up_to_date else None

    @property
    def missing(self) -> list[CrashRange] | None:
        """RAM that the header lacks, except the first MiB, which each loader treats in its own way."""
        return None if self.now is None else [one for one in subtract(self.ram, self.now) if above_low([one])]

    @property
    def gone(self) -> list[CrashRange] | None:
        """Ranges in the header that are not in the map."""
        return None if self.now is None else [one for one in subtract(self.now, self.ram) if above_low([one])]

    def pieces(self) -> list[CrashRange]:
        """Everything that any of the lists has, cut wherever one of them begins or ends."""
        lists = [ranges for ranges in (self.ram, self.at_loading, self.now, self.certain) if ranges is not None]
        # Between two cuts no list changes, so each piece is wholly in one or not at all.
        cuts = sorted({cut for start, end in chain(*lists) for cut in (start, end + 1)})
        within = [(first, stop - 1) for first, stop in pairwise(cuts)]
        outside = set(within)
        for ranges in lists:
            outside &= set(subtract(within, ranges))
        return [piece for piece in within if piece not in outside]

    def check(self) -> None:
        """Assert that what is certain is in the header, and that only a loaded crash kernel has one."""
        if self.now is not None and self.certain is not None:
            assert not subtract(self.certain, self.now), "what is certain is there"
        assert self.loaded is not False or self.now is None, "no crash kernel, no header"


def ram_for(
    loader: Loader | None, tree: Resource, release: LinuxRelease, architecture: Architecture = DEFAULT_ARCHITECTURE
) -> list[CrashRange]:
    """Return the contents of a header made now, by the kernel if the maker is unknown."""
    if loader is Loader.KEXEC_TOOLS:
        return kexec_tools_ranges(tree, architecture=architecture).ranges
    return kernel_ranges(tree, release, architecture=architecture).ranges


def is_kept(
    release: LinuxRelease | None,
    loader: Loader | None,
    crash_hotplug: str | None,
    architecture: Architecture = DEFAULT_ARCHITECTURE,
) -> bool | None:
    """Return whether the kernel keeps the loaded header up to date: by its own word, else by its release.

    `crash_hotplug` is the file of this name below /sys/devices/system/memory. None where that cannot be known.
    """
    # The kernel's own word first: a build may lack what its release can do.
    if crash_hotplug in ("0", "1"):
        return crash_hotplug == "1"
    if loader is Loader.KEXEC_TOOLS or (release is not None and not keeps_header(release, architecture)):
        return False
    return True if release is not None and loader is Loader.KERNEL else None
