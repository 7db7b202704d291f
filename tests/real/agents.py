"""The real guest agent, for the initramfs of a real guest, and a QEMU that has a line to it."""

import subprocess
from pathlib import Path

from tests.real.needs import require
from virtiomem.guest.linux import cpio

QEMU_GA = "/usr/sbin/qemu-ga"
START_AGENT = f"{QEMU_GA} -d -m isa-serial -p /dev/ttyS2 -t /run -f /run/qemu-ga.pid"
"""Starts it in a guest of `qemu_with_agent`."""
_WRAPPER = """#!/bin/sh
# QEMU with two more monitors and a line to the guest agent; the guest gets one more archive.
for word do
    if [ "$before" = -initrd ]; then cat "$word" {folder}/agent.cpio >{folder}/initrd; word={folder}/initrd; fi
    before=$word
    set -- "$@" "$word"
    shift
done
exec qemu-system-x86_64 "$@" \\
    -qmp unix:{folder}/vm.sock,server=on,wait=off -qmp unix:{folder}/other.sock,server=on,wait=off \\
    -chardev socket,id=qga,path={folder}/ga.sock,server=on,wait=off -device isa-serial,chardev=qga
"""


def qemu_with_agent(folder: Path) -> str:
    """A program that is QEMU, with the monitors `vm.sock` and `other.sock` and the agent's `ga.sock` in a folder."""
    require("qemu-ga", "qemu-guest-agent")
    (folder / "agent.cpio").write_bytes(agent_archive())
    wrapper = folder / "qemu"
    wrapper.write_text(_WRAPPER.format(folder=folder))
    wrapper.chmod(0o755)
    return str(wrapper)


def agent_archive() -> bytes:
    """The guest agent and the libraries it is linked with."""
    linked = subprocess.run(["ldd", QEMU_GA], capture_output=True, text=True, check=True).stdout.split()
    paths = [Path(QEMU_GA), *(Path(word) for word in linked if word.startswith("/"))]
    folders = sorted({str(parent).lstrip("/") for path in paths for parent in path.parents} - {""})
    entries = [cpio.directory(folder) for folder in [*folders, "run", "var", "var/run"]]
    return cpio.archive(entries + [cpio.file(str(p).lstrip("/"), p.read_bytes(), executable=True) for p in paths])
