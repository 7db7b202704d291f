import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def walk() -> ModuleType:
    spec = importlib.util.spec_from_file_location("walk", Path(__file__).with_name("walk.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "seed", [*range(1000, 1003), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1003, 1010))]
)
def test_random_life_leaves_every_part_agreeing(walk: ModuleType, seed: int) -> None:
    life = walk.Walk(seed)
    steps = sum(1 for _ in life.steps(250))
    assert steps == 250
    assert life.counts["PLUG, ACK"] + life.counts["UNPLUG, ACK"] + life.counts["PLUG, BUSY"] > 0
