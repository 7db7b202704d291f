from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from virtiomem import LiveLinux
from virtiomem.cli.main import main
from virtiomem.units import MiB

EXAMPLE = Path(__file__).parents[2] / "examples/guest.capture"
GUEST = Path(__file__).parents[1] / "data/recordings/d-two-devices/recording.json"


def values(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Read metrics with the library's own parser: by name, labels and values."""
    families = text_string_to_metric_families(text)
    return {family.name: [(one.labels, one.value) for one in family.samples] for family in families}


def test_sizes_of_every_device_are_gauges_and_its_blocks_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blocks", str(GUEST), "--metrics", "-"]) == 0
    told, linux = values(capsys.readouterr().out), LiveLinux.load(GUEST)
    assert [device.name for device in linux.devices] == ["virtio0", "virtio1"]
    for device in linux.devices:
        labels = {"device": device.name, "node": str(device.node)}
        assert (labels, device.requested_size) in told["virtiomem_requested_bytes"]
        assert (labels, device.size) in told["virtiomem_plugged_bytes"]
        assert (labels, device.added) in told["virtiomem_added_bytes"]
        counted = sum(count for of, count in told["virtiomem_memory_blocks"] if of["device"] == device.name)
        assert counted == sum(owner.device == device.name for owner in linux.owners.values())
    assert sum(count for _, count in told["virtiomem_memory_blocks"]) == len(linux.memory.blocks)
    assert told["virtiomem_memory_block_size_bytes"] == [({}, 128 * MiB)]


def test_size_that_nothing_tells_is_no_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert LiveLinux.load(EXAMPLE).devices[0].size is None
    assert main(["blocks", str(EXAMPLE), "--metrics", "-"]) == 0
    assert values(capsys.readouterr().out)["virtiomem_plugged_bytes"] == []


def test_devices_that_cannot_be_seen_are_said_to_be_unknown_and_the_file_is_written(
    make_sysfs: Any, block: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, file = make_sysfs([block(0), block(1, state="offline")]), tmp_path / "virtiomem.prom"
    assert main(["blocks", "-s", str(root), "--metrics", str(file)]) == 64
    assert "not all devices are known" in capsys.readouterr().err
    told = values(file.read_text())
    assert told["virtiomem_devices_known"] == [({}, 0)]
    assert sorted(of["state"] for of, _ in told["virtiomem_memory_blocks"]) == ["offline", "online"]
    assert {of["device"] for of, _ in told["virtiomem_memory_blocks"]} == {"unknown"}
    assert [*tmp_path.glob("*.prom")] == [file], "what is written meanwhile has a name that is not collected"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--metrics", "guest.capture"], "'guest.capture' does not end in .prom, as node_exporter reads it"),
        (["--metrics", "-", "-J"], "--json and --metrics exclude each other"),
        (["--metrics", "-", "--by", "2M"], "--by and --metrics exclude each other"),
        (["--metrics", "-", "-b"], "--bytes is for tables"),
        (["--metrics", "-", "-a"], "--all is for the table of memory blocks"),
        (["--metrics", "/nowhere/x.prom"], "/nowhere/x.prom: No such file or directory"),
    ],
)
def test_option_that_does_not_go_with_metrics_is_named(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(["blocks", str(EXAMPLE), *argv]) == 2
    assert said in capsys.readouterr().err
