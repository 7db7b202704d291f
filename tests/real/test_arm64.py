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

from tests.real.random_scenarios import STATES, Writer, difference_of, play_real
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
from virtiomem.units import GiB, MiB, format_size

pytestmark = pytest.mark.real

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings-arm64"
KERNELS: list[kernels.KernelImage | None] = [
    kernel for row in ARCHITECTURES if row.family == "arm64" for kernel in kernels.here(row)
]
NUMBERS = range(
    first := int(os.environ.get("VIRTIOMEM_RANDOM_FIRST", "1")), first + int(os.environ.get("VIRTIOMEM_RANDOM", "1"))
)
BLOCK = 128 * MiB


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


class VirtWriter(Writer):
    """Writes a scenario for a `virt` machine.

    Where all boot memory lies below 4G the kernel has no Normal zone, and fills the first memory of one at once: what a
    shrink then leaves, nobody can predict. Such a guest gets movable memory only.
    """

    def __init__(self, number: int, page_size: int) -> None:
        super().__init__(number)
        self.page_size = format_size(page_size)

    def guest(self) -> None:
        choose, chance = self.random.choice, self.random.random
        self.memory = choose((GiB, 2 * GiB, 4 * GiB, 4 * GiB, 2000 * MiB, 6 * GiB))
        self.slots = choose((0, 0, 0, 2))
        more: dict[str, object] = {}
        self.states = STATES if self.memory > 3 * GiB else ("offline", "online_movable")
        if chance() < 0.25 and self.states is STATES:
            more["online_policy"] = "auto-movable"
            more["auto_movable_ratio"] = choose((0, 50, 100, 301))
        if chance() < 0.15:
            more["movable_node"] = True
        if chance() < 0.2:
            more["cma"] = choose(("0", "32M", "128M"))
        self.table(
            "[guest]",
            machine="virt",
            page_size=self.page_size,
            memory=format_size(self.memory),
            max_memory=format_size(self.memory + 32 * GiB),
            slots=self.slots,
            default_state=choose(self.states),
            **more,
        )

    def any_step(self) -> None:
        kinds = (
            ["resize"] * 8 + ["state"] * 5 + ["load"] * 2 + ["reboot", "wait"] + (["dimm"] * 2 if self.slots else [])
        )
        getattr(self, self.random.choice(kinds))()

    def state(self) -> None:
        first = self.hotplugged()
        blocks = sorted({first + self.random.randrange(8) for _ in range(self.random.randint(1, 6))})
        self.step(do="set-state", blocks=blocks, state=self.random.choice(self.states))

    def hotplugged(self) -> int:
        return VIRT.region_start(self.memory) // BLOCK + self.random.randrange(12)


@pytest.mark.parametrize("number", NUMBERS)
def test_both_guests_do_the_same(number: int, kernel: kernels.KernelImage) -> None:
    text = VirtWriter(number, kernel.architecture.page_size).write()
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
