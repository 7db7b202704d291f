"""What `import virtiomem` offers, and what it costs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import virtiomem
from virtiomem import errors
from virtiomem.errors import VirtiomemError

PAGE = (Path(__file__).parents[1] / "docs/library.md").read_text()


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh Python has after running `code`."""
    code += "\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", virtiomem.__all__)
def test_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(virtiomem, name).__name__.rpartition(".")[2] == name
    assert name in dir(virtiomem)


def test_page_has_a_row_for_every_public_name_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| (`.*?) \|", PAGE.partition("## What is refused")[0])
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(virtiomem.__all__)


def public_calls() -> Iterator[str]:
    for name in virtiomem.__all__:
        thing = getattr(virtiomem, name)
        if isinstance(thing, ModuleType):
            calls = getattr(thing, "__all__", ["load", "loads", "dump", "dumps"])
            yield from (call for call in calls if call.islower())
        elif not isinstance(thing, type):
            yield name
        elif not issubclass(thing, VirtiomemError):
            yield from (call for call in dir(thing) if not call.startswith("_") and callable(getattr(thing, call)))


@pytest.mark.parametrize("call", sorted(set(public_calls()) - {"check"}))
def test_page_says_what_a_public_call_raises(call: str) -> None:
    rows = re.findall(r"(?m)^\| (.*?) \| (.*?) ?\|$", PAGE.partition("## What is refused")[2])
    assert any(re.search(rf"`(\w+\.)?{call}`", calls) for calls, _ in rows), call


def test_errors_of_the_page_are_there() -> None:
    known = {*vars(errors), "MaskedListingError", "ResourceConflict", "TypeError", "ValueError", "AssertionError"}
    assert set(re.findall(r"`(\w*Error|ResourceConflict)`", PAGE)) <= known


def test_importing_the_package_imports_nothing_of_it() -> None:
    assert {name for name in loaded_after("import virtiomem") if name.startswith("virtiomem.")} == set()


def test_a_name_of_the_heart_brings_the_standard_library_only() -> None:
    names = "MemDevice, Memory, Loopback, Clock, VirtioMemModule, Parameters, Policy, ResourceTree, iomem"
    loaded = {name.partition(".")[0] for name in loaded_after(f"from virtiomem import {names}")}
    assert loaded.isdisjoint({"msgspec", "rich", "asyncio", "subprocess"})


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'virtiomem' has no attribute 'Memroy'"):
        _ = virtiomem.Memroy
