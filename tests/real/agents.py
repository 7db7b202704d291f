"""The real guest agent, for the initramfs of a real guest."""

import subprocess
from pathlib import Path

from virtiomem.guest.linux import cpio

QEMU_GA = "/usr/sbin/qemu-ga"


def agent_archive() -> bytes:
    """The guest agent and the libraries it is linked with."""
    linked = subprocess.run(["ldd", QEMU_GA], capture_output=True, text=True, check=True).stdout.split()
    paths = [Path(QEMU_GA), *(Path(word) for word in linked if word.startswith("/"))]
    folders = sorted({str(parent).lstrip("/") for path in paths for parent in path.parents} - {""})
    entries = [cpio.directory(folder) for folder in [*folders, "run", "var", "var/run"]]
    return cpio.archive(entries + [cpio.file(str(p).lstrip("/"), p.read_bytes(), executable=True) for p in paths])
