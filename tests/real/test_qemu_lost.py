"""QEMU killed in the middle of a command: exit code 1, what was found until then, no process left."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.processes import children
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("qemu")]

_AT_WORK = 0.4
"""Seconds of processor time that no QEMU takes to start, and that a case of the fuzzer takes more than."""


def killed(command: list[str]) -> tuple[int, str, str]:
    """Run a command, kill its QEMU when it has worked for a while, and see that none is left.

    The first QEMU only tells its version; processor time says that the second works, however busy this machine is.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        found = wait_until(lambda: children(process.pid, called="qemu", worked=_AT_WORK), "no QEMU was at work")
        for child in found:
            os.kill(child, signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
    assert not any(psutil.pid_exists(child) for child in found)
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
