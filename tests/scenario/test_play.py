from pathlib import Path

import pytest

from virtiomem import scenario
from virtiomem.errors import UsageError
from virtiomem.live.load import load_any, snapshot_of
from virtiomem.recording.values import VirtioMemInfo

EXAMPLES = Path(__file__).parents[2] / "examples"
WHAT_IF = """
[guest]
capture = "guest.capture"
[[device]]
id = "vm0"
max-size = "8G"
memaddr = "0x180000000"
"""


def test_a_scenario_with_a_capture_starts_where_it_was_taken() -> None:
    captured = snapshot_of(load_any(EXAMPLES / "guest.capture"))
    boot = scenario.embedded_guest(scenario.loads(WHAT_IF, folder=EXAMPLES)).boot
    assert boot.iomem == captured.iomem
    assert [block.block for block in boot.memory_blocks] == [block.block for block in captured.memory_blocks]
    (device,), (known,) = boot.devices, captured.devices
    assert isinstance(device, VirtioMemInfo)
    assert isinstance(known, VirtioMemInfo)
    assert device.size == device.requested_size == known.requested_size > 0


def test_a_capture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"guest.capture: No such file"):
        scenario.embedded_guest(scenario.loads(WHAT_IF, folder=tmp_path))
