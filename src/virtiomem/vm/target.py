"""Find the machines and devices that ``virtiomem vm resize TARGET`` means.

A target is a machine (``web1``), a device of a machine (``web1/vm0``), a device (``vm0``) when only one machine is
connected, or ``all``; shell patterns match many (``web*``, ``*/vm0``).
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from virtiomem.errors import UsageError
from virtiomem.text import nearest, quoted
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.model import Machine, VirtioMemDevice
from virtiomem.vm.plan import Plan, PlanError, Scope, Spread, Wish, plan_device, plan_machine


def select(target: str, connections: Sequence[Connection]) -> list[Connection]:
    """The connections that a target can mean: it names them, or there is only one. UsageError when no connection is given."""
    if target == "all":
        return list(connections)
    machine_part = target.rpartition("/")[0]
    chosen = [c for c in connections if matches(c.name, target) or matches(c.name, machine_part)]
    # With one machine connected its name may be left out, so that `vm0` means its device.
    if not chosen and len(connections) == 1 and "/" not in target:
        chosen = list(connections)
    if not chosen:
        names = ", ".join(connection.name for connection in connections[:8])
        raise UsageError(
            f"{quoted(target)} names none of the machines{nearest(target, [one.name for one in connections])} ({names}{', …' if len(connections) > 8 else ''})"
        )
    return chosen


def matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern or equals it literally (names may contain brackets)."""
    return name == pattern or fnmatchcase(name, pattern)


def device_pattern(target: str, name: str) -> str | None:
    """The part of a target that names a device of the machine `name`; None when the whole machine is meant."""
    if target == "all" or matches(name, target):
        return None
    machine_part, _, device_part = target.rpartition("/")
    return device_part if matches(name, machine_part) else target


def plan_target(
    machine: Machine, pattern: str | None, scope: Scope, wish: Wish, spread: Spread, *, round_up: bool = False
) -> Plan:
    """The plan for what a target means on one machine; PlanError says what is wrong in plain words."""
    if scope is not Scope.DEVICE:
        if pattern is not None:
            raise UsageError(f"--{scope} is for whole machines, and {quoted(pattern)} is not a machine")
        return plan_machine(machine, scope, wish, spread, round_up=round_up)
    devices = _devices(machine, pattern)
    return Plan(tuple(c for d in devices for c in plan_device(d, wish, round_up=round_up).changes))


def _devices(machine: Machine, pattern: str | None) -> list[VirtioMemDevice]:
    """The devices a pattern means; without one, the only device there is."""
    resizable = machine.virtio_mem
    if pattern is None:
        if len(resizable) == 1:
            return list(resizable)
        ids = ", ".join(device.id for device in resizable)
        raise PlanError(
            f"it has {len(resizable)} virtio-mem devices ({ids}): name one, or give --plugged or --total"
            if resizable
            else "it has no virtio-mem device"
        )
    return named_devices(machine, pattern)


def named_devices(machine: Machine, pattern: str) -> list[VirtioMemDevice]:
    """The virtio-mem devices a pattern means; PlanError when it means none."""
    chosen = [device for device in machine.virtio_mem if matches(device.id, pattern)]
    if chosen:
        return chosen
    if any(matches(device.id, pattern) for device in machine.devices):
        raise PlanError(f"{pattern} is not a virtio-mem device: its size is fixed")
    there = [device.id for device in machine.virtio_mem]
    raise PlanError(
        f"it has no device {quoted(pattern)}{nearest(pattern, there)} (there is {', '.join(there) or 'none'})"
    )
