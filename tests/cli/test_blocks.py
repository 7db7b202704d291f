import json
import re
from pathlib import Path
from typing import Any

import pytest

from virtiomem import recording
from virtiomem.cli.main import main
from virtiomem.live.export import export_sysroot
from virtiomem.live.lsmem import COLUMNS, BlockColumn
from virtiomem.units import MiB

MASK = "00000000-00000000 :"
RECORDINGS = Path(__file__).parent.parent / "data/recordings"


@pytest.fixture
def guest(tmp_path: Path) -> str:
    """A real guest with 2054M plugged, the last block partly."""
    recorded = json.loads((RECORDINGS / "b-uneven-movable/recording.json").read_text())
    recorded["steps"] = recorded["steps"][:4]
    (tmp_path / "guest.json").write_text(json.dumps(recorded))
    return str(tmp_path / "guest.json")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["blocks", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_recording_shows_its_blocks_and_whose_they_are(guest: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, guest, "-n", "--summary=never", "-o", "block,zones,device")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        *(["0", "None"], ["1-15", "DMA32"], ["32-47", "Normal"], ["48-64", "Movable", "virtio0"]),
    ]


def test_a_new_column_is_one_entry(
    guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has to be read for it, and that it keeps blocks apart, follows from the entry."""
    export_sysroot(recording.load(guest).steps[-1].snapshot, 128 * MiB, tmp_path / "sysroot")
    column = BlockColumn("OWNER", lambda shown: shown.row.device, needs="devices", splits=lambda _, owner: owner.device)
    monkeypatch.setitem(COLUMNS, "OWNER", column)
    code, out, _ = run(capsys, "-s", str(tmp_path / "sysroot"), "-n", "--summary=never", "-o", "block,owner")
    assert (code, [line.split() for line in out.splitlines()]) == (0, [["0-15"], ["32-47"], ["48-64", "virtio0"]])


def test_unknown_properties_of_devices_are_left_out(guest: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, guest, "--devices")
    assert out.splitlines()[1].split() == [
        *("virtio0", "0x180000000-0x37fffffff", "0", "8G", "2M", "2054M", "2054M", "2176M", "48-64"),
    ]
    _, out, _ = run(capsys, guest, "--devices", "--json")
    (device,) = json.loads(out)["virtio-mem"]
    assert (device["size"], device["memory-blocks"][0]["plugged"]) == (2054 << 20, None)


def test_a_shrink_names_the_blocks_that_go(guest: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, guest, "--by", "262M")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["64", "63", "62"]
    assert "virtio0 shrinks by 262M: 3 blocks go offline, 3 are removed, 0 stay with less" in out
    code, out, _ = run(capsys, guest, "--by", "262M", "--json")
    assert [block["taken"] >> 20 for block in json.loads(out)["memory-blocks"]] == [6, 128, 128]


def test_the_plan_and_a_guest_that_starts_from_the_capture_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = Path(__file__).parents[2] / "examples/guest.capture"
    _, out, _ = run(capsys, str(capture), "--by", "512M", "--json")
    planned = {block["block"] for block in json.loads(out)["memory-blocks"] if block["removed"]}
    (tmp_path / "whatif.toml").write_text(
        f'[guest]\ncapture = "{capture}"\n[[device]]\nid = "vm0"\nmax-size = "8G"\nmemaddr = "0x180000000"\n'
        '[[step]]\ndo = "resize"\ndevice = "vm0"\nrequested-size = "1030M"\n'
    )
    assert main(["run", str(tmp_path / "whatif.toml"), "--record", str(tmp_path / "played.json")]) == 0
    played = recording.load(tmp_path / "played.json")
    before, after = ({block.block for block in one.memory_blocks} for one in (played.boot, played.steps[0].snapshot))
    assert planned == before - after == {52, 58, 59, 60}


def test_a_device_that_cannot_shrink_by_as_much_is_partly_done(guest: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, guest, "--by", "4G")
    assert (code, "2042M short" in out) == (64, True)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--by", "lots"], "--by: not a size: 'lots'"),
        (["--by", "3M"], "multiples of its block size 2M"),
        (
            ["--by", "2M", "--device", "virtio7"],
            "no 'virtio7', did you mean 'virtio0'? (virtio-mem devices here: virtio0)",
        ),
        (["-o", "NonSense"], "no column 'NonSense'"),
        (["-s", "/mnt"], "--sysroot /mnt: cannot be read together with"),
        (["-a", "-S", "node"], "--all and --split exclude each other"),
        (["-J", "--summary=only"], "exclude each other"),
        (["-J", "-P"], "not allowed with"),
        (["--summary=often"], "'often' is not one of"),
    ],
)
def test_a_wrong_option_is_named(guest: str, capsys: pytest.CaptureFixture[str], argv: list[str], reason: str) -> None:
    code, _, err = run(capsys, guest, *argv)
    assert (code, err.count("\n")) == (2, 1)
    assert reason in err


def test_several_devices_want_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    two = str(RECORDINGS / "d-two-devices/recording.json")
    code, _, err = run(capsys, two, "--by", "2M")
    assert (code, "which device shrinks: there are several (virtio-mem devices here: virtio0, virtio1)" in err) == (
        2,
        True,
    )


def test_a_file_without_blocks_and_a_machine_without_devices_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_sysfs: Any, block: Any
) -> None:
    (tmp_path / "a.iomem").write_text("00100000-3fffffff : System RAM\n")
    code, _, err = run(capsys, str(tmp_path / "a.iomem"))
    assert (code, "a.iomem is a listing of /proc/iomem: no memory blocks in it; `virtiomem iomem`" in err) == (2, True)
    root = str(make_sysfs([block(0)]))
    code, out, _ = run(capsys, "-s", root, "--devices")
    assert (code, out) == (64, "no virtio-mem devices\n"), "neither the bus nor the map was there to tell"
    (Path(root) / "sys/bus/virtio/devices").mkdir(parents=True)
    assert run(capsys, "-s", root, "--devices")[::2] == (0, "")
    code, _, err = run(capsys, "-s", root, "--by", "1G")
    assert (code, err) == (2, "virtiomem: there is no virtio-mem device here that could shrink\n")


def test_devices_that_a_masked_map_hides_are_not_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (Path(__file__).parents[2] / "examples/guest.capture").read_text().splitlines()
    kept = "\n".join(line for line in lines if not line.startswith(" virtio_mem virtio0: start address"))
    (tmp_path / "guest.capture").write_text(
        re.sub(r"(?m)^( +)[0-9a-f]{8,}-[0-9a-f]{8,} :", r"\g<1>" + MASK, kept) + "\n"
    )
    assert run(capsys, str(tmp_path / "guest.capture"))[::2] == (0, ""), "lsmem's columns need no map"
    for option in (["--devices"], ["--devices", "-J"], ["-o", "block,device"], ["-o", "block", "-S", "plugged"]):
        code, _, err = run(capsys, str(tmp_path / "guest.capture"), *option)
        assert (code, "not all devices are known (read it as root)" in err) == (64, True), option
    code, _, err = run(capsys, str(tmp_path / "guest.capture"), "--by", "2M")
    assert (code, "no addresses in it, so no device is known" in err) == (2, True)
