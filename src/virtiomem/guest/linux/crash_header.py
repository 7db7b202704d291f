"""The crash header in a real guest's memory, read through QEMU: the guest itself cannot see it.

The kernel puts the header of kexec_file_load at the start of what is reserved for a crash kernel, kexec-tools somewhere
near its end. It never moves.
"""

from dataclasses import dataclass

from virtiomem.errors import ProtocolError, UsageError
from virtiomem.guest.linux.running import RunningLinux
from virtiomem.kdump import elfcore
from virtiomem.kdump.comparison import ram_of
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import kernel_ranges
from virtiomem.recording.values import CrashHeader
from virtiomem.resource import iomem
from virtiomem.units import KiB, MiB

_PAGE = 4 * KiB
"""The smallest page size: a header starts at a page boundary."""
_STEP = 4 * MiB
"""Read at once while looking for a header; what is reserved is a multiple of it as a rule."""


@dataclass(frozen=True, slots=True)
class FoundHeader:
    """Place and maker of the header of the loaded crash kernel."""

    linux: RunningLinux
    address: int
    loader: Loader
    kept_up_to_date: bool

    def read(self) -> CrashHeader:
        """Read the header's present contents. Raises ProtocolError when it is not a header any more."""
        # The first page says how long the table is; most are no longer.
        head = self.linux.read_memory(self.address, _PAGE)
        try:
            size = elfcore.table_end(head)
            table = elfcore.decode(head if size <= len(head) else self.linux.read_memory(self.address, size))
        except UsageError as error:
            raise ProtocolError(f"the guest's crash header at {self.address:#x}: {error}") from None
        return CrashHeader(syscall=self.loader.syscall, kept_up_to_date=self.kept_up_to_date, ranges=ram_of(table))


def find(linux: RunningLinux, loader: Loader, *, kept_up_to_date: bool, doing: str) -> FoundHeader | None:
    """The header of the crash kernel that has just been loaded; None where it is not found."""
    reserved = kernel_ranges(iomem.loads(linux.look(doing).iomem)).excluded
    start, end = reserved[1] if len(reserved) > 1 else (0, 0)
    # From the end down, as kexec-tools places it near the end and an area may have hundreds of megabytes.
    for address in [start] if loader is Loader.KERNEL else range(end + 1 - _STEP, start - 1, -_STEP):
        data = linux.read_memory(address, _PAGE if loader is Loader.KERNEL else _STEP)
        for at in range(0, len(data), _PAGE):
            if elfcore.is_header(data[at : at + _PAGE]):
                return FoundHeader(linux, address + at, loader, kept_up_to_date)
    return None
