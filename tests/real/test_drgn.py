"""The resource tree that drgn reads out of a real guest's vmcore is that guest's /proc/iomem, and has the kernel's flags."""

import base64
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.real.needs import debug_information
from virtiomem.cli.main import main
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup, kernels
from virtiomem.live import kernel_tree
from virtiomem.recording.values import Load, Resize
from virtiomem.resource import iomem
from virtiomem.resource.flags import (
    BUSY_RAM,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSRAM_MERGEABLE,
)
from virtiomem.units import GiB, MiB, Size

pytestmark = [pytest.mark.real, pytest.mark.on(linux="every")]

CHUNK = 8000
"""Characters in a line to the guest's shell."""


class Dumped(NamedTuple):
    """A guest's memory as QEMU's dump-guest-memory wrote it, and what the guest said just before."""

    core: Path
    debug: Path
    listing: str


@pytest.fixture(scope="module")
def dumped(setup: Setup, kernel: kernels.KernelImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumped]:
    if importlib.util.find_spec("drgn") is None:
        pytest.skip("NOT HERE: drgn (make real-drgn)")
    debug = debug_information(kernel.release)
    if debug is None:
        pytest.skip(f"NOT HERE: debug information of Linux {kernel.release} (make real-drgn)")
    folder = tmp_path_factory.mktemp("drgn")
    config = GuestConfig(memory=Size(512 * MiB), default_state="online_movable")
    device = DeviceConfig(id="vm0", max_size=Size(2 * GiB))
    with LinuxGuest(config, [device], setup=with_vmcoreinfo(setup, folder)) as guest:
        for module in kernel.load_order("qemu_fw_cfg"):
            insert(guest, module)
        guest.play(Load())
        guest.play(Resize(device="vm0", requested_size=Size(300 * MiB)))
        listing = guest.shell("cat /proc/iomem").text
        guest.qmp.execute("dump-guest-memory", {"paging": False, "protocol": f"file:{folder / 'core'}"})
    yield Dumped(folder / "core", debug, listing)
    (folder / "core").unlink()


def with_vmcoreinfo(setup: Setup, folder: Path) -> Setup:
    """The same QEMU, with the device through which a kernel says where its VMCOREINFO is."""
    program = folder / "qemu"
    program.write_text(f'#!/bin/sh\nexec {setup.qemu} "$@" -device vmcoreinfo\n')
    program.chmod(0o755)
    return Setup(kernel=setup.kernel, qemu=str(program), accel=setup.accel)


def insert(guest: LinuxGuest, module: kernels.Module) -> None:
    """Load a module that the guest's root has not."""
    text = base64.b64encode(module.data).decode()
    for at in range(0, len(text), CHUNK):
        guest.shell(f"echo {text[at : at + CHUNK]} >>/module.b64")
    assert guest.shell("base64 -d /module.b64 >/module.ko && rm /module.b64 && insmod /module.ko").status == 0


def test_tree_is_the_guests_own_listing(dumped: Dumped, capsys: pytest.CaptureFixture[str]) -> None:
    tree = kernel_tree.load(dumped.core, dumped.debug)
    tree.check()
    assert iomem.dumps(tree) == dumped.listing
    assert main(["iomem", "--core", str(dumped.core), "--debug", str(dumped.debug), "--raw"]) == 0
    assert capsys.readouterr() == (dumped.listing, "")


def test_flags_are_the_kernels_and_those_that_a_listing_lets_guess(dumped: Dumped) -> None:
    tree = kernel_tree.load(dumped.core, dumped.debug)
    managed = IORESOURCE_SYSRAM_DRIVER_MANAGED | IORESOURCE_SYSRAM_MERGEABLE
    flags = {node.name: node.flags for _, node in tree.walk()}
    assert flags["System RAM"] == BUSY_RAM
    assert flags["System RAM (virtio_mem)"] == BUSY_RAM | managed
    guessed = {node.name: node.flags & BUSY_RAM for _, node in iomem.loads(dumped.listing).walk() if "RAM" in node.name}
    assert {name: flags[name] & BUSY_RAM for name in guessed} == guessed


def test_core_that_is_cut_is_refused_in_one_line(
    dumped: Dumped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    with dumped.core.open("rb") as file:
        cut.write_bytes(file.read(MiB))
    assert main(["iomem", "--core", str(cut), "--debug", str(dumped.debug)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"virtiomem: {cut}: ")
    assert err.count("\n") == 1


def test_debug_information_of_another_file_is_refused_in_one_line(
    dumped: Dumped, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["iomem", "--core", str(dumped.core), "--debug", "/bin/sh"]) == 2
    assert "debug information of Linux " in (err := capsys.readouterr().err)
    assert err.count("\n") == 1
