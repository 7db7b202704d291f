"""The table of doors: the one place that knows which there are."""

import re
from collections.abc import Iterable

from virtiomem.errors import UsageError
from virtiomem.text import quoted
from virtiomem.vm.doors import cloud_hypervisor, firecracker, libvirt, qmp, sim
from virtiomem.vm.doors.base import Connection, Door, MachineTarget

DOORS: tuple[Door, ...] = (qmp.DOOR, libvirt.DOOR, firecracker.DOOR, cloud_hypervisor.DOOR, sim.DOOR)
BY_PATH = qmp.DOOR
"""The door that a bare path means."""
USAGES = tuple(usage for door in DOORS for usage in door.usages)


def refuse_what_cannot_be(connections: Iterable[Connection], verb: str) -> None:
    """Raise UsageError for a machine whose door cannot do what `verb` needs (`base.VERBS`)."""
    for connection in connections:
        ability = door_of(connection.target).ability(verb)
        if not ability.can:
            raise UsageError(f"{connection.label}: {verb} is not possible: {ability.note}")


def refuse_unread_model(connections: Iterable[Connection], model: str | None) -> None:
    """Raise UsageError for a release of Linux to model (`base.Access`) if no machine is simulated."""
    if model is not None and not any(isinstance(connection.target, sim.SimTarget) for connection in connections):
        raise UsageError("--model is for a scenario (sim:FILE); a machine that runs has a kernel of its own")


def door_of(target: MachineTarget) -> Door:
    """The door that has read a target."""
    scheme = str(target).partition(":")[0]
    return next(door for door in DOORS if door.scheme == scheme)


def parse_target(text: str, *, source: str) -> MachineTarget:
    """Read ``SCHEME:WHERE``, or a path; UsageError begins with `source` and says what can be written."""
    if text.startswith(("/", "./", "../")):
        return BY_PATH.parse(text, source)
    scheme, _, where = text.partition(":")
    door = next((door for door in DOORS if door.scheme == scheme), None)
    # The likeliest slip of one who comes from virsh; without the hint it would be "not a machine".
    if door is None and "://" in text:
        raise UsageError(
            f"{source}: {quoted(text)} is a URI of libvirt: write {libvirt.DOOR.scheme}: before it, and the domain behind it "
            f"(libvirt:qemu:///system/web1, or libvirt:qemu:///system/ for all)"
        )
    if door is None or not where:
        domain = f"libvirt:{text} is the domain of that name; " if re.fullmatch(r"[\w.-]+", text) else ""
        raise UsageError(
            f"{source}: {quoted(text)} is not a machine ({domain}write {', '.join(USAGES)} or a known name)"
        )
    return door.parse(where, source)
