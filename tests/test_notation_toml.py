"""TOML within bounds: what costs more than it can mean is refused before it costs."""

import time
import tomllib
import tracemalloc
from pathlib import Path

import pytest

from virtiomem.notation import NotationError, toml_values

DOTS = ".a" * 20_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"x = 1\na{DOTS} = 1", 2),
        (f"[a{DOTS}]", 1),
        (f"[[ a{DOTS.replace('.', ' . ')} ]]", 1),
        (f'x = """\n\n"""\ny = {{ "=".a{DOTS} = 1 }}', 4),
        ('a = "#"\n' + ".".join(["'='"] * 1000) + " = 1", 2),
        (f"x = 0x{'f' * 1_000_000}", 1),
        (f"x = 0b{'1_' * 500_000}1", 1),
        (f"x = {'9' * 1_000_000}", 1),
        ("a" * 1_000_000 + " = 1", 1),
    ],
    ids=range(9),
)
def test_keys_and_numbers_without_end_are_refused_before_they_cost(text: str, line: int) -> None:
    raw = text.encode()
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(NotationError, match=f"^line {line}: a key .*of more than (32 parts|1000 characters)"):
            toml_values(raw)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(raw) + (1 << 20)
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "mark", ['"', "'", '"""', "'''", '\\"', "a.", "#", "[", "{a=", "a ", "-", "=", "[a]\n", "\n", "'' = 1.5\n"]
)
def test_any_mark_a_hundred_thousand_times_is_refused_in_linear_time(mark: str) -> None:
    began = time.process_time()
    try:
        toml_values((mark * 100_000).encode())
    except NotationError:
        pass
    else:
        assert mark in ("#", "\n")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        "x = " + "[" * 100 + "]" * 100,
        "x = " + "{a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = " * 60 + "1" + "}" * 60,
    ],
)
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(NotationError, match=r"nested too deeply$"):
        toml_values(text.encode())


@pytest.mark.parametrize(
    ("text", "where"), [("x = 0x1_0000_0000_0000_0000", "x"), ("x = [1, {y = -99999999999999999999}]", "x[1].y")]
)
def test_integer_beyond_64_bits_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(NotationError, match="a number of more than 64 bits") as refused:
        toml_values(text.encode())
    assert refused.value.where == where


def test_what_is_sound_is_read_as_python_reads_it() -> None:
    texts = [path.read_text() for path in Path(__file__).parents[1].glob("*/**/*.toml") if ".venv" not in path.parts]
    texts += [f"a = '{DOTS}'", f'a = """\n{DOTS}\n""" # {DOTS}', "a = [" + "1.5, " * 1000 + "]", "a.b.'c.d' = -1e-9"]
    assert len(texts) > 30
    for text in texts:
        assert toml_values(text.encode()) == tomllib.loads(text)
