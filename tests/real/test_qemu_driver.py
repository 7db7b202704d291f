"""Our driver, unchanged, on QEMU's own device: the same requests and answers as on ours, step by step."""

from pathlib import Path

import pytest

from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.guest.embedded.qemu import QemuDevices
from virtiomem.recording import Recording
from virtiomem.recording.compare import compare
from virtiomem.scenario import Scenario, load
from virtiomem.scenario.play import play

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
SCENARIOS = sorted(path.parent.name for path in RECORDINGS.glob("*/scenario.toml"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_driver_does_on_qemus_device_what_it_does_on_ours(name: str) -> None:
    scenario = load(RECORDINGS / name / "scenario.toml")
    assert compare(play(scenario, guest(scenario)), on_qemu(scenario)) is None


def guest(scenario: Scenario) -> EmbeddedGuest:
    return EmbeddedGuest(scenario.guest, scenario.driver, scenario.devices, scenario.boot_iomem)


def on_qemu(scenario: Scenario) -> Recording:
    devices = QemuDevices(scenario.guest, scenario.devices)
    real = EmbeddedGuest(
        scenario.guest, scenario.driver, scenario.devices, scenario.boot_iomem, device_factory=devices.factory
    )
    try:
        return play(scenario, real)
    finally:
        real.close()
        devices.close()
