"""The table of doors: the one place that knows which there are."""

from virtiomem.errors import UsageError
from virtiomem.text import quoted
from virtiomem.vm.doors import qmp, sim
from virtiomem.vm.doors.base import Door, MachineTarget

DOORS: tuple[Door, ...] = (qmp.DOOR, sim.DOOR)
BY_PATH = qmp.DOOR
"""The door that a bare path means."""
USAGES = tuple(usage for door in DOORS for usage in door.usages)


def parse_target(text: str, *, source: str) -> MachineTarget:
    """Read ``SCHEME:WHERE``, or a path; UsageError begins with `source` and says what can be written."""
    if text.startswith(("/", "./", "../")):
        return BY_PATH.parse(text, source)
    scheme, _, where = text.partition(":")
    door = next((door for door in DOORS if door.scheme == scheme), None)
    if door is None or not where:
        raise UsageError(f"{source}: {quoted(text)} is not a machine (write {', '.join(USAGES)} or a known name)")
    return door.parse(where, source)
