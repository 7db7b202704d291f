"""How much a scenario may ask for."""

import re
from pathlib import Path

import pytest

from virtiomem import scenario
from virtiomem.errors import ScenarioError

DEVICE = '[[device]]\nid = "vm{}"\nmax-size = "{}"\n'
ROOM = '[guest]\nmax-memory = "200T"\naddress-bits = 48\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "".join(DEVICE.format(number, "2M") for number in range(31)),
            "device: 31 devices need more PCI slots than QEMU has, 30",
        ),
        (
            ROOM + DEVICE.format(0, "1P"),
            "device 1: max-size: 1P in all is more than any machine takes, 64T",
        ),
        (
            ROOM + DEVICE.format(0, "40T") + DEVICE.format(1, "40T"),
            "device 2: max-size: 80T in all is more than any machine takes, 64T",
        ),
        ('[[step]]\ndo = "unload"\n' * 10_001, "step: 10001 steps are more than 10000: split the scenario"),
        (
            f'[[step]]\ndo = "set-state"\nstate = "offline"\nblocks = {[0] * 65_537}',
            "step 1: blocks: 65537 blocks are more than 65536: take another step for the rest",
        ),
        (
            '[[step]]\ndo = "wait"\nseconds = 1e14',
            "step 1: seconds: 100000000000000.0 is not from 0 to 31536000, a year",
        ),
    ],
    ids=["devices", "device", "together", "steps", "blocks", "wait"],
)
def test_more_than_there_can_be_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario.loads(text)
    assert re.sub(r"^scenario(:\d+)?: ", "", str(refused.value)) == complaint


def test_as_much_as_there_can_be_is_taken() -> None:
    devices = "".join(DEVICE.format(number, "2M") for number in range(30))
    assert len(scenario.loads(ROOM + devices).devices) == 30
    assert scenario.loads('[[step]]\ndo = "wait"\nseconds = 31536000').steps


def test_listing_with_ram_up_to_the_last_address_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("00000000-ffffffffffffffff : System RAM\n")
    with pytest.raises(ScenarioError, match=r"guest\.iomem: 16E of System RAM is more than any machine takes, 64T$"):
        scenario.loads('[guest]\niomem = "map"\n', folder=tmp_path)


def test_waits_are_a_year_at_most_in_all() -> None:
    waits = '[[step]]\ndo = "wait"\nseconds = 2e7\n' * 2
    with pytest.raises(ScenarioError, match="step: the waits are more than 31536000 seconds in all, a year"):
        scenario.loads(waits)
