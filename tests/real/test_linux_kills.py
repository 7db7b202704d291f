"""Failures of a real guest: each is reported in one line with the right exit code, and no process stays behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import children, runs
from tests.waiting import PATIENCE, wait_until
from virtiomem.errors import BackendError, BackendTimeout
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.guest.linux import shell_agent as agent_module
from virtiomem.guest.linux.look import Look
from virtiomem.guest.linux.running import RunningLinux
from virtiomem.recording.values import Kexec, Load
from virtiomem.units import GiB, MiB, Size

pytestmark = pytest.mark.real

LONG = """
[guest]
memory = "3G"
default-state = "online_movable"
[[device]]
id = "vm0"
max-size = "64G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "64G"
[[step]]
do = "wait"
seconds = 600
"""


def heed_interrupts() -> None:
    """A shell's background job is started deaf to SIGINT, and so is all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """`virtiomem run` on a long scenario, in the middle of growing a device."""

    def __init__(self, directory: Path, setup: Setup) -> None:
        scenario, console = directory / "long.toml", directory / "console"
        scenario.write_text(LONG)
        command = ["-m", "virtiomem", "run", str(scenario), "--guest", "linux", "--console", str(console)]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--accel", setup.accel],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads are running here
        )
        wait_until(
            lambda: (
                self.process.poll() is not None or (console.exists() and b"requested size: 0x1" in console.read_bytes())
            ),
            "the device grows",
        )
        (self.qemu,) = children(self.process.pid)

    def outcome(self) -> tuple[int, str]:
        """The exit code and what was said."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


@pytest.fixture
def running(tmp_path: Path, setup: Setup) -> Iterator[Run]:
    run = Run(tmp_path, setup)
    yield run
    run.process.kill()
    run.process.communicate()


def test_a_killed_qemu_is_reported_with_signal_and_step(running: Run) -> None:
    os.kill(running.qemu, signal.SIGKILL)
    code, said = running.outcome()
    assert code == 1
    assert said.startswith("virtiomem: QEMU was killed by SIGKILL while playing resize")
    assert said.count("\n") == 1


def test_an_interrupt_takes_the_guest_along(running: Run) -> None:
    running.process.send_signal(signal.SIGINT)
    code, said = running.outcome()
    assert (code, said.count("\n")) == (130, 1)
    assert said.startswith("virtiomem: interrupted: step ")
    assert not runs(running.qemu)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_our_own_death_takes_the_guest_along(running: Run, how: signal.Signals) -> None:
    running.process.send_signal(how)
    assert running.outcome()[0] == -how
    wait_until(lambda: not runs(running.qemu), "the guest is still there")


def run_once(tmp_path: Path, setup: Setup, *options: str, memory: str = "512M") -> tuple[int, str]:
    """Run a short scenario and give the exit code and what was said."""
    path = tmp_path / "short.toml"
    path.write_text(f'[guest]\nmemory = "{memory}"\n[[device]]\nid = "vm0"\nmax-size = "1G"\n[[step]]\ndo = "load"\n')
    command = [sys.executable, "-m", "virtiomem", "run", str(path), "--guest", "linux", "--accel", setup.accel]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.returncode, done.stderr


def test_a_full_disk_is_reported_and_needed_only_for_what_was_asked_for(tmp_path: Path, setup: Setup) -> None:
    assert run_once(tmp_path, setup, "--console", "/dev/full") == (
        1,
        "virtiomem: /dev/full: No space left on device; the guest's console cannot be kept\n",
    )


def test_a_guest_leaves_no_file(tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setenv("HOME", "/nowhere")
    assert run_once(tmp_path, setup)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["short.toml"]


def test_a_kernel_that_panics_is_quoted(tmp_path: Path, setup: Setup) -> None:
    code, said = run_once(tmp_path, setup, "--append", "rdinit=/nothing")
    assert code == 1
    assert "the guest's kernel panicked while booting: " in said
    assert "Kernel panic - not syncing: " in said


def test_a_boot_that_takes_too_long_is_a_timeout(tmp_path: Path, setup: Setup) -> None:
    code, said = run_once(tmp_path, setup, "--timeout", "0.2")
    assert code == 124
    assert "the guest did not answer within 0.2 s while booting" in said


def test_the_least_memory_that_is_accepted_is_enough(tmp_path: Path, setup: Setup) -> None:
    assert run_once(tmp_path, setup, memory="192M") == (0, "")


def test_a_program_that_is_not_qemu_is_reported(tmp_path: Path, setup: Setup) -> None:
    assert run_once(tmp_path, setup, "--qemu", "/bin/false") == (
        1,
        "virtiomem: QEMU exited with code 1 while starting: /bin/false said nothing\n",
    )
    assert run_once(tmp_path, setup, "--qemu", "/no/qemu")[1] == (
        "virtiomem: /no/qemu: No such file or directory (Debian package qemu-system-x86 has qemu-system-x86_64)\n"
    )
    assert run_once(tmp_path, setup, "--busybox", "/bin/sh")[1].endswith("(Debian package busybox-static)\n")


@pytest.fixture
def linux(setup: Setup) -> Iterator[LinuxGuest]:
    device = DeviceConfig(id="vm0", max_size=Size(GiB))
    with LinuxGuest(GuestConfig(memory=Size(512 * MiB)), [device], setup=setup) as guest:
        yield guest


def test_a_crash_in_a_step_is_quoted(linux: LinuxGuest) -> None:
    with pytest.raises(
        BackendError, match=r"panicked while running .*Kernel panic - not syncing: sysrq triggered crash"
    ):
        linux.shell("echo c >/proc/sysrq-trigger")


def test_a_guest_that_hangs_is_a_timeout(linux: LinuxGuest) -> None:
    """It is quoted with the console's lines since the boot."""
    linux.shell("echo stuck in here >/dev/ttyS0")
    with pytest.raises(
        BackendTimeout, match=r"did not answer within 1 s while running .*; .*last lines: .*stuck in here$"
    ):
        linux.shell("while true; do sleep 60; done", timeout=1)


def test_a_step_that_never_comes_to_rest_is_quoted(linux: LinuxGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Look, "same_state", lambda *_: False)
    monkeypatch.setattr(RunningLinux, "timeout", 10)
    with pytest.raises(
        BackendTimeout, match=r"did not come to rest within 10 s .*; the console's last lines: .*virtio0"
    ):
        linux.play(Load())


def test_a_verb_that_is_killed_is_reported_with_what_the_console_said(linux: LinuxGuest) -> None:
    """As when the kernel kills it for lack of memory, and says so; but then it may kill the agent, too."""
    dying = "#!/bin/sh\\necho Out of memory: Killed process >/dev/ttyS0\\nkill -9 $$\\n"
    linux.shell(f"mkdir /sbin; printf '{dying}' >/sbin/kexec; /bin/busybox chmod +x /sbin/kexec")
    refused = linux.play(Kexec())
    assert refused.error is not None
    assert re.fullmatch("Killed; the console's last lines: .*Out of memory: Killed process", refused.error)


def test_a_flood_on_the_agents_line_is_cut_off(linux: LinuxGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "REPLY_LIMIT", 100_000)
    with pytest.raises(BackendError, match="sent more than 100000 bytes"):
        linux.shell("while true; do echo flood; done >&3")


def test_a_flood_on_the_console_is_read_along(linux: LinuxGuest) -> None:
    linux.shell("while true; do echo flood; done >/dev/ttyS0 2>/dev/null &")
    assert linux.play(Load()).error is None
