import pytest

from virtiomem.driver.parameters import Parameters
from virtiomem.driver.sizes import Units, choose_units
from virtiomem.units import GiB, MiB

MB = 128 * MiB


@pytest.mark.parametrize(
    ("device_block_size", "memory_block_size", "unit"),
    [(1 * MiB, MB, 2 * MiB), (2 * MiB, MB, 2 * MiB), (64 * MiB, MB, 64 * MiB), (MB, 2 * GiB, MB)],
)
def test_sub_blocks_where_two_of_them_fit_a_memory_block(
    device_block_size: int, memory_block_size: int, unit: int
) -> None:
    assert choose_units(device_block_size, memory_block_size) == Units(unit, memory_block_size)


@pytest.mark.parametrize(("device_block_size", "unit"), [(2 * MiB, MB), (MB, MB), (1 * GiB, 1 * GiB)])
def test_a_big_block_is_the_larger_of_the_two_blocks(device_block_size: int, unit: int) -> None:
    assert choose_units(device_block_size, MB, Parameters(force_bbm=True)) == Units(unit, unit)
    if device_block_size >= MB:
        assert choose_units(device_block_size, MB) == Units(unit, unit)


@pytest.mark.parametrize(
    ("wanted", "unit"),
    [(0, MB), (64 * MiB, MB), (MB, MB), (192 * MiB, MB), (256 * MiB, 256 * MiB), (4 * GiB, 4 * GiB)],
)
def test_bbm_block_size_counts_where_it_can_be_and_only_for_big_blocks(wanted: int, unit: int) -> None:
    assert choose_units(2 * MiB, MB, Parameters(force_bbm=True, bbm_block_size=wanted)) == Units(unit, unit)
    assert choose_units(2 * MiB, MB, Parameters(bbm_block_size=wanted)) == Units(2 * MiB, MB)
