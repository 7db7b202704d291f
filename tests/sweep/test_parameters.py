import pytest

from virtiomem.errors import ScenarioError
from virtiomem.sweep.parameters import Grid, put, read


def labels(raw: dict[str, object]) -> dict[str, list[object]]:
    return {one.name: [setting.label for setting in one.settings] for one in read(raw)}


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        ({"from": "1G", "to": "8G", "times": 2}, ["1G", "2G", "4G", "8G"]),
        ({"from": "1G", "to": "2G", "by": "512M"}, ["1G", "1536M", "2G"]),
        ({"from": 100, "to": 301, "by": 100}, [100, 200, 300]),
        ({"from": 0.0, "to": 0.3, "by": 0.1}, [0.0, 0.1, 0.2]),  # 0.1 three times is a little more than 0.3
        ({"from": 2, "to": 2, "by": 1}, [2]),
    ],
)
def test_range_is_the_values_from_one_to_another(range_: dict[str, object], expected: list[object]) -> None:
    assert labels({"guest.memory": range_}) == {"guest.memory": expected}


def test_dotted_keys_are_the_same_with_and_without_quotes() -> None:
    quoted = read({"guest.memory": ["1G"], "device.vm0.block-size": ["2M"]})
    assert read({"guest": {"memory": ["1G"]}, "device": {"vm0": {"block-size": ["2M"]}}}) == quoted


def test_choice_sets_several_keys_under_one_name() -> None:
    (policy,) = read({"policy": [{"name": "auto", "guest": {"default-state": "online", "auto-movable-ratio": 200}}]})
    assert policy.settings[0].label == "auto"
    assert policy.settings[0].sets == (("guest.default-state", "online"), ("guest.auto-movable-ratio", 200))


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"guset.memory": ["1G"]}, "'guset.memory' is not the place of a key, such as .*, did you mean 'guest'"),
        ({"memory": ["1G"]}, "'memory' is not the place of a key"),
        ({"guest.memory": []}, r"\[\] is not an array of values"),
        ({"guest.memory": "1G"}, "'1G' is not an array of values"),
        ({"guest.memory": [[1]]}, r"\[1\] is not a value of a key"),
        ({"guest.memory": ["1G", "1G"]}, "'1G' is there twice"),
        ({"policy": [{"guest": {"memory": "1G"}}]}, "has no name"),
        ({"policy": [{"name": "a", "gest": {"memory": "1G"}}]}, "'gest.memory' is not the place of a key"),
        ({"guest.memory": {"from": "8G", "to": "1G", "times": 2}}, "does not lead from one to the other"),
        ({"guest.memory": {"from": "1G", "to": "8G", "times": 1}}, "does not lead from one to the other"),
        ({"guest.memory": {"from": "1G", "to": "8G", "by": 0}}, "does not lead from one to the other"),
        ({"guest.memory": {"from": "1G", "to": "8G"}}, "either by or times"),
        ({"guest.memory": {"from": "1G", "to": "8 gigs", "by": "1G"}}, "not a size: '8 gigs'"),
        ({"guest.memory": {"from": 1, "to": 10**6, "by": 1}}, "values are more than 10000"),
        ({"guest.memory": {"from": 1, "to": "8G", "by": 1}}, "is not a range of numbers or sizes"),
    ],
)
def test_what_is_no_parameter_is_refused(raw: dict[str, object], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        read(raw)


def test_every_combination_has_a_number() -> None:
    grid = Grid(read({"guest.a": [1, 2], "guest.b": [1, 2, 3], "guest.c": [1, 2]}))
    found = [tuple(setting.label for setting in grid.settings(point).values()) for point in range(grid.size)]
    assert found == [(a, b, c) for a in (1, 2) for b in (1, 2, 3) for c in (1, 2)]
    assert grid.settings(grid.with_value(0, 1, 2))["guest.b"].label == 3


def test_key_is_set_on_one_device_or_on_all() -> None:
    tables: dict[str, object] = {"device": [{"id": "vm0"}, {"id": "vm1"}], "guest": {}}
    put(tables, "device.block-size", "4M")
    put(tables, "device.vm1.node", 1)
    put(tables, "device.1.max-size", "1G")
    put(tables, "driver.force-bbm", value=True)
    assert tables == {
        "device": [{"id": "vm0", "block-size": "4M", "max-size": "1G"}, {"id": "vm1", "block-size": "4M", "node": 1}],
        "guest": {},
        "driver": {"force-bbm": True},
    }


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("device.vm9.node", r"there is no 'vm9' \(there is vm0\)"),
        ("step.1.size", r"there is no '1' "),
        ("guest.memory.size", "is not the place of a key"),
    ],
)
def test_key_that_has_no_table_is_refused(path: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        put({"device": [{"id": "vm0"}], "step": [], "guest": {"memory": "1G"}}, path, 1)
