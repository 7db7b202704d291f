from typing import Any

import pytest
from msgspec import UNSET, UnsetType

from virtiomem.recording import Recording, Snapshot

BOOT = Snapshot(iomem="", memory_blocks=[], zones={}, devices=[])


def recorded(scenario: dict[str, Any] | UnsetType) -> Recording:
    return Recording(guest={"kind": "embedded"}, boot=BOOT, steps=[], scenario=scenario)


def test_the_scenario_that_travels_along_is_told_by_its_title_and_tables() -> None:
    told = recorded({"title": "Grow", "guest": {"memory": "4G"}})
    assert (told.title, told.table("guest"), told.table("driver")) == ("Grow", {"memory": "4G"}, {})


@pytest.mark.parametrize("scenario", [UNSET, {}, {"title": None, "guest": None}, {"title": 3, "guest": ["x"]}])
def test_a_scenario_that_says_nothing_sensible_says_nothing(scenario: dict[str, Any] | UnsetType) -> None:
    told = recorded(scenario)
    assert (told.title, told.table("guest")) == ("", {})
