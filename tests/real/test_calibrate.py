"""A workload on a real guest, as `virtiomem calibrate` runs it."""

import pytest

from virtiomem.guest.linux import Setup
from virtiomem.sweep.calibrate import ShrinkFigures
from virtiomem.sweep.observe import DEVICE, observe
from virtiomem.units import MiB

pytestmark = pytest.mark.real


@pytest.mark.on(linux="every")
def test_a_buffer_of_the_kernels_own_is_seen_and_gone_when_it_is_freed(setup: Setup) -> None:
    seen = observe("buffer", setup)
    figures = ShrinkFigures.observed(seen)
    assert 250 * MiB < seen.unmovable < 280 * MiB
    assert 120 < figures.held < 140
    assert figures.left < 12
    assert DEVICE.max_size - 64 * MiB < seen.came_back < DEVICE.max_size
