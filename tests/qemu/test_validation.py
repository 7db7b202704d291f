"""What comes over the border fits its shape, or is one line that says which field does not, and what it holds."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from virtiomem.qemu import validation
from virtiomem.qemu.memory_devices import MemoryDevice
from virtiomem.qemu.shapes import Version
from virtiomem.qemu.validation import FLAG, NAME, NUMBER, OBJECT, STRING, TEXT, Name, Number, Text
from virtiomem.units import U64_MAX

DIGIT: validation.ValueKind[int] = validation.ValueKind("a digit", lambda value: value in range(10))


class Inner(Struct, rename="kebab"):
    how_many: Number = 7
    word: Text | None = None


class Outer(Struct):
    name: Name
    inner: list[Inner]
    small: Annotated[int, DIGIT] = 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (5, "it is 5, not an object"),
        ("\ud800", r"it is '\ud800', not an object"),
        ({}, "it is {}, not an object with name"),
        ({"name": "", "inner": []}, "name is '', not a name (1 to 255 characters that can be printed, no slash)"),
        ({"name": "a", "inner": "x"}, "inner is 'x', not a list"),
        ({"name": "a", "inner": [{}, 5]}, "inner[1] is 5, not an object"),
        ({"name": "a", "inner": [{"how-many": -1}]}, "inner[0].how-many is -1, not a number from 0 to 2^64-1"),
        ({"name": "a", "inner": [{"word": "\x1b"}]}, r"inner[0].word is '\x1b', not text that can be printed"),
        ({"name": "a", "inner": [], "small": 10}, "small is 10, not a digit"),
    ],
)
def test_unsound_answer_is_named_with_field_and_value(answer: object, words: str) -> None:
    with pytest.raises(validation.Unsound) as unsound:
        validation.read(answer, Outer)
    assert str(unsound.value) == words


def test_sound_answer_is_read_and_what_was_not_asked_for_is_left_alone() -> None:
    found = validation.read({"name": "a", "inner": [{"how-many": 1, "word": None}, {}], "\ud800": "\ud800"}, Outer)
    assert found == Outer("a", [Inner(1, None), Inner(7, None)], 0)


@pytest.mark.parametrize(
    ("kind", "sound", "unsound"),
    [
        (NUMBER, [0, U64_MAX], [-1, U64_MAX + 1, 1.0, True, None, "1", [], float("inf")]),
        (FLAG, [True, False], [0, 1, None, "true"]),
        (STRING, ["", "\ud800"], [None, 1, b"x"]),
        (TEXT, ["", "a b", "\u00e9"], ["\n", "\x9b", "\u202e", "\u2028", "\ud800", 1, None]),
        (NAME, ["a", "device[0]", "x" * 255], ["", "x" * 256, "a/b", "\u202e", "\ud800", 1, None]),
        (OBJECT, [{}], [[], None, ""]),
    ],
)
def test_kind_takes_what_fits(kind: validation.ValueKind[Any], sound: list[object], unsound: list[object]) -> None:
    assert [validation.read(value, kind) for value in sound] == sound
    for value in unsound:
        with pytest.raises(validation.Unsound):
            validation.read(value, kind)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(answer=anything | st.fixed_dictionaries({"name": anything, "inner": anything}) | st.builds(dict, qemu=anything))
def test_whatever_comes_is_a_value_or_one_printable_line(answer: object) -> None:
    shapes: tuple[Any, ...] = (Outer, list[MemoryDevice], Version, NAME)
    for shape in shapes:
        try:
            validation.read(answer, shape)
        except validation.Unsound as unsound:
            assert str(unsound).isprintable()  # noqa: PT017 - either is fine
            assert len(str(unsound)) < 300  # noqa: PT017
