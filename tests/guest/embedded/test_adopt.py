"""A guest taken over in the middle of its life goes on as the real one went on."""

from pathlib import Path

import pytest

from virtiomem import recording, scenario
from virtiomem.errors import UsageError
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording.compare import compare

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"

HALFWAY = [
    ("a-movable", 2),
    ("a-offline", 3),
    ("a-patch-exact", 2),
    ("b-zigzag-movable", 9),
    ("c-bs256m", 3),
    ("d-two-devices", 4),
    ("e-manual-movable", 5),
    ("k-force-bbm", 3),
    ("k-unplug-online0", 3),
    ("nomerge-a-patch-exact", 2),
]


def halfway(name: str, step: int) -> tuple[EmbeddedGuest, recording.Recording]:
    """The guest after `step` steps of a recording, and the rest of that recording."""
    played = scenario.load(RECORDINGS / name / "scenario.toml")
    real = recording.load(RECORDINGS / name / "recording.json")
    boot = real.steps[step - 1].snapshot
    guest = EmbeddedGuest(played.guest, played.driver, played.devices, "", boot=boot)
    return guest, recording.Recording(guest=real.guest, boot=boot, steps=real.steps[step:])


@pytest.mark.parametrize(("name", "step"), HALFWAY)
def test_guest_taken_over_is_what_it_was(name: str, step: int) -> None:
    guest, rest = halfway(name, step)
    guest.check()
    assert guest.boot.iomem == rest.boot.iomem
    blocks = [(block.block, block.state, block.valid_zones, block.nodes) for block in guest.boot.memory_blocks]
    boot = {block.id for block in guest.kernel.memory.blocks.values() if block.boot}
    real = [(block.block, block.state, block.valid_zones, block.nodes) for block in rest.boot.memory_blocks]
    assert [block for block in blocks if block[0] not in boot] == [block for block in real if block[0] not in boot]


@pytest.mark.parametrize(("name", "step"), HALFWAY)
def test_guest_taken_over_goes_on_as_linux_did(name: str, step: int) -> None:
    guest, rest = halfway(name, step)
    records = [guest.play(record.step) for record in rest.steps]
    guest.check()
    assert compare(recording.Recording(guest=guest.info, boot=rest.boot, steps=records), rest) is None


def test_memory_of_a_device_that_is_not_named_is_refused() -> None:
    real = recording.load(RECORDINGS / "a-movable" / "recording.json")
    played = scenario.loads("[guest]\nmemory = '4G'\n")
    with pytest.raises(UsageError, match="virtio-mem memory at 0x180000000 that belongs to no device"):
        EmbeddedGuest(played.guest, played.driver, [], "", boot=real.steps[0].snapshot)
