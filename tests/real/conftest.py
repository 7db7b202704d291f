"""What the real tests run on, kernel by kernel and QEMU by QEMU, and the table of outcomes."""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from docs import matrix
from docs.chromium import PROGRAM, chromium
from tests.real.cells import EVERY, NO_GUEST, Cell, Found, Outcomes
from tests.real.needs import REQUIRED_KERNELS, found_kernels, found_qemus, look_for_kernels, missing, require
from virtiomem.errors import BackendError
from virtiomem.guest.linux import Setup, initramfs, kernels
from virtiomem.qemu import BINARY, PACKAGES, accel
from virtiomem.text import one_line

if TYPE_CHECKING:
    from playwright.sync_api import Browser

look_for_kernels()
FOUND = Found(found_kernels(), found_qemus() or {BINARY: BINARY}, os.environ.get("VIRTIOMEM_REAL") == "some")
OUTCOMES = Outcomes()
OTHER = "other tests"
RAN_ON = "ran on"
"""The property of a report that says on which pair its test ran, what it proves, and its name."""
NOT_KEPT = (OTHER, "conformance tables", "verdicts of the conformance suite", "fuzzed seeds")
"""What docs/compatibility.md has from docs/conformance, or not at all."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on(linux, qemu, shared): on which kernels and QEMUs (tests/real/cells.py)")
    config.addinivalue_line("markers", "proves(what): what it counts as in the table of outcomes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that needs a QEMU its pairs of kernel and QEMU."""
    if "qemu" not in metafunc.fixturenames:
        return
    wanted = asked_of(metafunc.definition)
    linux = wanted.get("linux") if "kernel" in metafunc.fixturenames else NO_GUEST
    cells = FOUND.cells(linux, wanted.get("qemu"), shared=wanted.get("shared", False))
    metafunc.parametrize(
        "cell", cells, ids=["-".join(FOUND.names(cell)) for cell in cells], indirect=True, scope="session"
    )


def asked_of(node: pytest.Item) -> dict[str, Any]:
    """What the markers `on` of a test say, the nearest first."""
    wanted: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("on"))):
        wanted |= mark.kwargs
    return wanted


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave a slice where that is enough."""
    seen: Counter[tuple[Path, Cell]] = Counter()
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        cell, wanted = cell_of(item), asked_of(item)
        most = FOUND.slice_of(cell) if cell else None
        if cell is None or most is None or wanted.get("shared") or wanted.get("linux") not in (None, EVERY):
            kept.append(item)
            continue
        (kept if seen[item.path, cell] < most else left).append(item)
        seen[item.path, cell] += 1
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def cell_of(item: pytest.Item) -> Cell | None:
    """The pair that a test runs on, if it needs any."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("cell") if callspec else None


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> Cell:
    """The pair that the test runs on."""
    found: Cell = request.param
    return found


@pytest.fixture(scope="session")
def qemu(cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its QEMU, as the one that PATH has."""
    program = require(cell.qemu, PACKAGES[BINARY])
    folder = tmp_path_factory.mktemp("qemu")
    (folder / BINARY).symlink_to(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield program


@pytest.fixture(scope="session")
def kernel(cell: Cell) -> kernels.KernelImage:
    """Its kernel; see `missing` for a missing one, or one that cannot be booted."""
    try:
        kernel = kernels.find(cell.linux)
        initramfs.gather(kernel, kexec=True)
    except BackendError as error:
        missing(str(error))
    return kernel


@pytest.fixture(scope="session")
def setup(qemu: str, kernel: kernels.KernelImage) -> Setup:
    """How to run a real guest, with the accelerator that works."""
    return Setup(kernel=kernel.image, qemu=qemu, accel=accel.choose(kernel.image, binary=qemu))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The Chromium that is installed."""
    if PROGRAM is None:
        missing("chromium (Debian package chromium)")
    with chromium() as browser:
        yield browser


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write into a report which pair the test ran on: workers send reports, and nothing else, to the process that prints."""
    report = yield
    cell = cell_of(item)
    if cell and (report.when == "call" or not report.passed):
        mark = item.get_closest_marker("proves")
        report.user_properties.append((RAN_ON, (FOUND.names(cell), mark.args[0] if mark else OTHER, item.name)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a test with the pair that it ran on."""
    for key, ran in report.user_properties:
        if key != RAN_ON or not isinstance(ran, tuple | list):
            continue
        pair, what, name = ran
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext.partition("\nE ")[2]
        said = one_line(reason.strip().removeprefix("Skipped: "), 160)
        OUTCOMES.add((pair[0], pair[1]), what, report.outcome, name, said)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table; keep the figures for docs/compatibility.md where VIRTIOMEM_KEEP says so."""
    linuxes = [NO_GUEST, *(FOUND.names(Cell(it, ""))[0] for it in {**FOUND.kernels, **dict.fromkeys(REQUIRED_KERNELS)})]
    terminalreporter.section("Linux and QEMU")
    for line in OUTCOMES.table(linuxes, list(FOUND.qemus.values())):
        terminalreporter.write_line(line)
    for run in OUTCOMES.runs(os.environ["VIRTIOMEM_KEEP"]) if "VIRTIOMEM_KEEP" in os.environ else ():
        if run.what not in NOT_KEPT:
            matrix.keep(run)
