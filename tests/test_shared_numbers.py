"""Numbers that stand twice, because neither room may cost the other's import, are the same."""

import pytest

from virtiomem.device import mem
from virtiomem.driver import mode, work
from virtiomem.guest.base import DeviceConfig
from virtiomem.live import collect, devices
from virtiomem.memory.pages import PAGEBLOCK_SIZE
from virtiomem.units import GiB, Size
from virtiomem.vm import explain, retry


@pytest.mark.parametrize(
    ("ours", "models"),
    [
        pytest.param(explain.OFFLINE_THRESHOLD, mode.OFFLINE_THRESHOLD, id="offline threshold"),
        pytest.param(explain.DRIVER_UNIT, PAGEBLOCK_SIZE, id="least sub-block"),
        pytest.param(collect.PAGES_UNIT, PAGEBLOCK_SIZE, id="grain of a capture's pages"),
        pytest.param(retry.FIRST_SECONDS, work.RETRY_MIN, id="first retry"),
        pytest.param(retry.LAST_SECONDS, work.RETRY_MAX, id="last retry"),
        pytest.param(devices.DEFAULT_BLOCK_SIZE, mem.DEFAULT_BLOCK_SIZE, id="block size of a captured device"),
        pytest.param(
            DeviceConfig(id="vm0", max_size=Size(GiB)).block_size, mem.DEFAULT_BLOCK_SIZE, id="block size of a scenario"
        ),
    ],
)
def test_number_is_what_the_model_says(ours: float, models: float) -> None:
    assert ours == models
