"""Find an accelerator that works, by running a kernel with it.

That /dev/kvm is there and opens says little: where virtualization is nested it may hang in the first instructions of
a kernel or die while a processor is set up.
"""

import socket
import time
from pathlib import Path
from select import POLLIN, poll
from typing import Literal

from virtiomem.qemu.arguments import BARE
from virtiomem.qemu.process import BINARY, QemuProcess

Accel = Literal["kvm", "tcg"]

FIRST_LINE = 4.0
"""Seconds a kernel has to print its first line; with KVM it needs a tenth of one."""
WHOLE = 15.0
"""Seconds it has to come to its end, for lack of a root."""

_SPOKEN = b"Linux version"


def choose(image: Path, *, binary: str = BINARY) -> Accel:
    """KVM when a kernel runs with it on this machine, else TCG; BackendError when QEMU is missing."""
    return "kvm" if Path("/dev/kvm").exists() and runs(image, "kvm", binary=binary) else "tcg"


def runs(image: Path, accel: Accel, *, binary: str = BINARY) -> bool:
    """Start the kernel with only itself: it must speak, find no root, and reset the machine, which ends QEMU."""
    # No root: the panic that follows and panic=-1 reset the machine, and -no-reboot turns that into QEMU's end.
    arguments = ["-accel", accel, "-cpu", "max", "-m", "256M", *BARE]
    arguments += ["-no-reboot", "-serial", "chardev:console", "-kernel", str(image)]
    arguments += ["-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1"]
    with QemuProcess(arguments, binary=binary, sockets=["console"]) as qemu:
        # Speaking is not enough: nested KVM may die later, while a processor is set up.
        return _speaks_and_ends(qemu.sockets["console"]) and qemu.wait(2) == 0


def _speaks_and_ends(console: socket.socket) -> bool:
    """Return whether the kernel prints its first line in time, and QEMU then ends in time."""
    waiting = poll()
    waiting.register(console, POLLIN)
    limit = time.monotonic() + FIRST_LINE
    said, spoken = b"", False
    while waiting.poll(max(limit - time.monotonic(), 0) * 1000):
        try:
            data = console.recv(1 << 16)
        # A QEMU that was killed resets the socket: the same end as one that closed it.
        except OSError:
            data = b""
        if not data:
            return spoken
        # Enough of what came before to hold words that were cut in two.
        said = said[-len(_SPOKEN) :] + data
        if not spoken and _SPOKEN in said:
            spoken, limit = True, limit + WHOLE
    return False
