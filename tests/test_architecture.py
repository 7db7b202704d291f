"""What the project says about itself is true: ARCHITECTURE.md, the lists of modules, the tree of errors."""

import importlib
import pkgutil
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

import virtiomem
from virtiomem import errors
from virtiomem.errors import VirtiomemError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
TOP_LEVEL = [module.name for module in pkgutil.iter_modules(virtiomem.__path__) if module.name != "__main__"]
PACKAGES = [
    module.name
    for module in pkgutil.walk_packages(virtiomem.__path__, "virtiomem.")
    if module.ispkg and module.name != "virtiomem.cli"  # whose contents are `main.COMMANDS`
]


def tree_of(kind: type[VirtiomemError]) -> Iterator[type[VirtiomemError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree_of(child)


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """Everything there is, imported."""
    for module in pkgutil.walk_packages(virtiomem.__path__, "virtiomem."):
        if module.name != "virtiomem.__main__":
            importlib.import_module(module.name)
    return virtiomem


@pytest.mark.parametrize("name", PACKAGES)
def test_package_lists_its_modules(name: str) -> None:
    module = importlib.import_module(name)
    listed = set(re.findall(r"(?m)^ *((?:[\w.]+, )*[\w.]+) {2,}\S", module.__doc__ or ""))
    words = {word.removesuffix(".py") for names in listed for word in names.split(", ")}
    assert {found.name for found in pkgutil.iter_modules(module.__path__)} <= words


@pytest.mark.parametrize("part", TOP_LEVEL)
def test_part_stands_in_the_table_and_in_the_layers(part: str) -> None:
    rows = re.findall(r"(?m)^\| (`.*?`) \|", PAGE)
    assert any(f"`{part}" in row for row in rows)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert f"virtiomem.{part}" in " | ".join(contract["layers"]).split(" | ")


def test_order_of_the_page_is_the_order_of_the_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    drawn = re.search(r"```\n(cli →.*?)```", PAGE, re.DOTALL)
    assert drawn
    seats = {name: seat for seat, names in enumerate(drawn[1].split("→")) for name in re.findall(r"\w+", names)}
    assert sorted(seats) == sorted(TOP_LEVEL)
    layers = [[name.removeprefix("virtiomem.") for name in layer.split(" | ")] for layer in contract["layers"]]
    assert [seats[name] for layer in layers for name in layer] == sorted(seats.values())


@pytest.mark.parametrize("symbol", re.findall(r"`(\w[\w/]*\.py(?::\s+[\w.]+)?)`", PAGE))
def test_symbol_of_the_page_exists(symbol: str) -> None:
    path, _, name = symbol.partition(":")
    module = importlib.import_module("virtiomem." + path.removesuffix(".py").replace("/", "."))
    assert not name or attrgetter(name.strip())(module)


def test_every_error_stands_in_the_tree_below_its_base(package: ModuleType) -> None:
    assert package
    drawing = (errors.__doc__ or "").split("::")[1].split("\n\n")[1]
    drawn: dict[str, str] = {}
    above: list[str] = []
    for branch, name in re.findall(r"(?m)^    ([ │├└─]*)(\w+)", drawing):
        del above[len(branch) // 4 :]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in tree_of(VirtiomemError) if kind.__base__}


def test_no_test_waits_for_a_time_to_pass() -> None:
    """tests/waiting.py waits for what should happen; a busy machine makes every other sleep too short."""
    tests = Path(__file__).parent.rglob("test_*.py")
    assert [path for path in tests if re.search(r"time\.sleep\(", path.read_text())] == []


def test_a_class_name_means_one_thing_or_is_excused_in_contributing() -> None:
    texts = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    names = [set(re.findall(r"^ *class (\w+)[(:]", text, re.MULTILINE)) for text in texts]
    counts = Counter(name for of_module in names for name in of_module)
    told = re.search(r"A class name means one thing\.(.*?)\n- ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert told
    assert {name for name, count in counts.items() if count > 1} == set(re.findall(r"`([A-Z]\w+)`", told[1]))
