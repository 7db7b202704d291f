"""A simulated machine starts where its scenario says."""

import asyncio
import json
from pathlib import Path

import pytest

from virtiomem import scenario
from virtiomem.cli.main import main
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording.values import VirtioMemInfo
from virtiomem.units import GiB
from virtiomem.vm.doors.simulated import open_sim
from virtiomem.vm.model import Driver, Event

EXAMPLES = Path(__file__).parents[2] / "examples"
CAPTURE = f"""
[guest]
capture = "{EXAMPLES}/guest.capture"
[[device]]
id = "vm0"
max-size = "8G"
memaddr = "0x180000000"
"""
SETTLED = """
[[device]]
id = "vm0"
max-size = "2G"
[[step]]
do = "load"
"""
LISTING = "00001000-0009ffff : System RAM\n00100000-7fffffff : System RAM\n100000000-13fffffff : System RAM\n"


def test_recording_in_place_of_a_scenario_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[1] / "data/recordings/a-kernel/recording.json"
    assert main(["vm", "list", "-c", f"sim:{path}"]) == 2
    assert "recording.json is a recording, and not a scenario" in capsys.readouterr().err


def written(folder: Path, text: str) -> str:
    (folder / "guest.toml").write_text(text)
    return str(folder / "guest.toml")


def test_it_goes_on_where_a_capture_was_taken(tmp_path: Path) -> None:
    path = written(tmp_path, CAPTURE)
    sim = open_sim(path, label="sim:guest")
    (info,) = scenario.embedded_guest(scenario.load(path)).boot.devices
    assert isinstance(info, VirtioMemInfo)
    machine = asyncio.run(sim.look())
    assert [(one.size, one.requested_size) for one in machine.devices] == [(info.size, info.requested_size)]
    assert info.size > GiB
    assert asyncio.run(sim.hypervisor_info(machine)).drivers == {"vm0": Driver.READY}
    assert 3 * GiB < machine.boot_memory < 4 * GiB
    inside = sim.inside(())
    assert (len(inside.blocks) > 30, inside.auto_online_blocks) == (True, "online_movable")


def test_boot_memory_is_that_of_the_listing_it_starts_from(tmp_path: Path) -> None:
    (tmp_path / "boot.iomem").write_text(LISTING)
    sim = open_sim(written(tmp_path, '[guest]\niomem = "boot.iomem"\n'), label="sim:guest")
    assert asyncio.run(sim.look()).boot_memory == 3 * GiB - 0x60000 - 0x1000
    plain = open_sim(written(tmp_path, '[guest]\nmemory = "2G"\n'), label="sim:guest")
    assert asyncio.run(plain.look()).boot_memory == 2 * GiB


def test_the_command_shows_what_a_captured_guest_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", "status", "-c", f"sim:{written(tmp_path, CAPTURE)}", "--json"]) == 0
    (machine,) = json.loads(capsys.readouterr().out)["vms"]
    assert machine["devices"][0]["size"] > GiB


def test_a_resize_of_which_nothing_is_recorded_takes_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = open_sim(written(tmp_path, SETTLED), label="sim:guest")
    monkeypatch.delattr(EmbeddedGuest, "snapshot")
    asyncio.run(sim.set_requested_size("vm0", GiB))
    assert asyncio.run(sim.wait(1.0)) == {Event.SIZE}
    (device,) = asyncio.run(sim.look()).virtio_mem
    assert (device.size, device.settled) == (GiB, True)
