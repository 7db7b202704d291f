"""A what-if that begins at a captured guest's real state."""

import json
from pathlib import Path

import pytest
from msgspec import UNSET, structs
from msgspec.structs import replace

from virtiomem import recording
from virtiomem.cli.main import main
from virtiomem.guest.base import DriverConfig, GuestConfig
from virtiomem.live.capture import Capture, Section, dump
from virtiomem.live.load import from_snapshot
from virtiomem.live.reading import load_any
from virtiomem.live.start import start_from
from virtiomem.releases.linux import LINUX
from virtiomem.units import Size

REAL = Path(__file__).parents[1] / "data" / "recordings" / "a-movable" / "recording.json"

SCENARIO = """
[guest]
capture = "guest.capture"
{guest}
[[device]]
id = "vm0"
max-size = "8G"
memaddr = "0x180000000"
[[step]]
do = "resize"
device = "vm0"
requested-size = "1G"
"""


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    real = recording.load(REAL)
    taken = from_snapshot(real.steps[0].snapshot)
    sections = dict(taken.sections)
    memory = sections["sys/devices/system/memory"]
    sections["sys/devices/system/memory"] = Section(memory.text + "auto_online_blocks online_movable\n")
    dump(Capture(sections, by=taken.by), tmp_path / "guest.capture")
    return tmp_path


def run(folder: Path, capsys: pytest.CaptureFixture[str], guest: str = "") -> recording.Recording:
    (folder / "what-if.toml").write_text(SCENARIO.format(guest=guest))
    assert main(["run", str(folder / "what-if.toml"), "--json"]) == 0
    return recording.loads(capsys.readouterr().out)


def test_capture_with_larger_pages_is_refused_by_the_embedded_guest(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = captured / "guest.capture"
    file.write_text(file.read_text().replace("\n\n", "\npage-size 65536\n\n", 1))
    (captured / "what-if.toml").write_text(SCENARIO.format(guest=""))
    assert main(["run", str(captured / "what-if.toml")]) == 2
    refusal = capsys.readouterr().err
    assert refusal.endswith("the embedded guest has pages of 4K, not of 64K\n")
    assert refusal.count("\n") == 1


def test_what_if_starts_where_the_capture_was_taken_and_goes_on_as_the_real_guest(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, real = run(captured, capsys), recording.load(REAL)
    assert real.steps[1].step == ours.steps[0].step
    assert ours.boot.iomem == real.steps[0].snapshot.iomem
    assert ours.steps[0].snapshot.iomem == real.steps[1].snapshot.iomem
    assert ours.steps[0].requests == real.steps[1].requests


def test_captured_settings_hold_unless_the_scenario_says_otherwise(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(captured, capsys).guest["command-line"] == "memhp_default_state=online_movable"
    other = run(captured, capsys, guest='default-state = "online_kernel"')
    assert other.guest["command-line"] == "memhp_default_state=online_kernel"


def test_the_driver_is_loaded_as_it_was_unless_the_scenario_says_otherwise() -> None:
    real = recording.load(REAL)
    loaded = DriverConfig(force_bbm=True, bbm_safe_unplug=False, unplug_online=False)
    taken = from_snapshot(real.steps[0].snapshot, driver=loaded)
    assert start_from(taken, GuestConfig(), DriverConfig())[1] == loaded
    other = DriverConfig(bbm_block_size=Size(1 << 30), merge_resources=False)
    assert start_from(taken, GuestConfig(), other)[1] == replace(
        loaded, bbm_block_size=Size(1 << 30), merge_resources=False
    )


def test_capture_without_a_map_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump(Capture({}, by="test"), tmp_path / "guest.capture")
    (tmp_path / "what-if.toml").write_text(SCENARIO.format(guest=""))
    assert main(["run", str(tmp_path / "what-if.toml")]) == 2
    assert json.dumps(capsys.readouterr().err).count("\\n") == 1


def test_what_if_plays_as_the_release_that_the_captured_guest_ran(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(captured, capsys).guest["kernel"] == LINUX.newest.name
    before = load_any(captured / "guest.capture")
    kernel = Section("osrelease 6.1.0-56-cloud-amd64\n")
    dump(Capture({**before.sections, "proc/sys/kernel": kernel}, by=before.by), captured / "guest.capture")
    assert run(captured, capsys).guest["kernel"] == "6.1"
    assert run(captured, capsys, 'kernel = "6.12"').guest["kernel"] == "6.12"


def with_lines(folder: Path, heading: str, *lines: str) -> None:
    """Put lines into a section of the capture."""
    taken = load_any(folder / "guest.capture")
    sections = dict(taken.sections)
    sections[heading] = Section.of([*taken.section(heading).lines, *lines])
    dump(Capture(sections, by=taken.by), folder / "guest.capture")


def test_what_if_plays_the_release_that_was_captured_and_says_what_it_assumes(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assumed = run(captured, capsys).guest
    assert (assumed["kernel"], assumed["kernel-assumed"]) == (LINUX.newest.name, True)
    assert main(["run", str(captured / "what-if.toml")]) == 0
    assert f"Linux {LINUX.newest.name} (assumed: the capture does not say)" in capsys.readouterr().out
    with_lines(captured, "proc/sys/kernel", "osrelease 6.1.0-57-cloud-amd64")
    told = run(captured, capsys).guest
    assert (told["kernel"], "kernel-assumed" in told) == ("6.1", False)
    assert run(captured, capsys, 'kernel = "6.12"').guest["kernel"] == "6.12"


def test_what_if_goes_on_with_the_builds_room_and_the_crash_header_that_were_captured(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_lines(captured, "proc/sys/kernel", "osrelease 6.12.1")
    with_lines(captured, "sys/kernel", "crash_elfcorehdr_size 5600")
    file = captured / "guest.capture"
    file.write_text(
        file.read_text().replace("  02000000-02826fff :", "  01f00000-01ffffff : Crash kernel\n   02000000-02826fff :")
    )
    with_lines(captured, "crash-header", "syscall kexec_file_load", "now 100000-1efffff")
    played = run(captured, capsys)
    assert played.guest["crash-elfcorehdr-size"] == 5600
    before, after = played.boot.crash_header, played.steps[0].snapshot.crash_header
    assert before is not UNSET
    assert after is not UNSET
    assert before.ranges == [(0x100000, 0x1EFFFFF)]
    assert after.ranges[-1] == (0x180000000, 0x1C7FFFFFF), "one removal behind"


def test_recording_goes_on_as_the_kernel_that_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, kernel in (("recordings", "6.1"), ("recordings-6.12", "6.12")):
        real = REAL.parents[2] / folder / "n-crash-kernel/recording.json"
        cut = recording.load(real)
        recording.dump(structs.replace(cut, steps=cut.steps[:3]), tmp_path / "guest.capture")
        played = run(tmp_path, capsys)
        header = played.steps[0].snapshot.crash_header
        assert played.guest["kernel"] == kernel
        assert header == cut.steps[3].snapshot.crash_header
