"""arm64: QEMU's device on `virt`, and stock kernels for arm64, do what the models do.

Nothing of it needs an arm64 machine: `apt-get install qemu-system-arm`, and packages of arm64 unpacked below a directory
that VIRTIOMEM_KERNELS names (a kernel and its modules, busybox-static); docs/real-guest.md says how. Skipped without.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.random_scenarios import difference_of, play_real, writer
from virtiomem import scenario
from virtiomem.architecture import ARCHITECTURES
from virtiomem.conformance import suite
from virtiomem.conformance.fuzz import fuzz
from virtiomem.conformance.rules import selected
from virtiomem.conformance.targets import QemuTarget
from virtiomem.device.board import VIRT
from virtiomem.errors import BackendError
from virtiomem.guest.embedded.qemu_devices import guest_on_qemu
from virtiomem.guest.linux import Setup, initramfs, kernels
from virtiomem.recording.compare import compare

pytestmark = pytest.mark.real

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings-arm64"
KERNELS: list[kernels.KernelImage | None] = [
    kernel for row in ARCHITECTURES if row.family == "arm64" for kernel in kernels.here(row)
]
NUMBERS = range(
    first := int(os.environ.get("VIRTIOMEM_RANDOM_FIRST", "1")), first + int(os.environ.get("VIRTIOMEM_RANDOM", "1"))
)


@pytest.fixture(autouse=True)
def emulator() -> str:
    """QEMU for arm64; the tests are skipped without it."""
    return shutil.which(VIRT.program) or pytest.skip(f"NOT HERE: {VIRT.program} (Debian package qemu-system-arm)")


@pytest.fixture(
    params=[*KERNELS] or [None],
    ids=lambda kernel: kernel.release if isinstance(kernel, kernels.KernelImage) else "none",
)
def kernel(request: pytest.FixtureRequest) -> kernels.KernelImage:
    """A stock kernel for arm64, and a busybox for it; skipped without."""
    found = request.param
    if not isinstance(found, kernels.KernelImage):
        pytest.skip("NOT HERE: a kernel for arm64 below a directory of VIRTIOMEM_KERNELS (docs/real-guest.md)")
    try:
        initramfs.gather(found)
    except BackendError as error:
        pytest.skip(f"NOT HERE: {error}")
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_both_guests_do_the_same(number: int, kernel: kernels.KernelImage) -> None:
    text = writer(number, kernel.release, kernel.architecture).write()
    played = scenario.loads(text)
    difference = difference_of(played, play_real(played, Setup(kernel=kernel.image)))
    assert not difference, f"{difference}\n\n{text}"


@pytest.mark.parametrize("name", ["a-movable", "d-two-devices", "h-reset", "p-16k-movable"])
def test_the_driver_does_on_qemus_device_what_it_does_on_ours(name: str) -> None:
    played = scenario.load(RECORDINGS / name / "scenario.toml")
    with closing(guest_on_qemu(played.guest, played.driver, played.devices, played.boot_iomem)) as real:
        on_qemu = scenario.play(played, real)
    assert compare(scenario.play(played, scenario.embedded_guest(played)), on_qemu) is None


@pytest.fixture
def target() -> Iterator[QemuTarget]:
    """The device of QEMU's `virt`."""
    with closing(QemuTarget(VIRT.program)) as made:
        yield made


def test_device_keeps_the_rules_that_it_keeps_on_x86(target: QemuTarget) -> None:
    """Of the rules about reading unplugged memory one is not applicable: the feature cannot be left out."""
    report = suite.run(target, selected(["INI", "OPS", "PLUG"]))
    assert {verdict.rule.id for verdict in report.verdicts if verdict.outcome is suite.RuleOutcome.FAIL} <= {"PLUG-4"}


def test_device_answers_as_ours_does(target: QemuTarget) -> None:
    figures = fuzz(target, seed=1, requests=500)
    assert figures.findings == []
