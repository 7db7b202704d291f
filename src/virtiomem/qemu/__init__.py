"""A QEMU process: start, stop, its output, its sockets.  Who drives it over QMP or qtest builds on this."""

from virtiomem.qemu.process import BINARY, PACKAGE, MemoryFile, QemuProcess

__all__ = ["BINARY", "PACKAGE", "MemoryFile", "QemuProcess"]
