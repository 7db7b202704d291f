"""QEMU killed in the middle of a command: one line, exit code 1, no process left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
        if b"qemu" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_a_qemu_killed_in_mid_fuzz_is_one_line_and_leaves_nothing_but_the_figures() -> None:
    command = [sys.executable, "-m", "virtiomem", "device", "fuzz", "--requests", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 30
        while not (found := children(process.pid)):
            assert time.monotonic() < until, "no QEMU was started"
            time.sleep(0.05)
        time.sleep(1)
        for child in (found := children(process.pid) or found):
            os.kill(child, signal.SIGKILL)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "  differences  0" in out
    assert err.startswith("virtiomem: QEMU ")
    assert err.count("\n") == 1
    assert not any(Path(f"/proc/{child}").exists() for child in found)
