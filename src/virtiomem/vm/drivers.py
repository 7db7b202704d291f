"""Find out from the guest about each device: whether a driver has it, where its memory is, whether that is online.

Drivers are known from stable sources: the guest's /proc/iomem and sysfs, where its agent shows them, and a plugged size
that moves. Where the hypervisor does not tell a device's address, the region of its size in /proc/iomem does, if there is one.

The virtio-mem driver claims its device's region when it takes it, and keeps the claim when it goes and leaves memory
behind; the status that virtio shows of the device settles it.
"""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from virtiomem.units import Span
from virtiomem.vm.inside import Block, Claim, GuestMemoryInfo, Seen
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice
from virtiomem.wire.virtio import Status


def with_inside(hypervisor_info: HypervisorInfo, machine: Machine, inside: GuestMemoryInfo | None) -> HypervisorInfo:
    """Add the driver states that the guest shows, where the hypervisor does not report them."""
    told = {name: driver for name, driver in hypervisor_info.drivers.items() if driver is not Driver.UNKNOWN}
    seen = {device.id: _seen(device, inside) for device in machine.virtio_mem}
    # The hypervisor's word wins: it sees DRIVER_OK itself, where the guest's map may keep a claim whose driver is gone.
    return replace(hypervisor_info, drivers=seen | told)


def seen_to_act(hypervisor_info: HypervisorInfo, devices: Collection[str]) -> HypervisorInfo:
    """Mark a driver that is otherwise unknown as ready if its device's plugged size was just seen moving."""
    drivers = {
        name: Driver.READY if driver is Driver.UNKNOWN and name in devices else driver
        for name, driver in hypervisor_info.drivers.items()
    }
    return replace(hypervisor_info, drivers=drivers)


def placed(machine: Machine, inside: GuestMemoryInfo | None) -> Machine:
    """Return the machine with an address for each device for which the guest's claims leave only one."""
    if inside is None or not inside.claims or all(device.memaddr is not None for device in machine.virtio_mem):
        return machine
    sizes = [device.max_size for device in machine.virtio_mem]
    found = {}
    for device in machine.virtio_mem:
        claims = _claims_of(device, inside.claims)
        # One claim and one device of that size, or none: of two devices as large as each other either could have it.
        if device.memaddr is None and len(claims) == sizes.count(device.max_size) == 1:
            found[device.id] = replace(device, memaddr=claims[0].memaddr)
    return replace(machine, devices=tuple(found.get(device.id, device) for device in machine.devices))


def regions(devices: Iterable[VirtioMemDevice]) -> tuple[Span, ...]:
    """Return the regions of the devices where they are known."""
    return tuple(device.region for device in devices if device.region is not None)


def blocks_of(device: VirtioMemDevice, inside: GuestMemoryInfo | None) -> tuple[Block, ...]:
    """The guest's memory blocks in a device's region; none while it is unknown where that is."""
    return () if inside is None or device.region is None else inside.blocks_in(device.region)


def seen_of(device: VirtioMemDevice, machine: Machine, inside: GuestMemoryInfo) -> Seen:
    """Return whether a device's plugged memory is online; judged by all blocks of the guest if the device's are not known."""
    if device.region is not None:
        return inside.seen(device.region, device.assumed_size)
    # Without a region every block of the guest has to stand for it: boot memory and all devices are then expected to be
    # there.
    return inside.seen(None, machine.fixed + sum(other.assumed_size for other in machine.virtio_mem))


def _claims_of(device: VirtioMemDevice, claims: Iterable[Claim]) -> list[Claim]:
    """The claims that may be of a device: that at its address or, while that is unknown, those of its size."""
    if device.memaddr is not None:
        return [claim for claim in claims if claim.memaddr == device.memaddr]
    return [claim for claim in claims if claim.size == device.max_size]


def _seen(device: VirtioMemDevice, inside: GuestMemoryInfo | None) -> Driver:
    """Return the driver state that a device's status shows; unknown if the claims that may belong to it differ."""
    if inside is None or inside.claims is None:
        return Driver.UNKNOWN
    # No claim means no driver: virtio-mem claims the region of its device before it sets DRIVER_OK.
    found = {_driver(claim) for claim in _claims_of(device, inside.claims)} or {Driver.ABSENT}
    return found.pop() if len(found) == 1 else Driver.UNKNOWN


def _driver(claim: Claim) -> Driver:
    if claim.status is None:
        return Driver.UNKNOWN
    if claim.status & Status.NEEDS_RESET:
        return Driver.BROKEN
    return Driver.READY if claim.status & Status.DRIVER_OK else Driver.ABSENT
