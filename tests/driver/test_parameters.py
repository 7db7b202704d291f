import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtiomem.driver.parameters import PARAMETERS, Parameters
from virtiomem.guest.base import DriverConfig
from virtiomem.live.sources import SOURCES
from virtiomem.units import MiB

ANY = st.builds(
    Parameters, **{name: st.booleans() for name in PARAMETERS} | {"bbm_block_size": st.integers(0, 1 << 40)}
)


def test_the_module_is_loaded_with_what_differs() -> None:
    assert Parameters().to_modprobe() == []
    loaded = Parameters(force_bbm=True, bbm_block_size=256 * MiB, bbm_safe_unplug=False, unplug_online=False)
    assert loaded.to_modprobe() == [
        "force_bbm=Y",
        f"bbm_block_size={256 * MiB}",
        "bbm_safe_unplug=N",
        "unplug_online=N",
    ]


@settings(deadline=None)
@given(ANY)
def test_what_sysfs_shows_is_what_the_module_was_loaded_with(parameters: Parameters) -> None:
    assert Parameters.from_sysfs(parameters.to_sysfs()) == parameters
    assert DriverConfig.of(parameters).parameters == parameters


def test_a_file_that_is_missing_has_the_default() -> None:
    assert Parameters.from_sysfs({"force_bbm": "Y"}) == Parameters(force_bbm=True)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_capture_has_every_parameter(name: str) -> None:
    (source,) = (one for one in SOURCES if one.heading == "sys/module/virtio_mem/parameters")
    assert name in source.what
