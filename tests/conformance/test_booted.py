"""The suite by hands in a guest, whose VMM and guest are played: what is brought to it, what it does wrong."""

import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import runs
from tests.waiting import wait_until
from virtiomem.architecture import DEFAULT, named
from virtiomem.cli.main import main
from virtiomem.conformance.booted import BootTarget, CommandHook
from virtiomem.conformance.child import Child
from virtiomem.conformance.consoles import open_console, read_console
from virtiomem.conformance.fuzz import fuzz
from virtiomem.conformance.rules import selected
from virtiomem.conformance.suite import RuleOutcome, run
from virtiomem.conformance.vmm import BootedGuest, Vmm, read_command
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, UsageError
from virtiomem.guest import hands
from virtiomem.transport.hands import read_greeting
from virtiomem.transport.virtio_transport import DeviceSpec, Read

SCRIPT = Path(__file__).with_name("scripted_vmm.py")
SHAPED = " {size} {requested-size}"


def command(fault: str, more: str = "") -> str:
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(SCRIPT))} {fault} {{kernel}} {{initrd}} {{append}}{more}"


@pytest.fixture(autouse=True)
def in_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def target(fault: str = "none", more: str = SHAPED, seconds: float = 60.0) -> BootTarget:
    return BootTarget(Vmm(read_command(command(fault, more)), Path("/kernel"), b"program", seconds=seconds))


def test_rules_are_seen_by_hands_as_on_the_device_itself() -> None:
    played = target()
    try:
        report = run(played, selected(["PLUG", "UNPLUG", "STATE", "CFG-4"]))
    finally:
        played.close()
    outcomes = {verdict.rule.id: verdict.outcome for verdict in report.verdicts}
    assert (outcomes["PLUG-6"], outcomes["UNPLUG-4"], outcomes["PLUG-4"]) == ("pass", "pass", "fail")
    busy = [verdict.rule.id for verdict in report.verdicts if verdict.outcome is RuleOutcome.NOT_APPLICABLE]
    assert busy == ["PLUG-5", "UNPLUG-5"]


@pytest.mark.long
def test_random_moves_meet_no_difference_and_impossible_ones_are_left_out() -> None:
    played = target()
    figures = fuzz(played, seed=3, requests=400)
    played.close()
    assert (figures.findings, figures.moves["Qmp"], figures.moves["MigrateStart"], figures.moves["SystemReset"]) == (
        [], 0, 0, 0,
    )  # fmt: skip
    assert figures.requests >= 400


@pytest.mark.long
def test_a_command_without_placeholders_for_a_shape_makes_one_device() -> None:
    played = target(more="")
    with (
        pytest.raises(DeviceError, match="the command makes size = 1G, not 2G"),
        played.open(DeviceSpec("vm0", 2 << 30)),
    ):
        pass
    with played.open(DeviceSpec("vm0", 1 << 30, requested_size=1 << 29)) as device:
        assert device.owner.requested_size() == 1 << 29
    figures = fuzz(played, seed=1, requests=50)
    played.close()
    assert not figures.findings


def test_a_device_that_lies_is_found_out() -> None:
    played = target("liar")
    report = run(played, selected(["PLUG-3"]))
    played.close()
    assert [verdict.outcome for verdict in report.verdicts] == ["fail"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("refuse", r"does not start: vmm: 'size' is not what I like$"),
        ("die", r"exited with code 3 while booting its guest: vmm: out of ideas$"),
        pytest.param(
            "hang",
            r"^no word from the hands in the guest within 2 s: its console said last .*Linux version",
            marks=pytest.mark.long,
        ),
        ("panic", r"^Linux in the guest panicked: .*Unable to mount root fs$"),
        ("blind", r"^Linux in the guest sees no virtio-mem device, neither on PCI \(1af4:1058\) nor memory-mapped$"),
        ("unable", r"^the hands in the guest cannot work: 'no huge page is free: the guest needs more memory'$"),
        ("nonsense", r"which cannot be read at 'ring=here'$"),
    ],
)
def test_a_vmm_that_does_not_get_there_is_one_clear_line(fault: str, message: str) -> None:
    with pytest.raises(BackendError, match=message) as caught:
        target(fault, seconds=2.0 if fault == "hang" else 60.0)
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    ("fault", "message"),
    [("late-die", "exited with code 4"), ("late-garbage", r"said '\\x1b\[31mOops")],
)
def test_a_vmm_that_breaks_later_fails_the_rule(fault: str, message: str) -> None:
    played = target(fault)
    report = run(played, selected(["PLUG-6"]))
    played.close()
    (verdict,) = report.verdicts
    assert verdict.outcome == "fail"
    assert message.replace("\\", "") in verdict.seen.replace("\\", "")


def test_the_vmm_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = tmp_path / "vmm.sh"
    script.write_text(f'#!/bin/sh\nsleep 3600 &\necho $$ $! >{pids}\n{command("none").split(" {")[0]} "$@"\n')
    script.chmod(0o755)
    played = BootTarget(Vmm(read_command(f"{script} {{kernel}} {{initrd}} {{append}}"), Path("/kernel"), b"program"))
    played.close()
    started = [int(pid) for pid in pids.read_text().split()]
    wait_until(lambda: not any(map(runs, started)), f"one of {started} lives on")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--boot: an empty command"),
        ("'", "--boot: .*No closing quotation"),
        ("vmm {kernel} {append}", r"--boot: \{initrd\} must stand where the command takes it"),
        ("vmm {kernel} {initrd} {append} {colour}", r"--boot: \{colour\} is not a placeholder \(there are \{kernel\}"),
    ],
)
def test_a_command_that_cannot_boot_what_we_bring_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_command(text)


def test_words_are_filled_in_whole() -> None:
    vmm = Vmm(read_command("vmm -k{kernel} '{initrd}' {append} {\"a\":1} {size}"), Path("/a b"), b"", append="x=1")
    words = vmm.words(DeviceSpec("vm0", 1 << 30), Path("/i"))
    assert words[:3] == ["vmm", "-k/a b", "/i"]
    assert words[3].endswith("iomem=relaxed rdinit=/init x=1")
    assert words[4:] == ['{"a":1}'.replace('"', ""), str(1 << 30)]


def test_a_hook_command_sets_the_size_and_its_failure_is_a_refusal(tmp_path: Path) -> None:
    kept = tmp_path / "size"
    CommandHook(f"sh -c 'echo {{size}} >{kept}'").set_requested_size(4096)
    assert kept.read_text() == "4096\n"
    with pytest.raises(DeviceError, match=r"^too much$"):
        CommandHook("sh -c 'echo too much >&2; exit 1 # {size}'").set_requested_size(1)
    with pytest.raises(BackendError, match="--resize-command: /nonexistent: No such file or directory"):
        CommandHook("/nonexistent {size}").set_requested_size(1)
    with pytest.raises(UsageError, match=r"\{size\} must stand"):
        CommandHook("true")


def test_a_terminal_device_is_a_console() -> None:
    ours, theirs = os.openpty()
    console = open_console(*read_console(f"pty:{os.ttyname(theirs)}"))
    console.settimeout(0.01)
    with pytest.raises(TimeoutError):
        console.recv(10)
    os.write(ours, b"hello\r\n")
    console.settimeout(10)
    assert console.recv(100) == b"hello\r\n"
    console.sendall(b"x" * 100)
    assert os.read(ours, 200) == b"x" * 100
    console.close()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("text", ["", "unix:", "tcp:1", "pty"])
def test_a_console_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not unix:PATH or pty:PATH"):
        read_console(text)


def test_a_greeting_is_read() -> None:
    found = read_greeting(
        "virtiomem-hands 1 ring=0x1000+0x2000 pci=0000:01:00.0@0x0,0x1,0x0,0x0,0xfe000000,0x0 mmio=0xd0"
    )
    assert found.ring == Read(0x1000, 0x2000)
    assert found.functions == (("0000:01:00.0", (0, 1, 0, 0, 0xFE000000, 0)),)
    assert found.register_files == (0xD0,)


@pytest.fixture
def booting(tmp_path: Path) -> list[str]:
    program, kernel = tmp_path / "hands", tmp_path / "vmlinuz"
    program.write_bytes(b"program")
    kernel.write_bytes(b"\x7fELF" + bytes(14) + b"\x3e\0")
    return ["--kernel", str(kernel), "--hands", str(program)]


def test_the_command_says_what_it_cannot_boot(booting: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--boot", command("blind"), *booting]) == 1
    assert capsys.readouterr().err.endswith("neither on PCI (1af4:1058) nor memory-mapped\n")
    assert main(["device", "check", "--boot", "vmm {kernel}", *booting]) == 2
    assert "{initrd} must stand where the command takes it" in capsys.readouterr().err


def test_the_command_checks_by_hands(booting: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--boot", command("none"), *booting, "--rule", "PLUG-6", "--json"]) == 0
    assert [rule["outcome"] for rule in json.loads(capsys.readouterr().out)["rules"]] == ["pass"]


@pytest.mark.parametrize("option", [["--kernel", "6.1"], ["--append", "x"], ["--boot-timeout", "5"], ["-c", "qmp:/x"]])
def test_an_option_for_booting_is_refused_where_nothing_boots(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["device", "check", *option]) == 2
    assert capsys.readouterr().err.endswith("is for --boot\n")


def test_vmm_whose_device_cannot_be_read_at_first_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[BootedGuest] = []

    def breaks(_: BootTarget, guest: BootedGuest) -> DeviceSpec:
        seen.append(guest)
        raise BackendError("no configuration")

    monkeypatch.setattr(BootTarget, "_seen", breaks)
    with pytest.raises(BackendError, match="no configuration"):
        target()
    assert not seen[0].running


def test_child_that_has_ended_keeps_its_number_until_it_is_closed() -> None:
    child = Child(["true"], stdin=subprocess.DEVNULL, stdout=None)
    assert child.end(60) == "exited with code 0"
    assert Path(f"/proc/{child.process.pid}/stat").exists()
    child.close()
    assert not Path(f"/proc/{child.process.pid}/stat").exists()


def test_compiler_that_never_ends_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(hands, "_SECONDS", 0.01)
    with pytest.raises(BackendTimeout, match=r"cc: the program for the guest is not compiled after 0\.01 s"):
        hands.build(named(platform.machine()) or DEFAULT)
