"""The embedded guest against what a real Linux 6.1 on QEMU 7.2 did (tests/data/recordings)."""

from pathlib import Path

import pytest

from virtiomem import recording, scenario
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording.compare import compare, not_compared

RECORDINGS = sorted((Path(__file__).parents[2] / "data" / "recordings").glob("*/recording.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_embedded_guest_does_what_linux_did(path: Path) -> None:
    played = scenario.load(path.with_name("scenario.toml"))
    real = recording.load(path)
    guest = EmbeddedGuest(played.guest, played.driver, played.devices, played.boot_iomem)
    records = []
    for step in real.steps:
        records.append(guest.play(step.step))
        guest.check()
    ours = recording.Recording(guest=guest.info, boot=guest.boot, steps=records)
    assert compare(ours, real) is None
    for mine, theirs in zip(ours.steps, real.steps, strict=True):
        assert mine.snapshot.iomem == theirs.snapshot.iomem or not_compared(real)
    assert not any(record.held_up and not record.held_up[0] for record in records)


def test_every_recording_is_tried() -> None:
    assert len(RECORDINGS) >= 45
