"""Whatever stands in a file: a scenario, or one line that says what is wrong. Never anything else."""

import copy
import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtiomem import scenario
from virtiomem.errors import ScenarioError
from virtiomem.scenario import toml_file
from virtiomem.scenario.values import ScenarioFile

EXAMPLES = Path(__file__).parents[2] / "examples"
REAL = [tomllib.loads(path.read_text()) for path in sorted(EXAMPLES.rglob("*.toml"))]

SIZES = st.sampled_from(["0", "1", "2M", "3M", "128M", "1G", "8G", "1T", "16E", "0x180000000", "-1", "1.5", "2.5M", ""])
VALUES = st.one_of(
    SIZES,
    st.integers(-(2**66), 2**66),
    st.integers(-2, 300),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
    st.just(dt.date(2020, 9, 10)),
    st.sampled_from(["load", "resize", "set-state", "online", "q35", "vm0", "virtio0", "ENOMEM", "0x0-0x7fffffff"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.sampled_from(["id", "memory", "do"]), st.integers(0, 2), max_size=2),
)


def places(table: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested tables and arrays."""
    inner = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """A real scenario in which a few things have been changed, taken away or misspelled."""
    raw: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from([place for place in places(raw) if place]))
        table: Any = raw
        for name in above:
            table = table[name]
        match draw(st.sampled_from(["change", "take", "misspell"])):
            case "change":
                table[key] = draw(VALUES)
            case "misspell" if isinstance(table, dict):
                table[f"{key}x"] = table.pop(key)
            case _:
                del table[key]
    return raw


def one_line(refused: ScenarioError) -> bool:
    """True for a complaint as it should be."""
    return bool(refused.reason) and "\n" not in str(refused)


@given(tables())
def test_tables_make_a_scenario_or_one_line(raw: dict[str, Any]) -> None:
    refused: ScenarioError | None = None
    try:
        made = toml_file.complete(toml_file.convert(raw, ScenarioFile), EXAMPLES / "worked-example")
    except ScenarioError as error:
        refused = error
    if refused is not None:
        assert one_line(refused)
        return
    assert [device.name for device in made.devices if device.memaddr is None] == []
    again = toml_file.convert(scenario.to_dict(made), ScenarioFile)
    assert (again.device, again.step, again.driver) == (made.devices, made.steps, made.driver)


@given(st.one_of(st.binary(max_size=60), st.text(alphabet='[]="\n #.abx0', max_size=40).map(str.encode)))
def test_bytes_make_a_scenario_or_one_line(text: bytes) -> None:
    refused: ScenarioError | None = None
    try:
        scenario.loads(text)
    except ScenarioError as error:
        refused = error
    assert refused is None or one_line(refused)
