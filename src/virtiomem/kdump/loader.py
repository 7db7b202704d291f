"""Makers of a crash header."""

from enum import Enum
from typing import Self

from virtiomem.recording.values import CrashSyscall


class Loader(Enum):
    """Maker of the header: the system call that loads the crash kernel decides."""

    KERNEL = "kernel"
    """kexec_file_load(): `kexec -p -s`."""
    KEXEC_TOOLS = "kexec-tools"
    """kexec_load(): `kexec -p -c`."""

    @classmethod
    def of(cls, syscall: CrashSyscall) -> Self:
        """Return who writes the header when a crash kernel is loaded by this system call."""
        return cls.KERNEL if syscall == "kexec_file_load" else cls.KEXEC_TOOLS

    @property
    def syscall(self) -> CrashSyscall:
        """The system call that loads a crash kernel with such a header."""
        return "kexec_file_load" if self is Loader.KERNEL else "kexec_load"
