"""The crash header in the memory of a running kernel: made when a crash kernel is loaded, and what becomes of it then.

A kernel that keeps it up to date makes it again when a memory block is online, and when one is offline. A block that went
offline is still in the resource tree at that moment: after a shrink the header has the block that was removed last.
A header that kexec-tools made stays as it is.
"""

from collections.abc import Callable, Sequence

from virtiomem import border
from virtiomem.errors import Errno, KernelError
from virtiomem.kdump import elfcore
from virtiomem.kdump.elfcore import NOTHING_KNOWN, Inputs
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import CrashRange, CrashRanges, kernel_ranges, kexec_tools_ranges
from virtiomem.kdump.room import room_of, size_of
from virtiomem.memory import Memory, MemoryEvent, MemoryNotify
from virtiomem.recording.values import CrashHeader
from virtiomem.releases.linux import DEBIAN, LinuxBuild

_FIRST = 1
"""Heard before the driver is, which is registered later than the kernel's own notifier."""
NO_CRASH_KERNEL = "no memory is reserved for a crash kernel (boot with crashkernel=256M)"

Note = Callable[[str, str], None]
"""Takes a line of the kernel's log: its level and its text."""


def _unheard(_level: str, _text: str) -> None:
    """The log is discarded."""


class KeptHeader:
    """The header of a crash kernel that was loaded into a running kernel."""

    def __init__(
        self,
        memory: Memory,
        inputs: Inputs = NOTHING_KNOWN,
        *,
        build: LinuxBuild | None = None,
        loader: Loader = Loader.KERNEL,
        note: Note = _unheard,
        held: Sequence[CrashRange] | None = None,
    ) -> None:
        """Load; `build` is Debian's when None, `note` receives what the kernel logs later; `held` is what
        the header of a crash kernel that was loaded before has.

        Raises KernelError (EINVAL) for more ranges than there is room for, (EADDRNOTAVAIL) where no memory is reserved
        for a crash kernel, (ENOMEM) where kexec-tools' table is full; ArgumentError.
        """
        border.instance("memory", memory, Memory)
        border.instance("inputs", inputs, Inputs)
        border.instance("loader", loader, Loader)
        self._memory = memory
        self._inputs = inputs
        self._note = note
        self.loader = loader
        """Who made it."""
        kernels = loader is Loader.KERNEL
        build = build or DEBIAN.release(memory.release.name)
        self.room = room_of(memory.release, build, memory.architecture) if kernels else None
        """Bytes that the header may have; None where it gets what it needs."""
        self.kept_up_to_date = self.room is not None
        """Whether the kernel makes it again."""
        self._made_of = found = self._found()
        if not found.has_crash_kernel:
            raise KernelError(Errno.EADDRNOTAVAIL, NO_CRASH_KERNEL)
        if found.refused:
            raise KernelError(Errno.ENOMEM, f"kexec-tools' table of {found.limit} entries is full")
        if size := self._too_large(found):
            reason = f"{len(found.ranges)} ranges need a crash header of {size} bytes, and it has room for {self.room}"
            raise KernelError(Errno.EINVAL, reason)
        # A header that was made earlier has what was there then, which the map of now need not have.
        if held is not None:
            self._made_of = found._replace(ranges=list(held), entries=len(held))
        # Last: a load that is refused leaves no notifier behind.
        if self.kept_up_to_date:
            memory.notifiers.register(self._notified, _FIRST)

    @property
    def ranges(self) -> list[CrashRange]:
        """The RAM that a dump would hold, as the header has it."""
        return self._made_of.ranges

    @property
    def data(self) -> bytes:
        """The header."""
        return elfcore.header(self._made_of, self._inputs)

    def unload(self) -> None:
        """Let go of the crash kernel."""
        if self.kept_up_to_date:
            self._memory.notifiers.unregister(self._notified)

    def recorded(self) -> CrashHeader:
        """The header as a recording has it."""
        return CrashHeader(syscall=self.loader.syscall, kept_up_to_date=self.kept_up_to_date, ranges=list(self.ranges))

    def check(self) -> None:
        """Assert that the header says its ranges and fits its room."""
        table = [(one.paddr, one.paddr + one.memsz - 1) for one in elfcore.decode(self.data)]
        assert table[len(table) - len(self.ranges) :] == self.ranges, "the header ends with its ranges"
        assert self.room is None or len(self.data) <= self.room, "the header fits the room set aside"

    def _found(self) -> CrashRanges:
        """Return the ranges that this loader finds in the present resource tree."""
        if self.loader is Loader.KEXEC_TOOLS:
            return kexec_tools_ranges(self._memory.iomem, architecture=self._memory.architecture)
        return kernel_ranges(self._memory.iomem, self._memory.release, architecture=self._memory.architecture)

    def _too_large(self, found: CrashRanges) -> int:
        """The size of a header of these ranges where that is more than its room; else 0."""
        size = size_of(elfcore.entries(found, self._inputs))
        return size if self.room is not None and size > self.room else 0

    def _notified(self, event: MemoryEvent, _: MemoryNotify) -> Errno:
        """Adding, removing, merging and splitting as such change nothing. Models: crash_handle_hotplug_event()."""
        if event in (MemoryEvent.ONLINE, MemoryEvent.OFFLINE):
            found = self._found()
            if size := self._too_large(found):  # the old one stays as it is
                self._note("err", f"kexec: update elfcorehdr elfsz {size} > memsz {self.room}")
            else:
                self._made_of = found
        return Errno.OK
