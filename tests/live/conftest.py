import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from virtiomem import recording
from virtiomem.guest.base import DriverConfig
from virtiomem.live.capture import Capture
from virtiomem.live.load import from_snapshot
from virtiomem.recording.json_file import decode_size
from virtiomem.recording.values import Resize, Snapshot, StepRecord, VirtioMemInfo
from virtiomem.units import parse_size

RECORDINGS = Path(__file__).parent.parent / "data/recordings"


class Shrink(NamedTuple):
    """A real guest that was made smaller: before, after, by how much, and which device."""

    recording: str
    step: int
    before: Snapshot
    after: Snapshot
    memaddr: int
    size: int
    scenario: dict[str, Any]

    @property
    def capture(self) -> Capture:
        """The guest before the step, as a capture."""
        block_size = parse_size(self.scenario["guest"]["memory-block-size"])
        driver = msgspec.convert(self.scenario.get("driver", {}), DriverConfig, dec_hook=decode_size)
        return from_snapshot(self.before, block_size, driver)


def _sizes(snapshot: Snapshot) -> dict[str, VirtioMemInfo]:
    return {device.id: device for device in snapshot.devices if isinstance(device, VirtioMemInfo)}


def _shrinks() -> Iterator[Shrink]:
    """Every step of every recording that took memory away and took all that was asked."""
    for folder in sorted(RECORDINGS.iterdir()):
        if not folder.is_dir():
            continue
        loaded = recording.load(folder / "recording.json")
        scenario = tomllib.loads((folder / "scenario.toml").read_text())
        before = loaded.boot
        for index, step in enumerate(loaded.steps):
            if found := _shrink(folder.name, index, before, step, scenario):
                yield found
            before = step.snapshot


def _shrink(name: str, index: int, before: Snapshot, step: StepRecord, scenario: dict[str, Any]) -> Shrink | None:
    if not isinstance(step.step, Resize) or not step.settled or step.error is not None:
        return None
    device = _sizes(before)[step.step.device]
    size = device.size - _sizes(step.snapshot)[device.id].size
    return Shrink(name, index, before, step.snapshot, device.memaddr, size, scenario) if size > 0 else None


@pytest.fixture(scope="session")
def shrinks() -> list[Shrink]:
    """Every shrink that a real Linux was recorded doing."""
    return list(_shrinks())
