"""Our driver, unchanged, on QEMU's own device: the same requests and answers as on ours, step by step."""

import re
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from msgspec import UNSET

from virtiomem.cli.main import main
from virtiomem.guest.base import DriverConfig, GuestConfig
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.guest.embedded.qemu_devices import guest_on_qemu
from virtiomem.recording import Recording
from virtiomem.recording.compare import compare
from virtiomem.scenario import Scenario, load, loads, play
from virtiomem.transport.qemu_device import QemuMachine

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.usefixtures("qemu")]

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
SCENARIOS = sorted(path.parent.name for path in RECORDINGS.glob("*/scenario.toml"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_driver_does_on_qemus_device_what_it_does_on_ours(name: str) -> None:
    scenario = load(RECORDINGS / name / "scenario.toml")
    assert compare(play(scenario, guest(scenario)), on_qemu(scenario)) is None


def guest(scenario: Scenario) -> EmbeddedGuest:
    return EmbeddedGuest(scenario.guest, scenario.driver, scenario.devices, scenario.boot_iomem)


def on_qemu(scenario: Scenario) -> Recording:
    with closing(guest_on_qemu(scenario.guest, scenario.driver, scenario.devices, scenario.boot_iomem)) as real:
        return play(scenario, real)


def test_what_a_real_device_took_part_in_says_which_and_when() -> None:
    scenario = loads('[[device]]\nid = "vm0"\nmax-size = "1G"\n')
    made, ours = on_qemu(scenario), play(scenario, guest(scenario))
    assert re.fullmatch(r"[0-9.]+", made.guest["qemu"])
    assert re.fullmatch(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]", str(made.recorded))
    assert ("qemu" in ours.guest, ours.recorded) == (False, UNSET)


def test_a_reboot_resets_the_machine_once_however_many_devices_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[QemuMachine] = []
    reset = QemuMachine.system_reset

    def counted(machine: QemuMachine) -> None:
        resets.append(machine)
        reset(machine)

    monkeypatch.setattr(QemuMachine, "system_reset", counted)
    devices = "".join(f'[[device]]\nid = "vm{number}"\nmax-size = "1G"\n' for number in range(3))
    steps = "".join(f'[[step]]\ndo = "{step}"\n' for step in ("load", "reboot", "load"))
    assert on_qemu(loads(devices + steps)).steps[-1].error is None
    assert len(resets) == 1


def test_a_guest_without_devices_ends_its_qemu_all_the_same() -> None:
    before = set(psutil.Process().children())  # zombies, too
    real = guest_on_qemu(GuestConfig(), DriverConfig(), [], loads("").boot_iomem)
    assert len(set(psutil.Process().children()) - before) == 1
    real.close()
    assert set(psutil.Process().children()) == before


def test_the_command_runs_a_scenario_on_qemus_device(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(RECORDINGS / "a-movable" / "scenario.toml")
    outputs = []
    for device in ("embedded", "qemu"):
        assert main(["run", path, "--device", device]) == 0
        outputs.append(capsys.readouterr().out.splitlines())
    assert outputs[1].pop(1) == outputs[0].pop(1).replace("Linux 6.1,", f"Linux 6.1, QEMU {version()},")
    assert outputs[0] == outputs[1]


def version() -> str:
    """QEMU's, as the machine says it."""
    with QemuMachine([]) as machine:
        return machine.version


def test_the_qemu_to_use_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(RECORDINGS / "a-movable" / "scenario.toml")
    assert main(["run", path, "--device", "qemu", "--qemu", "/nowhere/qemu"]) == 1
    assert "/nowhere/qemu" in capsys.readouterr().err


def test_a_scenario_that_qemu_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["run", str(RECORDINGS / "a-movable" / "scenario.toml"), "--device", "qemu"]) == 1
    assert capsys.readouterr().err == "virtiomem: qemu-system-x86_64: not found (Debian package qemu-system-x86)\n"
