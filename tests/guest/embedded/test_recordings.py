"""The embedded guest against what real Linuxes on QEMU 7.2 did (tests/data/recordings*), each as the release it was."""

from pathlib import Path

import pytest
from msgspec import structs

from virtiomem import recording, scenario
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording.compare import compare, not_compared
from virtiomem.scenario.play import Follower

RECORDINGS = sorted((Path(__file__).parents[2] / "data").glob("recordings*/*/recording.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_embedded_guest_does_what_linux_did(path: Path) -> None:
    real = recording.load(path)
    played = scenario.like(scenario.load(path.with_name("scenario.toml")), real.guest)
    real = structs.replace(real, scenario=scenario.to_dict(played))
    guest = EmbeddedGuest(played.guest, played.driver, played.devices, played.boot_iomem)
    follower, records = Follower(guest, real), []
    for step in real.steps:
        records.append(follower.play(step.step))
        guest.check()
    assert guest.info["kernel"] == ".".join(real.guest["kernel"].split(".")[:2])
    ours = recording.Recording(guest=guest.info, boot=guest.boot, steps=records)
    assert ours.architecture is played.guest.architecture is real.architecture
    assert compare(ours, real) is None
    for mine, theirs in zip(ours.steps, real.steps, strict=True):
        assert mine.snapshot.iomem == theirs.snapshot.iomem or not_compared(real)
    assert not any(record.held_up and not record.held_up[0] for record in records)


def test_every_recording_is_tried() -> None:
    assert len(RECORDINGS) >= 108
