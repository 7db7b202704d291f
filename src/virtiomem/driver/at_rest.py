"""Why a driver rests, without a timer, while its device is not at the requested size: worked out from sizes and parameters.

Used by all that know them: the driver itself, a look at a real Linux, a hypervisor with an agent.
"""

from dataclasses import dataclass

from virtiomem.driver.sizes import Units
from virtiomem.reasons import Reason, ReasonKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """State of a device and of its driver; sizes in bytes."""

    size: int
    requested_size: int
    units: Units
    unplug_online: bool = True
    """The driver may unplug memory that is online."""
    offline: int = 0
    """How much of the added memory is offline."""
    waits: bool | None = None
    """The driver waits for memory to go online; None where offline memory leaves no room to add more."""


def why_at_rest(facts: DeviceFacts) -> Reason | None:
    """The reason; None where sizes and parameters give none."""
    missing, units = facts.requested_size - facts.size, facts.units
    # First: of less than a unit nothing could be unplugged either way.
    if abs(missing) < units.plugged:
        return Reason(ReasonKind.BELOW_UNIT, {"missing": abs(missing), "unit": units.plugged})
    if missing < 0 and not facts.unplug_online:
        return Reason(ReasonKind.UNPLUG_ONLINE_OFF)
    # The driver knows why its last pass ended; an observer outside can only work it out from sizes.
    waits = not units.could_add(facts.offline) if facts.waits is None else facts.waits
    if missing > 0 and waits:
        return Reason(ReasonKind.TOO_MUCH_OFFLINE, {"offline": facts.offline, "limit": units.resume_size})
    return None
