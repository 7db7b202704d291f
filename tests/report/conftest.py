"""Recordings of a real Linux, by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from virtiomem import recording
from virtiomem.recording import Recording

DATA = Path(__file__).parents[1] / "data" / "recordings"


@pytest.fixture
def recorded() -> Callable[[str], Recording]:
    """The recording of a scenario, such as ``a-movable``."""
    return lambda name: recording.load(DATA / name / "recording.json")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `each_recorded` is run on every recording: on one of five always, on the others by `make long`."""
    if "each_recorded" in metafunc.fixturenames:
        names = sorted(path.parent.name for path in DATA.glob("*/recording.json"))
        assert len(names) >= 28
        marked = [pytest.param(name, marks=[pytest.mark.long] if at % 5 else ()) for at, name in enumerate(names)]
        metafunc.parametrize("each_recorded", marked, indirect=True)


@pytest.fixture
def each_recorded(request: pytest.FixtureRequest) -> Recording:
    """One recording after the other."""
    return recording.load(DATA / request.param / "recording.json")
