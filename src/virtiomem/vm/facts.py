"""Facts about a machine and the guest in it, as one value: the input of `explain` and `preflight`."""

from dataclasses import dataclass

from virtiomem.architecture import DEFAULT
from virtiomem.driver.at_rest import DeviceFacts
from virtiomem.driver.parameters import DEFAULTS
from virtiomem.driver.sizes import Units, choose_units
from virtiomem.vm.drivers import blocks_of
from virtiomem.vm.inside import Block, GuestMemoryInfo
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """One look at a machine, from outside and from inside.

    Its devices are `placed` already, and the drivers in `hypervisor_info` are as the guest shows them (`with_inside`).
    """

    machine: Machine
    hypervisor_info: HypervisorInfo
    inside: GuestMemoryInfo | None = None
    later: Machine | None = None
    """The same machine once the guest had been looked into."""
    asked: bool = False
    """The guest has an agent, which did not show anything."""
    retry_in: float | None = None
    """Seconds until the driver tries again, at the latest; None where that is not known."""
    exact: bool = False
    """`retry_in` is the time itself, not only the latest one."""

    def driver(self, device: VirtioMemDevice) -> Driver:
        """Return whether a driver has a device."""
        return self.hypervisor_info.drivers.get(device.id, Driver.UNKNOWN)

    def blocks(self, device: VirtioMemDevice) -> tuple[Block, ...]:
        """The guest's memory blocks in a device's region."""
        return blocks_of(device, self.inside)

    def offline(self, device: VirtioMemDevice) -> tuple[Block, ...]:
        """Those that are offline."""
        return tuple(block for block in self.blocks(device) if not block.online)

    def offline_size(self, device: VirtioMemDevice) -> int:
        """Sum the bytes they hold."""
        size = self.inside.block_size if self.inside is not None else None
        return len(self.offline(device)) * (size or 0)

    def units(self, device: VirtioMemDevice) -> Units:
        """Return the units of the driver; the smallest possible ones where the guest does not report enough."""
        if self.inside is None:
            return choose_units(device.block_size, DEFAULT.section_size)
        row = self.inside.architecture
        # A memory block is one section at least, so a unit that is assumed is never too large.
        size = self.inside.block_size or row.section_size
        return choose_units(device.block_size, size, self.inside.driver or DEFAULTS, row)

    def of(self, device: VirtioMemDevice) -> DeviceFacts:
        """Return the facts of a device whose plugged size is known."""
        driver = self.inside.driver if self.inside is not None else None
        return DeviceFacts(
            size=device.assumed_size,
            requested_size=device.requested_size,
            units=self.units(device),
            unplug_online=(driver or DEFAULTS).unplug_online,
            offline=self.offline_size(device),
        )
