"""Parameters of a sweep, by their place in a scenario, and every combination of their values by its number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from virtiomem.errors import ScenarioError
from virtiomem.scenario.complaints import show
from virtiomem.text import nearest, quoted
from virtiomem.units import format_size, parse_size

Label = str | int | float | bool

TABLES = ("guest", "driver", "device", "step", "workload")
MAX_VALUES = 10_000
"""Of one parameter."""
_RANGE = {"from", "to", "by", "times"}


def label(value: Label) -> str:
    """A value of a parameter as its file writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a parameter: what it is called, and what it sets in a scenario's tables."""

    label: Label
    sets: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter and its values, in the order of the file."""

    name: str
    settings: tuple[Setting, ...]


def read(raw: dict[str, Any]) -> tuple[Parameter, ...]:
    """The parameters of a sweep file's table.

    Raises ScenarioError for an unknown place in a scenario, and for values that no key can have.
    """
    return tuple(_parameter(name, values) for name, values in _flat(raw, ""))


def _flat(raw: dict[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Name and values of each parameter; a dotted key without quotes is tables in tables."""
    for key, value in raw.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and not _is_range(value):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _is_range(value: dict[str, Any]) -> bool:
    return "from" in value and "to" in value and set(value) <= _RANGE


def _parameter(name: str, values: Any) -> Parameter:
    where = f"parameters.{name}"
    if isinstance(values, dict):
        values = _range(values, where)
    if not isinstance(values, list) or not values:
        raise ScenarioError(
            f"{show(values)} is not an array of values, or a range such as {{ from = 1, to = 8, by = 1 }}", where=where
        )
    if len(values) > MAX_VALUES:
        raise ScenarioError(f"{len(values)} values are more than {MAX_VALUES}", where=where)
    settings = tuple(_setting(name, value, where) for value in values)
    seen: set[Label] = set()
    for setting in settings:
        if setting.label in seen:
            raise ScenarioError(f"{show(setting.label)} is there twice", where=where)
        seen.add(setting.label)
    return Parameter(name, settings)


def _setting(name: str, value: Any, where: str) -> Setting:
    """One value: of the key that the parameter is named after, or a table with a name and several keys."""
    if isinstance(value, dict):
        label = value.get("name")
        if not isinstance(label, str) or not label:
            raise ScenarioError(f"{show(value)} has no name: give each choice one, in quotes", where=where)
        sets = tuple(_flat({key: inner for key, inner in value.items() if key != "name"}, ""))
        for path, _ in sets:
            _check_path(path, where)
        return Setting(label, sets)
    _check_path(name, where)
    if not isinstance(value, Label):
        raise ScenarioError(f"{show(value)} is not a value of a key", where=where)
    return Setting(value, ((name, value),))


def _check_path(path: str, where: str) -> None:
    """Refuse what cannot be the place of a key."""
    table, *rest = path.split(".")
    if table not in TABLES or not all(rest) or not rest:
        near = nearest(table, TABLES)
        raise ScenarioError(
            f"{quoted(path)} is not the place of a key, such as guest.memory, device.vm0.block-size or workload.scatter{near}; "
            "under a name of its own, each value is a table with a name and the keys that it sets",
            where=where,
        )


def _range(values: dict[str, Any], where: str) -> list[Label]:
    """The values from one to another: each more than the one before ``by`` that much, or that many ``times`` as large."""
    first, last = values["from"], values["to"]
    # A size is text in TOML, 128M; its range has sizes again, so that labels read as they were written.
    sizes = isinstance(first, str)
    if ("by" in values) == ("times" in values):
        raise ScenarioError("a range has either by or times", where=where)
    try:
        at, end = (parse_size(first), parse_size(last)) if sizes else (first, last)
        step: Any = values["times"] if "times" in values else values["by"]
        step = parse_size(step) if sizes and "by" in values else step
    except ValueError as error:
        raise ScenarioError(str(error), where=where) from None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (at, end, step)):
        raise ScenarioError(f"{show(values)} is not a range of numbers or sizes", where=where)
    if not at <= end or not (step > 1 and at > 0 if "times" in values else step > 0):
        raise ScenarioError(f"{show(values)} does not lead from one to the other", where=where)
    found: list[Label] = []
    value = at
    # One value more than is allowed is enough for the caller to refuse.
    while value <= end and len(found) <= MAX_VALUES:
        found.append(format_size(round(value)) if sizes else value)
        # From the first value each time: 0.1 added ten times is not 1.
        value = value * step if "times" in values else at + len(found) * step
    return found


@dataclass(frozen=True, slots=True)
class Grid:
    """Every combination of the parameters' values, numbered from 0; the last parameter changes first."""

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        """Number of combinations, however large."""
        return prod(len(parameter.settings) for parameter in self.parameters)

    def digits(self, point: int) -> list[int]:
        """Index of the value that a combination has of each parameter."""
        found: list[int] = []
        # A number with a digit for each parameter; divmod() gives the last digit first.
        for parameter in reversed(self.parameters):
            point, digit = divmod(point, len(parameter.settings))
            found.append(digit)
        return found[::-1]

    def settings(self, point: int) -> dict[str, Setting]:
        """A combination: the value of each parameter, by its name."""
        chosen = zip(self.parameters, self.digits(point), strict=True)
        return {parameter.name: parameter.settings[digit] for parameter, digit in chosen}

    def with_value(self, point: int, parameter: int, digit: int) -> int:
        """The combination that differs in the value of one parameter."""
        weight = prod(len(one.settings) for one in self.parameters[parameter + 1 :])
        return point + (digit - self.digits(point)[parameter]) * weight


def put(tables: dict[str, Any], path: str, value: Any) -> None:
    """Set a key of a scenario's tables: ``guest.memory``, ``device.block-size`` of all devices,
    ``device.vm0.block-size`` of one.

    Raises ScenarioError where there is no such table.
    """
    _put(tables, path.split("."), value, path)


def _put(at: Any, parts: Sequence[str], value: Any, path: str) -> None:
    head, *rest = parts
    if isinstance(at, list):
        named = [
            item
            for number, item in enumerate(at, 1)
            if head in (item.get("id"), item.get("name"), str(number)) and rest
        ]
        if not at or (rest and not named):
            there = ", ".join(str(item.get("id") or item.get("name") or n) for n, item in enumerate(at, 1)) or "none"
            raise ScenarioError(f"{quoted(path)}: there is no {quoted(head)} (there is {there})", where="parameters")
        # Without a name the key is every item's: all devices, all steps.
        for item in named or at:
            _put(item, rest if named else parts, value, path)
    elif not isinstance(at, dict):
        raise ScenarioError(f"{quoted(path)} is not the place of a key", where="parameters")
    elif rest:
        # A table that the file leaves out is made: a parameter may set the first key of it.
        _put(at.setdefault(head, {}), rest, value, path)
    else:
        at[head] = value
