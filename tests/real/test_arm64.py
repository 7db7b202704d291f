"""arm64: QEMU's device on `virt`, and stock kernels for arm64, do what the models do.

Nothing of it needs an arm64 machine: `apt-get install qemu-system-arm`, and packages of arm64 unpacked below a directory
that VIRTIOMEM_KERNELS names (a kernel and its modules, busybox-static); docs/real-guest.md says how. Skipped without.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.random_scenarios import difference_of, play_real, writer
from virtiomem import scenario
from virtiomem.architecture import ARCHITECTURES
from virtiomem.cli.main import main
from virtiomem.conformance import suite
from virtiomem.conformance.fuzz import fuzz
from virtiomem.conformance.rules import selected
from virtiomem.conformance.targets import QemuTarget
from virtiomem.device.board import VIRT
from virtiomem.errors import BackendError
from virtiomem.guest.embedded.qemu_devices import guest_on_qemu
from virtiomem.guest.linux import Setup, initramfs, kernels
from virtiomem.guest.linux.command import firmware
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


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
WITH_ACPI = ("dimm", "two-nodes")
"""Those with what a `virt` machine has with UEFI only: DIMMs, and devices of which the guest knows the node."""


def on_virt(path: Path) -> str:
    """An example for a `virt` machine, on which devices lie 1G lower with 4G of RAM: eight memory blocks."""
    text = path.read_text().replace("[guest]", '[guest]\nmachine = "virt"', 1)
    if path.stem in WITH_ACPI:
        text = text.replace("[guest]", '[guest]\nfirmware = "uefi"', 1)
    for one, other in (("0x0-0x7fffffff", "0x40000000-0xbfffffff"), ("0x100000000-0x17", "0xc0000000-0x13")):
        text = text.replace(one, other)
    return re.sub(r"(?<=blocks = )\[[\d, ]+\]", lambda found: str([n - 8 for n in json.loads(found[0])]), text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_the_same_on_virt(path: Path) -> None:
    """On the oldest kernel with pages of 4K: what the examples show is the same on each."""
    found = next((kernel for kernel in KERNELS if kernel is not None), None)
    if found is None:
        pytest.skip("NOT HERE: a kernel for arm64 below a directory of VIRTIOMEM_KERNELS (docs/real-guest.md)")
    if path.stem in WITH_ACPI and not has_firmware():
        pytest.skip(
            "NOT HERE: UEFI for arm64 (Debian package qemu-efi-aarch64, of Debian 13: an older one loses the nodes)"
        )
    played = scenario.loads(on_virt(path))
    difference = difference_of(played, play_real(played, Setup(kernel=found.image)))
    assert not difference, difference


def has_firmware() -> bool:
    """UEFI for `virt` is here."""
    try:
        return bool(firmware())
    except BackendError:
        return False


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


def test_device_check_prints_the_table_that_is_kept(capsys: pytest.CaptureFixture[str], target: QemuTarget) -> None:
    table = (Path(__file__).parents[2] / "docs" / "conformance" / "qemu-7.2-virt.txt").read_text()
    if target.name != table.partition("\n")[0]:
        pytest.skip(f"the table is of {table.partition(chr(10))[0]}; this is {target.name}")
    main(["device", "check", "--qemu", VIRT.program])
    assert capsys.readouterr().out == table


def test_device_answers_as_ours_does(target: QemuTarget) -> None:
    figures = fuzz(target, seed=1, requests=500)
    assert figures.findings == []
