"""docs/model.md is true: every symbol in it exists, and it has every `Models:` function and every `Differs:` of the code."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pytest

from docs import releases
from virtiomem.releases.linux import LINUX

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "virtiomem"
PAGE = (ROOT / "docs" / "model.md").read_text()

TABLES = {
    "drivers/virtio/virtio_mem.c": 103,
    "mm/memory_hotplug.c": 73,
    "drivers/base/memory.c": 50,
    "kernel/resource.c": 79,
    "hw/virtio/virtio-mem.c": 58,
}
"""The tables of the page and how many functions each has: all that the original has, its loop macros included."""


class Note(NamedTuple):
    """A `Models:` or `Differs:` in a docstring; `place` is ``path.py: Symbol``."""

    kind: str
    place: str
    text: str


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Every docstring in a module, with the name of what it documents; a constant's stands below it."""
    before = ""
    for child in getattr(node, "body", []):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
            yield f"{name}.{before}".strip(".") if before else name, cleandoc(child.value.value)
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            target = child.targets[0] if isinstance(child, ast.Assign) else child.target
            before = target.id if isinstance(target, ast.Name) else before
        elif isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{name}.{child.name}".strip("."))


@cache
def notes() -> list[Note]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = str(path.relative_to(SOURCE))
        for name, text in _docstrings(ast.parse(path.read_text()), ""):
            for paragraph in text.split("\n\n"):
                parts = re.split(r"\b(Models|Differs):", paragraph)
                for kind, said in zip(parts[1::2], parts[2::2], strict=True):
                    place = f"{module}: {name}" if name else module
                    found.append(Note(kind, place, " ".join(said.split())))
    return found


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    section = re.split(rf"^##+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1]
    lines = [line for line in re.split(r"^##", section, flags=re.MULTILINE)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def modelled(heading: str) -> list[str]:
    return [row[0].strip("`") for row in rows(heading)]


@pytest.mark.parametrize("symbol", sorted(set(re.findall(r"`(\w[\w/]*\.py: [\w.]+)`", PAGE))), ids=str)
def test_symbol_of_the_page_exists(symbol: str) -> None:
    path, name = symbol.split(": ")
    module = importlib.import_module("virtiomem." + path.removesuffix(".py").replace("/", "."))
    attrgetter(name)(module)


@pytest.mark.parametrize("file", TABLES)
def test_table_has_every_function_of_its_file_once(file: str) -> None:
    names = modelled(file)
    assert len(names) == TABLES[file]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", TABLES)
def test_every_function_has_its_line_or_the_reason_why_not(file: str) -> None:
    for name, where in rows(file):
        assert re.match(r"`\w[\w/]*\.py: [\w.]+`|— \S", where), f"{name}: {where}"


def test_every_function_that_the_code_models_stands_on_the_page() -> None:
    known = {name for file in (*TABLES, "Single functions of other files") for name in modelled(file)}
    named = {(f, note.place) for note in notes() if note.kind == "Models" for f in re.findall(r"(\w+)\(\)", note.text)}
    assert {(function, place) for function, place in named if function not in known} == set()


def test_every_difference_of_the_code_stands_on_the_page_and_no_other() -> None:
    told = {(place.strip("`"), text) for place, text in rows("Where it differs on purpose")}
    assert told == {(note.place, note.text) for note in notes() if note.kind == "Differs"}


def test_collector_sees_what_it_should() -> None:
    assert sum(note.kind == "Models" for note in notes()) > 100
    assert sum(note.kind == "Differs" for note in notes()) >= 10


def test_what_is_modelled_is_the_oldest_release_and_the_page_has_every_change_since() -> None:
    named = {
        version for note in notes() if note.kind == "Models" for version in re.findall(r"\bv(6\.\d+)\b", note.text)
    }
    assert named == {LINUX.oldest.name}
    assert releases.page(PAGE) == PAGE
