"""Whether a driver has a device, from stable sources: the guest's /proc/iomem and sysfs, where its agent shows them, and
a plugged size that moves.

The virtio-mem driver claims its device's region when it takes it, and keeps the claim when it goes and leaves memory
behind; the status that virtio shows of the device settles it.
"""

from collections.abc import Collection

from msgspec.structs import replace

from virtiomem.vm.inside import GuestMemoryInfo
from virtiomem.vm.model import Device, Driver, HypervisorInfo, Machine
from virtiomem.wire.virtio import Status


def with_inside(hypervisor_info: HypervisorInfo, machine: Machine, inside: GuestMemoryInfo | None) -> HypervisorInfo:
    """What the hypervisor does not tell of drivers, as the guest does."""
    told = {name: driver for name, driver in hypervisor_info.drivers.items() if driver is not Driver.UNKNOWN}
    seen = {device.id: _seen(device, inside) for device in machine.virtio_mem}
    return replace(hypervisor_info, drivers=seen | told)


def seen_to_act(hypervisor_info: HypervisorInfo, devices: Collection[str]) -> HypervisorInfo:
    """A driver that is otherwise unknown is there when its device's plugged size was just seen moving."""
    drivers = {
        name: Driver.READY if driver is Driver.UNKNOWN and name in devices else driver
        for name, driver in hypervisor_info.drivers.items()
    }
    return replace(hypervisor_info, drivers=drivers)


def _seen(device: Device, inside: GuestMemoryInfo | None) -> Driver:
    if inside is None or inside.claims is None:
        return Driver.UNKNOWN
    claim = next((claim for claim in inside.claims if claim.memaddr == device.memaddr), None)
    if claim is None:
        return Driver.ABSENT
    if claim.status is None:
        return Driver.UNKNOWN
    if claim.status & Status.NEEDS_RESET:
        return Driver.BROKEN
    return Driver.READY if claim.status & Status.DRIVER_OK else Driver.ABSENT
