"""QEMU killed in the middle of a command: exit code 1, what was found until then, no process left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("qemu")]


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
        if b"qemu" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


_AT_WORK = 0.4
"""Seconds of processor time that no QEMU takes to start."""


def seconds_used(pid: int) -> float:
    """The processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def working(pid: int) -> list[int]:
    """The QEMUs of a process that have worked for a while: a case of the fuzzer may take no second of one."""
    return [child for child in children(pid) if seconds_used(child) > _AT_WORK]


def killed(command: list[str]) -> tuple[int, str, str]:
    """Run a command, kill its QEMU when it has worked for a while, and see that none is left.

    The first QEMU only tells its version; processor time says that the second works, however busy this machine is.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: working(process.pid), "no QEMU was at work")
        for child in (found := working(process.pid)):
            os.kill(child, signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
    assert not any(Path(f"/proc/{child}").exists() for child in found)
    return process.returncode, out, err


def test_a_qemu_killed_in_mid_fuzz_is_one_line_and_leaves_the_figures() -> None:
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
