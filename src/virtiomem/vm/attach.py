"""Add a memory device to a running machine, or remove one."""

import asyncio
from itertools import count

from virtiomem.errors import UsageError
from virtiomem.units import format_size
from virtiomem.vm.model import Attaching, Machine, NewDevice, VirtioMemDevice, Vm
from virtiomem.vm.plan import PlanError

SHOWN_SECONDS = 10.0
"""A device that was added is seen within this."""
LOOK_SECONDS = 1.0


async def add(vm: Vm, new: NewDevice) -> tuple[Machine, str]:
    """Add a device, and return the machine with it, and its id; raises what the backend raises."""
    # `commands.connections` has refused every door that cannot attach, by its row of abilities.
    assert isinstance(vm.backend, Attaching)
    device = await vm.backend.attach(new)
    machine, _ = await _until(vm, device, there=True, seconds=SHOWN_SECONDS)
    return machine, device


async def remove(vm: Vm, device: str | None, seconds: float) -> tuple[Machine, bool]:
    """Ask for a device to be removed; return the machine as last seen, and whether it is gone within `seconds`.

    Raises UsageError for a target without a device, PlanError for a device that is not there or not empty.
    """
    assert isinstance(vm.backend, Attaching)
    if device is None:
        raise UsageError(f"{vm.name} is a machine: write {vm.name}/DEVICE")
    found = (await vm.backend.look()).device(device)
    if found is None:
        raise PlanError(f"it has no device {device!r}", connection=vm.name)
    # Hypervisors let a virtio-mem device go only with nothing plugged and nothing requested. An unknown size counts as
    # plugged: the refusal would not say what to do first.
    if isinstance(found, VirtioMemDevice) and (found.size != 0 or found.requested_size):
        plugged = "?" if found.size is None else format_size(found.size)
        asked = format_size(found.requested_size)
        raise PlanError(f"{device} has {plugged} plugged, {asked} requested: resize it to 0 first", connection=vm.name)
    await vm.backend.detach(device)
    return await _until(vm, device, there=False, seconds=seconds)


def free_name(machine: Machine, stem: str) -> str:
    """Return the first of ``vm0``, ``vm1`` … that is not part of any device's id."""
    taken = [device.id for device in machine.devices]
    # A part of an id is enough: libvirt lists what we call vm0 as ua-vm0.
    names = (f"{stem}{number}" for number in count())
    return next(name for name in names if not any(name in one for one in taken))


async def _until(vm: Vm, device: str, *, there: bool, seconds: float) -> tuple[Machine, bool]:
    """Look until a device is there, or is gone, for at most `seconds`; return the last look, and whether it happened."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        # No door has an event for a device that came or went: only looking again shows it.
        machine = await vm.backend.look()
        so = (machine.device(device) is not None) is there
        left = until - asyncio.get_running_loop().time()
        if so or left <= 0:
            return machine, so
        await vm.backend.wait(min(left, LOOK_SECONDS))
