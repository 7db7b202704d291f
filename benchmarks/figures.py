"""The source in figures: its size, its comments, names that mean two things, import cycles, and what one resize costs in calls.

    python benchmarks/figures.py           the figures
    python benchmarks/figures.py --names   and the names behind them

Imports count wherever they stand, those inside functions and under TYPE_CHECKING too. A cycle is a set of modules that
reach each other. Calls are calls of Python functions of this project, counted by a profiler hook after a first run has
imported everything.
"""

import argparse
import ast
import contextlib
import io
import re
import sys
import tempfile
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
SCENARIO = """
[guest]
memory = "4G"
default-state = "online_movable"
[[device]]
id = "vm0"
max-size = "4G"
[[step]]
do = "load"
"""


def main() -> None:
    """Print one figure per line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", action="store_true", help="print the names, too")
    names = parser.parse_args().names
    texts = {module_name(path): path.read_text() for path in SOURCE.rglob("*.py")}
    trees = {module: ast.parse(text) for module, text in texts.items()}
    show("modules", len(trees))
    lines = sum(text.count("\n") for text in texts.values())
    show("lines", lines)
    comments = sum(len(list(why_comments(text))) for text in texts.values())
    show("lines that are comments", comments)
    show("    of 10,000 lines", round(10_000 * comments / lines))
    for what, found in (
        ("class names in more than one module", doubles(trees, classes)),
        ("function names in more than one module", doubles(trees, functions)),
        ("file names in more than one package", doubles(trees, basenames)),
        ("import cycles", {", ".join(sorted(cycle)): [] for cycle in cycles(trees)}),
    ):
        show(what, len(found))
        for name, modules in sorted(found.items()) if names else ():
            print(f"    {name}  {' '.join(modules)}")
    show("calls of a 128M step, with its listing", calls_of_step())
    show("calls of `vm resize vm0 128M -c sim:FILE`", calls_of_resize())


def show(what: str, figure: int) -> None:
    """Print one figure."""
    print(f"{what:<44}{figure:>8,}")


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def why_comments(text: str) -> Iterator[str]:
    """The comments of a file, but no rulers and no notes to the tools: a comment that stays says why."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not _NOTE.match(token.string):
            yield token.string


_NOTE = re.compile(r"# (?:--|noqa|type: ignore|pragma)")


# -- names ----------------------------------------------------------------------------------------------------------------


def doubles(trees: dict[str, ast.Module], of: Callable[[str, ast.Module], Iterator[str]]) -> dict[str, list[str]]:
    """The names that several modules have, and which."""
    where = defaultdict(set)
    for module, tree in trees.items():
        for name in of(module, tree):
            where[name].add(module.removeprefix("virtiomem."))
    return {name: sorted(modules) for name, modules in where.items() if len(modules) > 1}


def classes(_: str, tree: ast.Module) -> Iterator[str]:
    """The classes of a module."""
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def functions(_: str, tree: ast.Module) -> Iterator[str]:
    """The functions of a module, without methods."""
    return (node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def basenames(module: str, _: ast.Module) -> Iterator[str]:
    """The last part of a module's name, which is its file's; packages have none."""
    path = SOURCE.joinpath(*module.split("."))
    return iter(() if path.is_dir() else (path.name,))


# -- imports --------------------------------------------------------------------------------------------------------------


def cycles(trees: dict[str, ast.Module]) -> list[set[str]]:
    """The sets of modules that import each other, by whatever way round."""
    direct = {module: imports(module, tree, trees) for module, tree in trees.items()}
    reach = {module: reachable(module, direct) for module in trees}
    found = []
    for module in sorted(trees):
        cycle = {other for other in reach[module] if module in reach[other]}
        if cycle and cycle not in found:
            found.append(cycle)
    return found


def imports(module: str, tree: ast.Module, modules: dict[str, ast.Module]) -> set[str]:
    """The project's modules that a module imports; of a package, what it is taken from when that is a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {part if part in modules else node.module for part in parts.values()}
    return (found & modules.keys()) - {module}


def reachable(module: str, direct: dict[str, set[str]]) -> set[str]:
    """What a module imports, and what that imports, and so on; the module itself when that leads back to it."""
    seen: set[str] = set()
    todo = list(direct[module])
    while todo:
        if (one := todo.pop()) not in seen:
            seen.add(one)
            todo += direct[one]
    return seen


# -- calls ----------------------------------------------------------------------------------------------------------------


def calls_of_step() -> int:
    """Calls of a step that gives a running guest its first 128 MiB, listing and snapshot included."""
    from virtiomem.recording.values import Resize
    from virtiomem.scenario import embedded_guest, load
    from virtiomem.units import MiB, Size

    def once() -> int:
        with scenario_file() as path:
            scenario = load(path)
        guest = embedded_guest(scenario)
        guest.play(scenario.steps[0])
        return calls(lambda: guest.play(Resize(device="vm0", requested_size=Size(128 * MiB))).snapshot.iomem)

    once()
    return once()


def calls_of_resize() -> int:
    """Calls of the whole command, from its arguments to what it prints."""
    from virtiomem.cli.main import main

    def once() -> int:
        with scenario_file() as path, contextlib.redirect_stdout(io.StringIO()):
            return calls(lambda: main(["vm", "resize", "vm0", "128M", "-c", f"sim:{path}"]))

    once()
    return once()


@contextlib.contextmanager
def scenario_file() -> Iterator[str]:
    """The scenario, in a file."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(SCENARIO)
        file.flush()
        yield file.name


def calls(run: Callable[[], object]) -> int:
    """How many functions of the project `run` calls."""
    count, ours = 0, str(SOURCE)

    def hook(frame: Any, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(ours)

    sys.setprofile(hook)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


if __name__ == "__main__":
    main()
