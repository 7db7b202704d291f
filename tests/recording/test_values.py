import pytest

from virtiomem.recording import MemoryBlock


@pytest.mark.parametrize(
    ("state", "zones", "online", "offline", "zone"),
    [
        ("online", "Movable", True, False, "Movable"),
        ("online", "none", True, False, None),
        ("online", "", True, False, None),
        ("going-offline", "Normal", True, False, "Normal"),
        ("offline", "Normal Movable", False, True, None),
        ("unknown", "Movable", False, False, None),
    ],
)
def test_a_block_is_in_its_zone_until_it_is_offline(
    state: str, zones: str, online: bool, offline: bool, zone: str | None
) -> None:
    block = MemoryBlock(block=32, state=state, valid_zones=zones, nodes=[0])
    assert (block.is_online, block.is_offline, block.zone) == (online, offline, zone)
    assert block.is_movable == (zone == "Movable")
