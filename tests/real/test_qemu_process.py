"""A real QEMU without a guest: its sockets, its output, and that it never outlives us."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import runs
from tests.waiting import wait_until
from virtiomem.errors import BackendError, DeviceError
from virtiomem.qemu import arguments
from virtiomem.qemu.process import QemuProcess
from virtiomem.qemu.qmp import QmpSession

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("qemu")]

IDLE = ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"]
WITH_QMP = [*IDLE, *arguments.MONITOR]


def test_qmp_answers_on_an_inherited_socket_and_refusals_are_in_qemus_words() -> None:
    with QemuProcess(WITH_QMP, sockets=["qmp"]) as process:
        qmp = QmpSession(process.sockets["qmp"])
        assert qmp.version()[0].isdigit()
        with pytest.raises(DeviceError, match="no-such-command"):
            qmp.execute("no-such-command")
        assert qmp.next_event("RESET", timeout=0) is None
        qmp.close()
        qmp.close()


def test_a_killed_qemu_is_reported_by_signal() -> None:
    with QemuProcess(WITH_QMP, sockets=["qmp"]) as process:
        qmp = QmpSession(process.sockets["qmp"])
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(BackendError):
            qmp.execute("query-version")
        assert str(process.lost("resizing")) == "QEMU was killed by SIGKILL while resizing"
        qmp.close()


def test_a_wrong_option_shows_as_qemus_last_words() -> None:
    with QemuProcess(["-machine", "no-such-machine"]) as process:
        assert "unsupported machine type" in str(process.lost("starting"))


def test_close_leaves_no_process() -> None:
    process = QemuProcess(WITH_QMP, sockets=["qmp"])
    process.close()
    process.close()
    assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_qemu_dies_with_its_starter(how: signal.Signals) -> None:
    script = (
        # a shell's background job is started deaf to SIGINT
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "from virtiomem.qemu.process import QemuProcess\n"
        f"p = QemuProcess({IDLE!r}); print(p.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.send_signal(how)
    wait_until(lambda: not runs(pid), f"process {pid} outlived its starter")
