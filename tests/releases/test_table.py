"""Releases folded from a table of changes."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import virtiomem
from virtiomem.errors import UsageError
from virtiomem.releases.linux import DEBIAN, LINUX
from virtiomem.releases.qemu import QEMU
from virtiomem.releases.table import Change, Releases

SRC = Path(virtiomem.__file__).parent


class Thing(NamedTuple):
    name: str = "1.0"
    legs: int = 2


THINGS = Releases(
    Thing(),
    (Change("1.10", "legs", 8, "thing.c", "eight"), Change("1.9", "legs", 4, "thing.c", "four")),
    proven=("1.0", "1.11"),
)


@pytest.mark.parametrize(("version", "legs"), [("1.0", 2), ("1.8", 2), ("1.9", 4), ("1.10", 8), ("1.11.3-cloud", 8)])
def test_a_release_has_every_change_up_to_it(version: str, legs: int) -> None:
    assert THINGS.release(version).legs == legs


@pytest.mark.parametrize(("version", "name"), [("0.4", "1.0"), ("1.5.7", "1.5"), ("1.12", "1.11"), ("7.0", "1.11")])
def test_a_release_is_named_for_what_it_is_modelled_as(version: str, name: str) -> None:
    assert THINGS.release(version).name == name
    assert THINGS.newest.name == "1.11"


@pytest.mark.parametrize("version", ["", "x", "six", "1", "v1.2", "1.22222222", "\x1b[2J" * 1000])
def test_what_does_not_begin_with_a_version_is_refused_in_one_line(version: str) -> None:
    with pytest.raises(UsageError, match="a version must begin with two numbers") as refused:
        THINGS.release(version)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(("version", "other"), [("1.0", False), ("1.11.4-x", False), ("1.12", True), ("0.9", True)])
def test_a_release_that_is_not_known_has_another_stand_in_for_it(version: str, other: bool) -> None:
    assert THINGS.stands_in_for(version) is other


@pytest.mark.parametrize("releases", [QEMU, LINUX, DEBIAN], ids=["qemu", "linux", "debian"])
def test_every_change_changes_a_field_that_some_function_reads(releases: Releases[Thing]) -> None:
    names = set(releases.oldest._fields) - {"name"}
    assert {change.field for change in releases.changes} == names
    sources = (path.read_text() for path in SRC.rglob("*.py") if path.parent.name != "releases")
    text = " ".join(" ".join(sources).split())  # a remark may go on in the next line
    first = {change.field: change.since for change in reversed(releases.changes)}
    for name in names:
        since = rf"Since: [^\"]*\b{re.escape(first[name])} \([^\")]*\b{name}\b"
        assert re.search(since, text), f"no docstring says that {name} changes with {first[name]}"
        assert re.search(rf"(release|build)\.{name}\b", text), f"no code reads {name}"


def test_no_other_module_compares_versions() -> None:
    compares = re.compile(r"version[^\n]{0,20}[<>]=? *[(\"'\d]|[<>]=? *\(\d+, *\d+\)")
    found = [path.name for path in SRC.rglob("*.py") if compares.search(path.read_text())]
    assert found == []
