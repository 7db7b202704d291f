"""One running kernel: resource tree, hotplug core and, once loaded, the virtio_mem module."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from virtiomem.abi import MemmapOnMemory, OnlinePolicy, Sleep
from virtiomem.clock import Clock
from virtiomem.driver import VirtioMem, VirtioMemModule
from virtiomem.errors import Errno
from virtiomem.guest.base import DriverConfig, GuestConfig
from virtiomem.kdump.loader import Loader
from virtiomem.memory import Memory, MemoryBlock, Policy, sysfs
from virtiomem.memory.core import boot_ram
from virtiomem.memory.vmemmap import free_after_boot
from virtiomem.recording import values
from virtiomem.resource import iomem
from virtiomem.transport.channel import RequestChannel

if TYPE_CHECKING:
    from virtiomem.kdump.kept import KeptHeader
    from virtiomem.kdump.ranges import CrashRange


def recorded(memory: Memory, block: MemoryBlock, plugged: int | UnsetType = UNSET) -> values.MemoryBlock:
    """A memory block as a recording has it."""
    return values.MemoryBlock(
        block=block.id,
        state=str(block.state),
        valid_zones=sysfs.valid_zones(memory, block),
        nodes=sysfs.nodes_of(memory, block),
        plugged=plugged,
    )


class Kernel:
    """A kernel from its boot on; a reboot or a kexec makes a new one."""

    def __init__(self, config: GuestConfig, boot_iomem: str, boot: values.Snapshot | None = None) -> None:
        """Boot on the memory that the listing `boot_iomem` shows.

        `boot`: what a real guest said at the same moment, for what only it can know (managed pages). Raises
        ListingError for an impossible listing, ValueError for an impossible memory block size, UsageError for a release that
        does not begin with a version.
        """
        self.clock = Clock()
        self.log: list[str] = []
        self.module: VirtioMemModule | None = None
        self.crash_header: KeptHeader | None = None
        """Of the loaded crash kernel."""
        self._build = config.build
        self.memory = Memory(
            iomem.loads(boot_iomem),
            block_size=config.memory_block_size,
            policy=Policy(
                default_state=config.added_state,
                online_policy=OnlinePolicy(config.online_policy),
                auto_movable_ratio=config.auto_movable_ratio,
                auto_movable_numa_aware=config.auto_movable_numa_aware,
                memmap_on_memory=MemmapOnMemory(config.memmap_on_memory),
                movable_node=config.movable_node,
            ),
            nodes={node.id: node.spans for node in config.nodes} or None,
            release=config.release,
            architecture=config.architecture,
            knows_domains=config.has_acpi,
            cma=config.cma,
        )
        self.boot_blocks = {block.id: recorded(self.memory, block) for block in self.memory.blocks.values()}
        """What every snapshot says about boot memory, which never goes offline."""
        if boot is not None:
            self._adopt_managed(boot)
        self.memory.vmemmap.boot_with(self._free(config) // self.memory.page_size)

    def _free(self, config: GuestConfig) -> int:
        """Return the free memory after boot."""
        if config.free is not None:
            return config.free
        there = sum(part.size for part in boot_ram(self.memory.iomem, config.architecture))
        return max(free_after_boot(self._build, there) - (config.crashkernel or 0), 0)

    def _adopt_managed(self, boot: values.Snapshot) -> None:
        """Take the numbers of managed pages from the real kernel's snapshot."""
        for node in self.memory.nodes.values():
            for name, zone in node.zones.items():
                pages = boot.zones.get(f"node{node.nid}", {}).get(str(name))
                if pages is not None:
                    zone.managed = zone.boot_managed = min(pages.managed, zone.present)

    def load(self, devices: Sequence[tuple[str, RequestChannel]], driver: DriverConfig) -> None:
        """Load virtio_mem and let it probe its devices."""
        self.module = VirtioMemModule(self.memory, self.clock, devices, driver.parameters, self._note)

    def load_crash_kernel(self, loader: Loader, held: "Sequence[CrashRange] | None" = None) -> None:
        """Load a crash kernel in the place of the one before; when it is refused (KernelError) that one stays.

        `held`: what its header has instead of what it would be made of now.
        """
        # Not above: few scenarios load one, and every run would pay for it.
        from virtiomem.kdump.elfcore import Inputs
        from virtiomem.kdump.kept import KeptHeader

        row, start = self.memory.architecture, self.memory.hotpluggable_start
        # One processor, as the real guest has (-smp 1): a header has a note for each.
        inputs = Inputs(possible_cpus=1, machine=row.elf_machine, direct_map=row.map_base(start))
        header = KeptHeader(self.memory, inputs, build=self._build, loader=loader, note=self._note, held=held)
        # Only once the new one is made: a load that is refused leaves the old one in memory.
        if self.crash_header is not None:
            self.crash_header.unload()
        self.crash_header = header

    def unload(self) -> None:
        """Remove virtio_mem."""
        if self.module is not None:
            self.module.unload()
            self.module = None

    def suspend(self, to: Sleep, sleep: Callable[[], None]) -> Errno:
        """Suspend, and wake up at once; EPERM when the driver refuses, ENODEV for a suspend to disk, as there is no swap."""
        rc = self.module.freeze(to) if self.module is not None else Errno.OK
        if rc or to is Sleep.DISK:
            return rc or Errno.ENODEV
        sleep()
        if self.module is not None:
            self.module.restore()
        return Errno.OK

    @property
    def devices(self) -> list[VirtioMem]:
        """The devices that the loaded driver has set up."""
        return self.module.devices if self.module is not None else []

    def halt(self) -> None:
        """Stop hearing from devices: another kernel takes over."""
        for device in self.devices:
            device.detach()

    def _note(self, level: str, text: str) -> None:
        self.log.append(text if level == "info" else f"{level}: {text}")

    def check(self) -> None:
        """Assert every invariant of every part."""
        self.clock.check()
        self.memory.check()
        if self.crash_header is not None:
            self.crash_header.check()
        if self.module is not None:
            self.module.check()
