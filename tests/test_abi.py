"""The words that a type has to spell out are the words of `abi`."""

from typing import get_args, get_type_hints

from virtiomem.abi import OnlinePolicy, OnlineType
from virtiomem.guest.base import GuestConfig
from virtiomem.recording.values import BlockStateWord


def test_states_of_a_scenario_are_those_of_linux() -> None:
    assert get_args(BlockStateWord) == tuple(OnlineType)


def test_policies_of_a_scenario_are_those_of_linux() -> None:
    assert get_args(get_type_hints(GuestConfig)["online_policy"]) == tuple(OnlinePolicy)
