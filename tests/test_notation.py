import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem import recording
from virtiomem.conformance import log
from virtiomem.errors import UsageError
from virtiomem.live import capture
from virtiomem.notation import NotationError, convert, json_bytes, json_values, printable_json, toml_values

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON, or cut short"),
        ('{"a": 1', "not JSON, or cut short"),
        ("nope", "line 1, column 5: not JSON: invalid character"),
        ('{\n "a": 1,\n}', "line 3, column 1: not JSON: trailing comma in object"),
        ('{\n"a": "\xe9"}'.encode("latin-1"), "line 2: byte 0xe9 is not UTF-8"),
        ("[" * 10**6, "nested too deeply"),
        ('{"a": %s}' % ("9" * 5000), "integer value out of range"),
        ('"\ud800"', "line 1: byte 0xed is not UTF-8"),
    ],
)
def test_what_is_not_json_is_said_in_our_words(text: str | bytes, words: str) -> None:
    with pytest.raises(NotationError) as wrong:
        json_values(text)
    assert str(wrong.value) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[guest]\n[guest]", "line 2, column 7: Cannot declare guest twice"),
        ('[a."b c"]\n[a."b c"]', "line 2, column 9: Cannot declare a.b c twice"),
        ("a = 1" + "0" * 30, "a: a number of more than 64 bits"),
        (f"a = {'[' * 10**5}", "arrays or tables are nested too deeply"),
        (b"\na = '\xe9'".decode("latin-1"), None),
    ],
)
def test_what_is_not_toml_is_said_in_our_words(text: str, words: str | None) -> None:
    if words is None:
        with pytest.raises(NotationError, match="line 2: byte 0xe9 is not UTF-8"):
            toml_values(text.encode("latin-1"))
        return
    with pytest.raises(NotationError) as wrong:
        toml_values(text.encode())
    assert str(wrong.value) == words


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: int
    y: list[str | None] = []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "'x' is missing"),
        ({"x": "1"}, "x: expected an integer, got a string"),
        ({"x": 1, "y": [None, 2]}, "y[1]: expected a string or null, got an integer"),
        ({"x": 1, "z": 2}, "'z' is not a key here"),
        ([], "expected an object, got an array"),
    ],
)
def test_value_of_another_type_is_said_with_its_place(values: object, words: str) -> None:
    with pytest.raises(NotationError) as wrong:
        convert(values, Point)
    assert str(wrong.value) == words


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '{"a"  :1,"\\u0061":2}',
        '[{"b": {"a": "\\":", "a": {"c": 1}}}]',
        '{"a": 123456789012345678901234567890, "a": 0}',
    ],
)
def test_key_that_is_there_twice_is_refused(text: str) -> None:
    with pytest.raises(NotationError, match="the key 'a' is there twice"):
        json_values(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_json_without_such_a_key_is_taken(value: object, ascii_only: bool, indent: int | None) -> None:
    assert json_values(json.dumps(value, ensure_ascii=ascii_only, indent=indent)) == value


def test_text_that_json_cannot_hold_is_written_with_question_marks() -> None:
    assert json_bytes({"a\udcff": ["\udcff", 1, ("\x9b",)]}) == '{"a?":["?",1,["\x9b"]]}'.encode()
    assert printable_json(json_bytes(["\x9b\u202e\U000e0041"])) == r'["\u009b\u202e\udb40\udc41"]'


def test_every_reader_of_json_refuses_a_key_that_is_there_twice(tmp_path: Path) -> None:
    text = (ROOT / "tests/data/recordings/a-movable/recording.json").read_text()
    twice = text.replace('"steps"', '"steps": [], "steps"', 1)
    assert twice != text
    with pytest.raises(UsageError, match="not a recording: the key 'steps' is there twice"):
        recording.loads(twice)
    with pytest.raises(UsageError, match="not a capture: the key 'x' is there twice"):
        capture.loads('{"format": "virtiomem-capture/1", "sections": {"x": [], "x": []}}')
    (tmp_path / "log").write_text('{"op": "header", "op": "batch"}')
    with pytest.raises(UsageError, match="log:1: not a line of a request log: the key 'op' is there twice"):
        list(log.read(tmp_path / "log"))
