import signal
from pathlib import Path

import pytest

from tests.processes import runs
from tests.waiting import wait_until
from virtiomem.errors import BackendError
from virtiomem.qemu import process as process_module
from virtiomem.qemu.process import MemoryFile, QemuProcess


def test_a_missing_program_is_named() -> None:
    with pytest.raises(
        BackendError, match=r"^/no/such/qemu: No such file or directory \(Debian package qemu-system-x86 has"
    ):
        QemuProcess([], binary="/no/such/qemu", sockets=["qmp"])


def test_a_missing_default_qemu_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="Debian package qemu-system-x86"):
        QemuProcess([])


def test_a_memory_file_reads_as_a_file_and_goes_when_closed() -> None:
    file = MemoryFile("initrd", b"07070100")
    path = Path(file.path)
    assert path.read_bytes() == b"07070100"
    file.close()
    file.close()
    assert not path.exists()


def test_death_is_reported_with_its_code_and_the_last_words() -> None:
    script = "import sys; sys.stderr.write('qemu-x: no accelerator found\\nvirtio_mem_unplugged_all \\n'); sys.exit(3)"
    with QemuProcess(["-c", script], binary="python3") as process:
        error = process.lost("booting")
        assert str(error) == "QEMU exited with code 3 while booting: no accelerator found"
        assert process.output.take() == ["qemu-x: no accelerator found", "virtio_mem_unplugged_all "]
        assert process.output.take() == []


def test_the_number_of_one_that_has_ended_is_kept_until_it_is_closed() -> None:
    with QemuProcess(["-c", "import sys; sys.exit(3)"], binary="python3") as process:
        assert process.wait(60) == 3
        assert process.returncode == 3
        assert "State:\tZ" in Path(f"/proc/{process.pid}/status").read_text()
    assert process.returncode == 3
    assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize(
    ("binary", "script", "words"),
    [
        ("true", "", "QEMU exited with code 0 while starting: true said nothing"),
        (
            "sh",
            "echo 'fw.so: cannot open' >&2; echo Try --help >&2; exit 127",
            "code 127 while starting: fw.so: cannot open",
        ),
        ("sh", "echo 'qemu-x: lost a packet' >&2; kill -KILL $$", "QEMU was killed by SIGKILL while starting"),
        (
            "sh",
            "echo 'qemu-x: Assertion failed' >&2; kill -ABRT $$",
            "killed by SIGABRT while starting: Assertion failed",
        ),
    ],
)
def test_what_is_said_at_the_end_is_reported_where_it_says_why(binary: str, script: str, words: str) -> None:
    with QemuProcess(["-c", script], binary=binary) as process:
        assert str(process.lost("starting")).endswith(words)


def test_a_script_that_waits_for_its_qemu_is_ended_with_it(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"sleep infinity & echo $! > {note}.new; mv {note}.new {note}; wait"
    with QemuProcess(["-c", script], binary="sh") as process:
        wait_until(note.exists, "the script has not started its QEMU")
    child = int(note.read_text())
    wait_until(lambda: not runs(child), f"process {child} is still there")
    process.close()
    assert process.returncode == -signal.SIGKILL


def test_a_program_that_writes_without_end_is_heard_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_MAX_OUTPUT", 1 << 20)
    with QemuProcess(["-c", f"exec yes 'qemu: {'x' * 4000}' >&2"], binary="sh") as process:
        wait_until(process.output.messages, "it wrote nothing")
        for _ in range(20):  # each of these waits for what was there, not for an end
            assert process.output.complaint()
        wait_until(lambda: process.output._overflow, "it is heard without end")
        with pytest.raises(BackendError, match=r"^QEMU wrote more than 1 MiB in one step$"):
            process.output.take()
