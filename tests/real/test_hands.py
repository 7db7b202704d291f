"""The suite by hands in a real guest, next to the suite through QEMU's test socket."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.needs import require
from virtiomem.architecture import DEFAULT
from virtiomem.conformance.booted import BootTarget, expected_release
from virtiomem.conformance.fuzz import fuzz
from virtiomem.conformance.rules import selected
from virtiomem.conformance.suite import RuleOutcome, run
from virtiomem.conformance.targets import QemuTarget
from virtiomem.conformance.vmm import Vmm, read_command
from virtiomem.guest import hands
from virtiomem.guest.linux.kernels import KernelImage
from virtiomem.vm.hook import DoorHook

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.proves("rules by hands in a guest")]

MACHINE = (
    "-accel tcg -M q35 -m 512M,maxmem=64G,slots=1 -nodefaults -display none -serial stdio -kernel {kernel} -initrd {initrd} "
    "-append {append} -object memory-backend-ram,id=m0,size={size},reserve=off -device virtio-mem-pci,id=vm0,memdev=m0,"
    "block-size={block-size},requested-size={requested-size},memaddr={memaddr},unplugged-inaccessible={unplugged-inaccessible}"
)
ONE_SHAPE = [rule.id for rule in selected(["PLUG", "UNPLUG", "STATE", "CFG", "OPS"]) if rule.unseen is None]
"""Rules that mostly want the same device: a boot under emulation takes seconds."""


@pytest.fixture(scope="module")
def program() -> bytes:
    require("gcc" if platform.machine() == DEFAULT.kernel_name else "x86_64-linux-gnu-gcc", "gcc, libc6-dev")
    return hands.build(DEFAULT)


@pytest.fixture
def booted(qemu: str, kernel: KernelImage, program: bytes, tmp_path: Path) -> Iterator[BootTarget]:
    command = read_command(f"{qemu} {MACHINE} -qmp unix:{tmp_path}/qmp,server=on,wait=off")
    target = BootTarget(Vmm(command, kernel.image, program), DoorHook(f"qmp:{tmp_path}/qmp"), expected_release(command))
    yield target
    target.close()


def test_the_verdicts_are_those_of_the_test_socket(booted: BootTarget, qemu: str) -> None:
    by_hands = run(booted, selected(ONE_SHAPE))
    socket = QemuTarget(qemu)
    by_socket = run(socket, selected(ONE_SHAPE))
    socket.close()
    told = {verdict.rule.id: verdict.outcome for verdict in by_hands.verdicts}
    unseen = {rule for rule, outcome in told.items() if outcome is RuleOutcome.NOT_APPLICABLE}
    assert unseen == {"PLUG-5", "UNPLUG-5"}, "a guest cannot start a migration"
    assert {rule: outcome for rule, outcome in told.items() if rule not in unseen} == {
        verdict.rule.id: verdict.outcome for verdict in by_socket.verdicts if verdict.rule.id not in unseen
    }


@pytest.mark.skipif(
    os.environ.get("VIRTIOMEM_REAL") == "some", reason="a slice has the verdicts: this one takes minutes"
)
@pytest.mark.on(qemu=None)
def test_random_moves_show_no_difference(booted: BootTarget) -> None:
    figures = fuzz(booted, seed=20, requests=300)
    assert not figures.findings, str(figures.findings[0].difference)
    assert figures.requests >= 300
