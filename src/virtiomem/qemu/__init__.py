"""A QEMU process and the sockets it is driven by.

arguments       the command line of a machine with memory devices
process         start, stop, its output
validation      checks what QEMU and the guest answer before anything believes it
shapes          what QEMU answers
client          the qemu.qmp library's client, with bounds
memory_devices  what query-memory-devices answers, and how a size is set
qmp             QMP for synchronous callers
qtest           a stopped machine's ports and memory, over the qtest socket
trace           the requests of virtio-mem devices, from QEMU's trace
accel           which accelerator works
"""

from virtiomem.qemu.process import BINARY, PACKAGES, MemoryFile, QemuProcess

__all__ = ["BINARY", "PACKAGES", "MemoryFile", "QemuProcess"]
