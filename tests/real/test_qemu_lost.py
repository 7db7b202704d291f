"""QEMU killed in the middle of a command: exit code 1, what was found until then, no process left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("qemu")]


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
        if b"qemu" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def killed(command: list[str]) -> tuple[int, str, str]:
    """Run a command, kill its QEMU when the second has run for a while, and see that none is left.

    The first only tells its version.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 30
        seen: set[int] = set()
        while len(seen) < 2:
            assert time.monotonic() < until, "no QEMU was started"
            seen.update(children(process.pid))
            time.sleep(0.02)
        time.sleep(2)
        for child in (found := children(process.pid)):
            os.kill(child, signal.SIGKILL)
        out, err = process.communicate(timeout=30)
    assert not any(Path(f"/proc/{child}").exists() for child in found)
    return process.returncode, out, err


def test_a_qemu_killed_in_mid_fuzz_is_one_line_and_leaves_nothing_but_the_figures() -> None:
    code, out, err = killed([sys.executable, "-m", "virtiomem", "device", "fuzz", "--requests", "1000000"])
    assert code == 1
    assert "  differences  0" in out
    assert err.startswith("virtiomem: QEMU ")
    assert err.count("\n") == 1


def test_a_qemu_killed_in_mid_check_fails_one_rule_and_the_others_get_another() -> None:
    command = [sys.executable, "-m", "virtiomem", "device", "check", "--qemu", "--json"]
    code, out, err = killed([*command, "--rule", "SOUND-17", "--rule", "PLUG"])  # SOUND-17 is 65536 requests
    assert (code, err) == (1, "")
    lost = [rule for rule in json.loads(out)["rules"] if rule["lost"]]
    assert len(lost) == 1
    assert lost[0]["seen"].startswith("the device was lost: QEMU ")
    assert lost[0]["reproducer"][-1].endswith(" → the device was lost")
