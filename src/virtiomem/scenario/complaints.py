"""Describe a wrong shape of a scenario file in the file's own words: table, key, value, and what was expected."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

from virtiomem.errors import ScenarioError
from virtiomem.scenario.values import ScenarioFile
from virtiomem.text import closest

# Texts, which are compiled once there is something to complain about.
_MESSAGE = r"(?s)(?P<reason>.*?)(?: - at `\$\.?(?P<place>.*)`)?"
_KEY = r"(?s)Object (?P<fault>contains unknown|missing required) field `(?P<key>.*)`"
_KIND = r"(?s)Expected `(?P<kind>[^`]*)`, got .*"
_PART = r"([^.\[\]]+)|\[(\d+)\]"
_HEADER = r"\s*\[(?P<many>\[)?\s*(?P<name>[\w.-]+)\s*\]"
_ASSIGNED = r"""\s*["']?(?P<name>[\w-]+)["']?\s*="""
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
}


def explain(error: msgspec.ValidationError, raw: Any, kind: type = ScenarioFile) -> ScenarioError:
    """Msgspec's complaint about `raw`, which is no `kind`, as a ScenarioError that a writer of TOML understands."""
    match = re.fullmatch(_MESSAGE, str(error))
    assert match is not None, "the pattern takes any text"
    reason, place = match["reason"], match["place"] or ""
    value, expected = _look_up(place, raw, kind)
    if key := re.fullmatch(_KEY, reason):
        if key["fault"] == "missing required":
            return ScenarioError(f"{key['key']} is missing", where=place)
        return ScenarioError(_unknown(key["key"], expected), where=f"{place}.{key['key']}".lstrip("."))
    if wrong := re.fullmatch(_KIND, reason):
        wanted = wrong["kind"].removesuffix(" | null")
        hint = f"; write [[{place}]]" if wanted == "array" and isinstance(value, dict) else ""
        # In Python, true is an int.
        if wanted == "str" and isinstance(value, int | float) and not isinstance(value, bool):
            hint = "; write it in quotes"
        return ScenarioError(f"{show(value)} is not {_KINDS.get(wanted, wanted)}{hint}", where=place)
    if isinstance(expected, inspect.LiteralType):
        return ScenarioError(none_of(value, [str(word) for word in expected.values]), where=place)
    return ScenarioError(reason, where=place)


def line_of(place: str, text: bytes) -> int | None:
    """The line of a place such as ``step[0].state``, or of the table it would be in; None where that is not plain to see."""
    # A line inside a multi-line string can look like a table or a key: rather no line than a wrong one.
    if not place or b'"""' in text or b"'''" in text:
        return None
    lines: dict[str, int] = {}
    counts = Counter[str]()
    table = ""
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        if header := re.match(_HEADER, line):
            table = header["name"]
            if header["many"]:
                counts[table] += 1
                table += f"[{counts[table] - 1}]"
            lines.setdefault(table, number)
            # A fault of the whole array stands at its first table.
            lines.setdefault(header["name"], number)
        elif key := re.match(_ASSIGNED, line):
            lines.setdefault(f"{table}.{key['name']}".lstrip("."), number)
    # What is missing has no line, and inline tables have their keys on one: then the nearest thing around it is named.
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return lines.get(place)


def none_of(value: Any, words: Iterable[str]) -> str:
    """Describe a value that is not one of the allowed words; names the nearest first."""
    words = list(words)
    near = closest(str(value), words)
    return f"{show(value)} is not one of {', '.join(words)}{f'; did you mean {near}?' if near else ''}"


def show(value: Any) -> str:
    """A value as TOML writes it, near enough to be found, and never longer than a line can bear."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _unknown(key: str, expected: inspect.Type | None) -> str:
    """Describe a key that nothing reads."""
    known = [field.encode_name for field in expected.fields] if isinstance(expected, inspect.StructType) else []
    if isinstance(expected, inspect.StructType) and expected.tag_field:
        known.insert(0, expected.tag_field)
    near = closest(key, known)
    return f"unknown key, did you mean {near}?" if near else f"unknown key; the keys are {', '.join(known)}"


def _look_up(place: str, raw: Any, kind: type) -> tuple[Any, inspect.Type | None]:
    """The value at a place such as ``step[0].state`` and the type that was expected there."""
    expected: inspect.Type | None = inspect.type_info(kind)
    for name, index in re.findall(_PART, place):
        expected = _below(expected, name, raw)
        raw = raw[int(index)] if index else raw.get(name)
    return raw, _choose(expected, raw)


def _below(expected: inspect.Type | None, name: str, raw: Any) -> inspect.Type | None:
    """The type of a table's key, or of an array's item when `name` is empty."""
    if isinstance(expected, inspect.ListType):
        return expected.item_type
    # `do` chooses the kind of step, so it is no field of any: what may stand there are the tags of all kinds.
    if isinstance(expected, inspect.UnionType) and name == "do":
        tags = tuple(str(kind.tag) for kind in expected.types if isinstance(kind, inspect.StructType))
        return inspect.LiteralType(tags)
    expected = _choose(expected, raw)
    if isinstance(expected, inspect.StructType):
        return next((field.type for field in expected.fields if field.encode_name == name), None)
    return None


def _choose(expected: inspect.Type | None, raw: Any) -> inspect.Type | None:
    """Of the kinds of step, the one that `do` names; of what may be left out, what it is otherwise."""
    if not isinstance(expected, inspect.UnionType):
        return expected
    written = [kind for kind in expected.types if not isinstance(kind, inspect.NoneType)]
    if len(written) == 1:
        return written[0]
    kinds = [kind for kind in expected.types if isinstance(kind, inspect.StructType)]
    return next((kind for kind in kinds if isinstance(raw, dict) and kind.tag == raw.get("do")), None)
