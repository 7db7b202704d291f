"""Why a driver rests, told from sizes and parameters alone."""

from typing import Any

import pytest

from virtiomem.driver.at_rest import DeviceFacts, why_at_rest
from virtiomem.driver.sizes import Units
from virtiomem.reasons import ReasonKind
from virtiomem.units import GiB, MiB

UNITS = Units(2 * MiB, 128 * MiB)


@pytest.mark.parametrize(
    ("size", "requested", "more", "kind"),
    [
        (GiB, GiB + MiB, {}, ReasonKind.BELOW_UNIT),
        (GiB, GiB - MiB, {}, ReasonKind.BELOW_UNIT),
        (GiB, GiB - MiB, {"unplug_online": False}, ReasonKind.BELOW_UNIT),
        (GiB, GiB - 2 * MiB, {"unplug_online": False}, ReasonKind.UNPLUG_ONLINE_OFF),
        (GiB, 2 * GiB, {"unplug_online": False}, None),
        (GiB, 2 * GiB, {"offline": 896 * MiB}, None),
        (GiB, 2 * GiB, {"offline": GiB}, ReasonKind.TOO_MUCH_OFFLINE),
        (2 * GiB, GiB, {"offline": GiB}, None),
        (GiB, 2 * GiB, {"offline": GiB, "waits": False}, None),
        (GiB, 2 * GiB, {"offline": 896 * MiB, "waits": True}, ReasonKind.TOO_MUCH_OFFLINE),
    ],
)
def test_the_reason_follows_from_sizes_and_parameters(
    size: int, requested: int, more: dict[str, Any], kind: ReasonKind | None
) -> None:
    found = why_at_rest(DeviceFacts(size=size, requested_size=requested, units=UNITS, **more))
    assert (found and found.kind) is kind


def test_it_tells_how_little_must_be_offline_before_more_is_added() -> None:
    big = Units(2 * GiB, 2 * GiB)
    assert why_at_rest(DeviceFacts(size=0, requested_size=4 * GiB, units=big, offline=2 * GiB)) is None
    found = why_at_rest(DeviceFacts(size=0, requested_size=8 * GiB, units=big, offline=4 * GiB))
    assert found is not None
    assert found.values == {"offline": 4 * GiB, "limit": 2 * GiB}
