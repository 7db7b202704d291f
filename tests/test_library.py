"""What `import virtiomem` offers, and what it costs."""

import inspect
import json
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import virtiomem
from virtiomem import Clock, Loopback, MemDevice, Memory, ResourceTree, VirtioMemModule, errors, iomem, scenario
from virtiomem.build import is_compiled
from virtiomem.errors import VirtiomemError
from virtiomem.units import GiB, MiB

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
    rows = re.findall(r"(?m)^\| (`.*?) \|", PAGE.partition("## What is stable")[0])
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
    known = {
        *vars(errors),
        "ResourceConflict",
        "KeyError",
        "TypeError",
        "ValueError",
        "AssertionError",
    }
    assert set(re.findall(r"`(\w*Error|ResourceConflict)`", PAGE)) <= known


def stable_types() -> dict[str, set[str]]:
    """The names below `virtiomem` that the page says are stable, by module."""
    rows = re.findall(r"(?m)^\| `virtiomem\.([\w.]+)` \| (.*) \|$", PAGE)
    return {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}


def functions_of(thing: object) -> Iterator[object]:
    """A public name's functions: those of a module, the methods and properties of a class, or itself."""
    if isinstance(thing, ModuleType):
        yield from (getattr(thing, call) for call in getattr(thing, "__all__", ["load", "loads", "dump", "dumps"]))
    elif inspect.isclass(thing):
        for name in ("__init__", *(name for name in dir(thing) if not name.startswith("_"))):
            member = inspect.getattr_static(thing, name)
            yield member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    else:
        yield thing


def types_in(hint: object) -> Iterator[type]:
    """The classes of ours that an annotation names."""
    if isinstance(hint, list):
        for part in hint:
            yield from types_in(part)
    elif isinstance(hint, type) and hint.__module__.startswith("virtiomem"):
        yield hint
    for part in typing.get_args(hint):
        yield from types_in(part)


def test_signatures_of_the_boundary_name_only_what_the_page_calls_stable() -> None:
    known = set(virtiomem.__all__).union(*stable_types().values())
    functions = [
        f for name in virtiomem.__all__ for f in functions_of(getattr(virtiomem, name)) if inspect.isfunction(f)
    ]
    named = {
        (t.__name__, f.__qualname__) for f in functions for h in typing.get_type_hints(f).values() for t in types_in(h)
    }
    assert len(named) > 50
    assert {(name, where) for name, where in named if name not in known} == set()


@pytest.mark.parametrize(("module", "names"), stable_types().items())
def test_what_the_page_calls_stable_is_where_it_says(module: str, names: set[str]) -> None:
    there = vars(import_module(f"virtiomem.{module}"))
    assert {name for name in names if name not in there} == set()


NO_NUMBER = "^int object expected; got str$" if is_compiled() else "^address must be an integer, not '140000000'$"
LISTING = """\
00000000-7fffffff : System RAM
  00100000-001fffff : Kernel code
140000000-23fffffff : virtio0
  140000000-147ffffff : System RAM (virtio_mem)
"""


def test_a_tree_prints_as_proc_iomem_does() -> None:
    tree = iomem.loads(LISTING)
    assert f"{tree}\n" == LISTING
    assert repr(tree) == "<ResourceTree 00000000-ffffffffffffffff : PCI mem>"


def test_an_address_finds_the_deepest_resource_there() -> None:
    tree = iomem.loads(LISTING)
    assert tree[0x140000000].name == "System RAM (virtio_mem)"
    assert tree[0x148000000].name == "virtio0"
    assert 0x148000000 in tree
    assert 0x80000000 not in tree
    with pytest.raises(KeyError, match=r"^nothing is at 0x80000000$") as refused:
        _ = tree[0x80000000]
    assert isinstance(refused.value, VirtiomemError)
    with pytest.raises(TypeError, match=NO_NUMBER):
        _ = tree["140000000"]  # type: ignore[index]
    with pytest.raises(TypeError, match="not iterable"):
        list(tree)


def test_a_conflict_with_the_root_names_it_and_prints_no_listing() -> None:
    tree = ResourceTree(end=0xFFFF)
    with pytest.raises(virtiomem.ResourceConflict, match=r"conflicts with 0x0-0xffff 'PCI mem': EBUSY$"):
        tree.request_region(0, 0x20000, "too long")


def test_a_listing_is_read_and_written_by_path(tmp_path: Path) -> None:
    path = tmp_path / "iomem"
    iomem.dump(iomem.loads(LISTING), path)
    assert iomem.dumps(iomem.load(path)) == iomem.dumps(iomem.load(str(path))) == path.read_text() == LISTING
    with pytest.raises(errors.UsageError, match=r"nowhere: No such file or directory$"):
        iomem.load(tmp_path / "nowhere")
    with pytest.raises(TypeError, match=r"^file must be a path or an open file \(loads takes the text\), not 5$"):
        iomem.load(5)  # type: ignore[arg-type]
    path.write_text("nonsense\n")
    with pytest.raises(errors.ListingError, match=f"^{path}:1: not a resource line"):
        iomem.load(path)


def test_parts_say_in_one_line_what_they_hold() -> None:
    memory, clock = Memory(iomem.loads("00000000-7fffffff : System RAM\n")), Clock()
    device = MemDevice(addr=8 * GiB, region_size=4 * GiB)
    module = VirtioMemModule(memory, clock, [("virtio0", Loopback(device))])
    device.requested_size = 512 * MiB
    clock.run_until_idle()
    said = "<MemDevice at 0x200000000: 512M plugged, 512M requested, 4G at most>"
    assert repr(device) == said
    assert repr(Loopback(device)) == f"<Loopback to {said}>"
    assert repr(module) == "<VirtioMemModule: [<VirtioMem virtio0: 512M plugged, 512M requested>]>"
    assert repr(memory) == "<Memory: 20 blocks of 128M, 16 online>"
    assert repr(clock) == "<Clock: 0 s, 0 queued, 0 timers>"


def test_a_guest_says_which_devices_it_has() -> None:
    guest = scenario.embedded_guest(scenario.loads(Path("examples/reload.toml").read_text()))
    assert repr(guest) == f"<EmbeddedGuest: Linux {guest.info['kernel']}, vm0 (virtio0)>"
    guest.close()


def test_importing_the_package_imports_no_module() -> None:
    assert {name for name in loaded_after("import virtiomem") if name.startswith("virtiomem.")} == set()


def test_a_name_of_the_heart_brings_the_standard_library_only() -> None:
    names = "MemDevice, Memory, Loopback, Clock, VirtioMemModule, Parameters, Policy, ResourceTree, iomem"
    loaded = {name.partition(".")[0] for name in loaded_after(f"from virtiomem import {names}")}
    assert loaded.isdisjoint({"msgspec", "rich", "asyncio", "subprocess"})


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'virtiomem' has no attribute 'Memroy'"):
        _ = virtiomem.Memroy


def test_errors_are_there_without_another_import() -> None:
    code = "import virtiomem\ntry: virtiomem.iomem.loads('00000000-00000000 : System RAM\\n')\nexcept virtiomem.errors.MaskedListingError: print('masked')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "masked\n"
