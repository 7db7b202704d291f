"""The crash header in the memory of a running kernel: made when a crash kernel is loaded, and what becomes of it then.

A kernel that keeps it up to date makes it anew when a memory block is online, and when one is offline. A block that went
offline is still in the resource tree at that moment: after a shrink the header has the block that was removed last.
"""

from virtiomem import border
from virtiomem.errors import Errno, KernelError
from virtiomem.kdump import elfcore
from virtiomem.kdump.elfcore import Inputs
from virtiomem.kdump.ranges import CrashRange, kernel_ranges
from virtiomem.memory import Memory, MemoryEvent, MemoryNotify
from virtiomem.releases.linux import DEBIAN, LinuxBuild

_NOTHING_KNOWN = Inputs()
_FIRST = 1
"""Heard before the driver is, which is registered later than the kernel's own notifier."""


class KeptHeader:
    """The header of a crash kernel that was loaded with kexec_file_load() into a running kernel."""

    def __init__(self, memory: Memory, inputs: Inputs = _NOTHING_KNOWN, *, build: LinuxBuild | None = None) -> None:
        """Load; `build` is Debian's when None.

        Raises KernelError (EINVAL) for more ranges than there is room for, ArgumentError.
        """
        border.instance("memory", memory, Memory)
        border.instance("inputs", inputs, Inputs)
        self._memory = memory
        self._inputs = inputs
        self.room = self._room(build or DEBIAN.release(memory.release.name))
        """Bytes that the header may have; None where it gets what it needs."""
        self.ranges: list[CrashRange] = []
        """The RAM that a dump would hold, as the header has it."""
        self.data = b""
        """The header."""
        if not self._write():
            raise KernelError(Errno.EINVAL, f"a crash header has room for {self.room} bytes")
        if memory.release.keeps_crash_header:
            memory.notifiers.register(self._notified, _FIRST)

    def _room(self, build: LinuxBuild) -> int | None:
        """The room that is set aside. Since: 6.6 (keeps_crash_header, crash_header_cpus, crash_header_ranges)."""
        if not self._memory.release.keeps_crash_header:
            return None
        return elfcore.size_of(2 + build.crash_header_cpus + build.crash_header_ranges)

    def unload(self) -> None:
        """Let go of the crash kernel."""
        self._memory.notifiers.unregister(self._notified)

    def _write(self) -> bool:
        """Make the header of what the resource tree has now; one that has no room leaves the old one as it is."""
        found = kernel_ranges(self._memory.iomem, self._memory.release)
        data = elfcore.header(found, self._inputs)
        if self.room is not None and len(data) > self.room:
            return False
        self.ranges, self.data = found.ranges, data
        return True

    def _notified(self, event: MemoryEvent, _: MemoryNotify) -> Errno:
        """Adding, removing, merging and splitting as such change nothing. Models: crash_handle_hotplug_event()."""
        if event in (MemoryEvent.ONLINE, MemoryEvent.OFFLINE):
            self._write()
        return Errno.OK
