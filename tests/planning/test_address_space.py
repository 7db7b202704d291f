"""What QEMU 7.2 said about `-m 2G,maxmem=…,slots=…` on a CPU with 40 address bits."""

import tomllib
from pathlib import Path

import pytest

from virtiomem.guest.machine import MachineLayout
from virtiomem.planning.address_space import highest_address, largest_maximum
from virtiomem.units import GiB

CASE = Path(__file__).parents[3] / "shared" / "cases" / "maxmem-beyond-address-bits.toml"


def q35(maximum: int, slots: int = 0) -> MachineLayout:
    return MachineLayout("q35", 2 * GiB, maximum, slots)


@pytest.mark.parametrize(
    ("gib", "slots", "top"),
    [(979, 0, 0x1FC3FFFFFFF), (978, 1, 0x1FC3FFFFFFF), (979, 1, 0x1FC7FFFFFFF), (1000, 1, 0x201BFFFFFFF)],
)
def test_address_that_qemu_names_is_the_highest(gib: int, slots: int, top: int) -> None:
    assert highest_address(q35(gib * GiB, slots), amd=True) == top


@pytest.mark.parametrize(("gib", "slots"), [(978, 0), (977, 1), (970, 1)])
def test_machine_that_qemu_starts_fits_into_40_bits(gib: int, slots: int) -> None:
    assert highest_address(q35(gib * GiB, slots), amd=True) < 1 << 40


def test_case_reaches_what_qemu_said() -> None:
    if not CASE.exists():
        pytest.skip(f"NOT HERE: {CASE.name}")
    assert tomllib.loads(CASE.read_text())["guest"]["max-memory"] == "2T"
    assert highest_address(q35(2048 * GiB, 8), amd=True) == 0x3097FFFFFFF


@pytest.mark.parametrize("bits", range(37, 53))
@pytest.mark.parametrize("amd", [False, True])
@pytest.mark.parametrize("slots", [0, 1, 8])
def test_largest_maximum_fits_and_a_gib_more_does_not(bits: int, amd: bool, slots: int) -> None:
    most = largest_maximum(q35(1 << bits, slots), bits, amd=amd)
    assert highest_address(q35(most, slots), amd=amd) < 1 << bits
    assert highest_address(q35(most + GiB, slots), amd=amd) >= 1 << bits


@pytest.mark.parametrize("memory", [GiB, 64 * GiB])
@pytest.mark.parametrize("bits", [40, 41, 44])
def test_largest_maximum_of_virt_fits_though_its_window_is_aligned(memory: int, bits: int) -> None:
    most = largest_maximum(MachineLayout("virt", memory, 600 * GiB, 0), bits, amd=False)
    assert highest_address(MachineLayout("virt", memory, most, 0), amd=False) < 1 << bits
    assert highest_address(MachineLayout("virt", memory, most + GiB, 0), amd=False) >= 1 << bits
    assert most > (1 << bits - 2)
