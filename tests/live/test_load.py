import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from virtiomem import recording
from virtiomem.errors import UsageError
from virtiomem.guest.base import DriverConfig
from virtiomem.live.capture import Capture, Section, dump, dumps
from virtiomem.live.captured_devices import devices_of
from virtiomem.live.load import from_recording, from_snapshot, memory_block_size, snapshot_of
from virtiomem.live.reading import load_any
from virtiomem.live.views import driver_config_of, memory_of
from virtiomem.recording.values import MemoryBlock, VirtioMemInfo
from virtiomem.units import GiB, MiB, Size

RECORDINGS = Path(__file__).parent.parent / "data/recordings"
LISTING = "00100000-3fffffff : System RAM\n"


@pytest.mark.parametrize("name", ["a-movable", "b-uneven-movable", "d-two-devices"])
def test_a_snapshot_survives_the_way_through_a_capture(name: str) -> None:
    for step in recording.load(RECORDINGS / name / "recording.json").steps:
        back = snapshot_of(from_snapshot(step.snapshot))
        assert back.iomem.rstrip("\n") == step.snapshot.iomem.rstrip("\n")
        assert back.zones == step.snapshot.zones
        assert [(one.block, one.state, one.valid_zones, one.nodes) for one in back.memory_blocks] == [
            (one.block, one.state, one.valid_zones, one.nodes) for one in step.snapshot.memory_blocks
        ]
        theirs = [device for device in step.snapshot.devices if isinstance(device, VirtioMemInfo)]
        ours = sorted((one for one in back.devices if isinstance(one, VirtioMemInfo)), key=lambda one: one.memaddr)
        assert [(one.memaddr, one.max_size, one.requested_size, one.size, one.block_size) for one in ours] == [
            (one.memaddr, one.max_size, one.requested_size, one.size, one.block_size) for one in theirs
        ]


def test_a_file_is_read_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.iomem").write_text(LISTING)
    assert load_any(tmp_path / "a.iomem").iomem == LISTING
    dump(Capture({"proc/iomem": Section(LISTING)}), tmp_path / "a.capture.gz")
    assert load_any(tmp_path / "a.capture.gz").iomem == LISTING
    taken = load_any(RECORDINGS / "a-movable/recording.json")
    assert devices_of(taken)[0].region is not None


def test_a_listing_stays_as_it_is_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "a.iomem").write_bytes(b"damaged \xff\r\n\x85 no newline")
    loaded = load_any(tmp_path / "a.iomem", verb="iomem").section("proc/iomem").text
    assert loaded.encode("utf-8", "surrogateescape") == b"damaged \xff\r\n\x85 no newline"


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin: Any = type("Stdin", (), {"buffer": io.BytesIO(dumps(Capture({"proc/iomem": Section(LISTING)})).encode())})
    monkeypatch.setattr("sys.stdin", stdin)
    loaded = load_any("-")
    assert (loaded.iomem, loaded.source) == (LISTING, "standard input")


def test_what_is_neither_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": "something"}')
    with pytest.raises(UsageError, match=r'x.json: not a recording: format "something" is not'):
        load_any(tmp_path / "x.json")
    with pytest.raises(UsageError, match="No such file"):
        load_any(tmp_path / "nothing")


def test_the_scenario_in_a_recording_tells_how_the_driver_was_loaded(tmp_path: Path) -> None:
    loaded = json.loads((RECORDINGS / "a-movable/recording.json").read_text())
    loaded["scenario"] = {
        "guest": {"memory-block-size": "1G"},
        "driver": {"force-bbm": True, "bbm-block-size": 1 << 31, "unplug-online": False, "bbm-safe-unplug": False},
    }
    (tmp_path / "r.json").write_text(json.dumps(loaded))
    capture = load_any(tmp_path / "r.json")
    assert memory_of(capture).block_size == GiB
    assert driver_config_of(capture) == DriverConfig(
        unplug_online=False, force_bbm=True, bbm_block_size=Size(2 * GiB), bbm_safe_unplug=False
    )
    loaded["scenario"] = {"guest": {"memory-block-size": "many"}, "driver": 3}
    (tmp_path / "r.json").write_text(json.dumps(loaded))
    assert memory_of(load_any(tmp_path / "r.json")).block_size == 128 * MiB


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*/recording.json")), ids=lambda path: path.parent.name)
def test_block_size_is_found_from_the_boot_listing(path: Path) -> None:
    told = replace(recording.load(path), scenario=UNSET)
    large = "-107fffffff : System RAM" in told.boot.iomem  # 64G and more
    assert memory_block_size(told) == (2 * GiB if large else 128 * MiB)
    assert memory_of(from_recording(told)).block_size == memory_block_size(told)


def test_a_listing_that_cannot_be_read_leaves_the_usual_block_size() -> None:
    told = recording.load(RECORDINGS / "a-movable/recording.json")
    blocks = [MemoryBlock(block=n, state="online", valid_zones="Normal", nodes=[0]) for n in (0, 2)]
    assert memory_block_size(replace(told, boot=replace(told.boot, memory_blocks=blocks))) == 2 * GiB
    assert memory_block_size(replace(told, boot=replace(told.boot, iomem="damaged"))) == 128 * MiB


def test_what_nothing_tells_is_taken_for_what_a_quiet_device_has() -> None:
    capture = Capture(
        {
            "proc/iomem": Section("100000000-1ffffffff : virtio0\n  100000000-10fffffff : System RAM (virtio_mem)\n"),
            "sys/devices/system/memory": Section.of(["block_size_bytes 8000000", "32-33 online 1 0 Movable"]),
        }
    )
    (device,) = snapshot_of(capture).devices
    assert device == VirtioMemInfo(
        *(),
        id="virtio0",
        memaddr=4 * GiB,
        max_size=4 * GiB,
        requested_size=256 * MiB,
        size=256 * MiB,
        block_size=2 * MiB,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("root:x:0:0:root:/root:/bin/bash\n", "is a text of no kind that is read; --from KIND says what it is"),
        ("[guest]\nmemory = '4G'\n", "is a scenario; `virtiomem run` plays it"),
        (
            "<domain type='kvm'></domain>\n",
            "is a libvirt domain: nothing of a capture in it; `virtiomem read` takes it",
        ),
    ],
)
def test_a_file_that_holds_nothing_of_a_capture_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(UsageError, match=re.escape(f"a {said}")):
        load_any(tmp_path / "a")
