"""Configuration of a guest as values, and the interface that every guest has."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from typing import Any, Literal, Protocol, Self

from msgspec import Struct, field, structs

from virtiomem.abi import AUTO_MOVABLE_RATIO, OnlineType
from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import Architecture
from virtiomem.device.board import BOARDS, MachineKind
from virtiomem.driver.parameters import Parameters
from virtiomem.errors import ScenarioError
from virtiomem.reasons import Reason
from virtiomem.recording.values import BlockStateWord, Snapshot, Step, StepRecord
from virtiomem.releases.linux import DEBIAN, DEFAULT, LINUX, LinuxBuild, LinuxRelease
from virtiomem.releases.qemu import QEMU, QemuRelease
from virtiomem.resource.names import is_virtio_device, virtio_name
from virtiomem.text import quoted
from virtiomem.units import GiB, MiB, Size, Span, format_size, parse_size

# 64 bits at most in either notation: int() takes thousands of digits, and a machine none of them.
_RANGE = r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\s*-\s*(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})"


class _Table(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A table of a scenario file."""


class NodeConfig(_Table, frozen=True):
    """A NUMA node: inclusive ranges of boot memory, such as ``0x0-0x7fffffff``."""

    id: int
    memory: list[str] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        """The ranges, as written. Raises ValueError; see `parse_range`."""
        return [parse_range(text) for text in self.memory]


def parse_range(text: str) -> Span:
    """Read an inclusive range such as ``0x0-0x7fffffff``, decimal unless it says 0x.

    Raises ValueError, which says what the text is not, for anything else.
    """
    match = re.fullmatch(_RANGE, text.strip())
    if match is None:
        raise ValueError("is not a range such as '0x0-0x7fffffff'")
    # Not int(…, 0), which takes no zeros in front of a decimal number.
    first, last = (int(number, 16 if number[:2].lower() == "0x" else 10) for number in match.groups())
    if first > last:
        raise ValueError("ends before it starts")
    return Span(first, last + 1)


class GuestConfig(_Table, frozen=True):
    """The machine and its kernel's parameters; sizes in bytes."""

    kernel: str | None = None
    """The release of Linux, such as ``6.12``; None for `releases.linux.DEFAULT`."""
    qemu: str | None = None
    """The release of QEMU whose devices the guest has, such as ``10.0``; None for the oldest that is modelled."""
    machine: MachineKind = "q35"
    memory: Size = Size(4 * GiB)
    max_memory: Size | None = None
    slots: int = 0
    free: Size | None = None
    """What is free after boot; None: what was measured of Debian's build (`LinuxBuild.free_after_boot`)."""
    address_bits: int | None = None
    """Physical address bits of the processor; None: those of QEMU's own processor models."""
    iomem: str | None = None
    """A boot-time /proc/iomem listing: a path relative to the scenario file."""
    capture: str | None = None
    """A capture of a running Linux: a path relative to the scenario file."""
    memory_block_size: Size | None = None
    """None: what the architecture chooses (`memory.core.probe_memory_block_size`)."""
    default_state: BlockStateWord | None = None
    """None: what the distribution's build of the kernel chose."""
    online_policy: Literal["contig-zones", "auto-movable"] = "contig-zones"
    auto_movable_ratio: int = AUTO_MOVABLE_RATIO
    auto_movable_numa_aware: bool = True
    memmap_on_memory: Literal["N", "Y", "force"] = "N"
    crashkernel: Size | None = None
    """What is reserved for a crash kernel. In the embedded guest a boot listing decides, where there is one."""
    crash_header_cpus: int | None = None
    """CONFIG_NR_CPUS_DEFAULT; None, here and below: what the distribution's build of the kernel chose."""
    crash_header_ranges: int | None = None
    """CONFIG_CRASH_MAX_MEMORY_RANGES."""
    movable_node: bool = False
    """The kernel's parameter of that name."""
    page_size: Literal["4K", "16K", "64K"] | None = None
    """None: the machine's usual one."""
    firmware: Literal["device-tree", "uefi"] | None = None
    """How `virt` starts Linux: None and `device-tree` are QEMU itself, which passes a device tree."""
    cma: Size | None = None
    """The area of the contiguous memory allocator; None: what Debian builds with."""
    nodes: list[NodeConfig] = field(default_factory=list)

    @property
    def architecture(self) -> Architecture:
        """The architecture of machine and kernel. Raises ScenarioError for a page size that it does not have."""
        rows = BOARDS[self.machine].architectures
        if self.page_size is None:
            return rows[0]
        size = parse_size(self.page_size)
        found = next((row for row in rows if row.page_size == size), None)
        if found is None:
            sizes = ", ".join(format_size(row.page_size) for row in rows)
            raise ScenarioError(
                f"Linux on {self.machine} has pages of {sizes}, not of {self.page_size}", where="guest.page-size"
            )
        return found

    @property
    def has_acpi(self) -> bool:
        """Whether Linux learns of DIMMs and proximity domains from ACPI; else it has a device tree."""
        return self.firmware == "uefi" or not BOARDS[self.machine].has_device_tree

    @property
    def release(self) -> LinuxRelease:
        """The release that is modelled. Raises UsageError for a kernel that is not named by a version."""
        return DEFAULT if self.kernel is None else LINUX.release(self.kernel)

    @property
    def qemu_release(self) -> QemuRelease:
        """The release of QEMU that is modelled. Raises UsageError for one that is not named by a version."""
        return QEMU.oldest if self.qemu is None else QEMU.release(self.qemu)

    @property
    def build(self) -> LinuxBuild:
        """Debian's build options for the release, except those that the configuration sets."""
        own = {name: getattr(self, name) for name in ("crash_header_cpus", "crash_header_ranges")}
        chosen = {name: value for name, value in own.items() if value is not None}
        return DEBIAN.release(self.release.name)._replace(**chosen)

    @property
    def added_state(self) -> OnlineType:
        """Default state of added memory: the one set, else the choice of the build. Since: 6.12 (default_state)."""
        build = self.build
        return build.default_state if self.default_state is None else OnlineType(self.default_state)


class DriverConfig(_Table, frozen=True):
    """Module parameters of virtio_mem; `merge_resources` false is the driver before MHP_MERGE_RESOURCE."""

    merge_resources: bool = True
    force_bbm: bool = False
    bbm_block_size: Size = Size(0)
    bbm_safe_unplug: bool = True
    unplug_online: bool = True

    @property
    def parameters(self) -> Parameters:
        """The same, as the driver takes them."""
        return Parameters(**structs.asdict(self) | {"bbm_block_size": int(self.bbm_block_size)})

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """The table that says the same as the driver's parameters."""
        return cls(**asdict(parameters) | {"bbm_block_size": Size(parameters.bbm_block_size)})


class DeviceConfig(_Table, frozen=True):
    """One virtio-mem device; `name` is the guest's name for it, virtioN in order when None."""

    id: str
    max_size: Size
    block_size: Size = Size(DEFAULT_ARCHITECTURE.transparent_huge_page)
    requested_size: Size = Size(0)
    memaddr: Size | None = None
    node: int = 0
    name: str | None = None


def name_devices(devices: Sequence[DeviceConfig]) -> list[DeviceConfig]:
    """The devices with the guest's name for each: what is written, else virtioN from the device's own number on, where free.

    Raises ScenarioError for a name that Linux gives to no virtio device, or that two devices have.
    """
    # Names that are written count before those that are found: a device without one must not take a later device's.
    written: dict[str, str] = {}
    for index, device in enumerate(devices):
        if device.name is not None:
            _check_name(device.name, written, f"device[{index}].name")
            written[device.name] = device.id
    named: list[DeviceConfig] = []
    for index, device in enumerate(devices):
        taken = {*written, *(other.name for other in named)}
        name = device.name or next(free for number in count(index) if (free := virtio_name(number)) not in taken)
        named.append(structs.replace(device, name=name))
    return named


def _check_name(name: str, written: dict[str, str], where: str) -> None:
    """Refuse a name that Linux gives to no virtio device, and one that another device has."""
    if not is_virtio_device(name):
        raise ScenarioError(f"{quoted(name)} is not virtio0, virtio1, …", where=where)
    if name in written:
        raise ScenarioError(f"{name} is the name of device {written[name]} already", where=where)


def hotplug_parameters(config: GuestConfig) -> list[str]:
    """Return the kernel parameters for memory hotplug and a crash kernel that the configuration changes or names."""
    default = GuestConfig()
    # Also when it is what the kernel would choose: Debian's build of 6.1 leaves memory offline, that of 6.12 puts it
    # online.
    words = [f"memhp_default_state={config.default_state}"] if config.default_state is not None else []
    if config.online_policy != default.online_policy:
        words.append(f"memory_hotplug.online_policy={config.online_policy}")
    if config.auto_movable_ratio != default.auto_movable_ratio:
        words.append(f"memory_hotplug.auto_movable_ratio={config.auto_movable_ratio}")
    if config.memmap_on_memory != default.memmap_on_memory:
        words.append(f"memory_hotplug.memmap_on_memory={config.memmap_on_memory}")
    if config.auto_movable_numa_aware != default.auto_movable_numa_aware:
        words.append(f"memory_hotplug.auto_movable_numa_aware={'Y' if config.auto_movable_numa_aware else 'N'}")
    if config.crashkernel is not None:
        words.append(f"crashkernel={config.crashkernel // MiB}M")
    words += ["movable_node"] if config.movable_node else []
    words += [f"cma={config.cma}"] if config.cma is not None else []
    return words


class Guest(Protocol):
    """A whole guest that plays steps, one at a time, and returns a record of each."""

    @property
    def info(self) -> dict[str, Any]:
        """The recording's `guest`: kind, kernel, command line."""

    @property
    def boot(self) -> Snapshot:
        """The guest before the first step."""

    def play(self, step: Step) -> StepRecord:
        """Do one step and wait until the guest is idle.

        What the guest or the device refuses is an outcome in the record; raises BackendError when the guest is lost.
        """

    def foresee(self, step: Step) -> Reason | None:
        """Predict the cost of a step that adds memory, and whether it fits; None for every other step."""

    def close(self) -> None:
        """Let go of everything the guest holds; harmless when repeated."""
