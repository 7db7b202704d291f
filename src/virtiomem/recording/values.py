"""Values of a recording: the shape that the command line, `compare` and the reports read.

Keys are kebab-case in JSON, as in QMP. Sizes and addresses are bytes, zones are pages. More keys may be added; these
keep their meaning.
"""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from virtiomem.abi import BlockState, ZoneType
from virtiomem.architecture import ARCHITECTURES, DEFAULT, Architecture, find
from virtiomem.units import Size, Span, format_size

FORMAT = "virtiomem-recording/1"

Natural = Annotated[int, Meta(ge=0)]
BlockStateWord = Literal["offline", "online", "online_kernel", "online_movable"]
UseKind = Literal["movable", "unmovable"]
SleepWord = Literal["idle", "memory", "disk"]
MemoryKind = Literal["kmem", "xen", "hyperv"]
CrashSyscall = Literal["kexec_file_load", "kexec_load"]
RefusedEvent = Literal["online", "offline"]
InjectPoint = Literal["add_memory", "online", "offline", "remove", "request"]


class _Step(Struct, frozen=True, kw_only=True, rename="kebab", tag_field="do", forbid_unknown_fields=True):
    """One thing done to a guest; `do` in a scenario names the kind."""


class Load(_Step, frozen=True, tag="load"):
    """Load the virtio-mem driver."""


class Unload(_Step, frozen=True, tag="unload"):
    """Remove the virtio-mem driver."""


class Resize(_Step, frozen=True, tag="resize"):
    """Set a device's requested-size, in bytes."""

    device: str
    requested_size: Size


class SetState(_Step, frozen=True, tag="set-state"):
    """Write a state to memory blocks through sysfs, one block after another."""

    blocks: list[int]
    state: BlockStateWord


class Reboot(_Step, frozen=True, tag="reboot"):
    """Reset the machine; the driver is not loaded afterwards."""


class Kexec(_Step, frozen=True, tag="kexec"):
    """Start a new kernel without a reset; the driver is not loaded afterwards."""


class Suspend(_Step, frozen=True, tag="suspend"):
    """Let the guest sleep, to idle, to memory or to disk, and wake it up at once."""

    to: SleepWord


class LoadCrashKernel(_Step, frozen=True, tag="load-crash-kernel"):
    """Load a crash kernel: with kexec_file_load (`kexec -p -s`) or kexec_load (`kexec -p -c`)."""

    syscall: CrashSyscall = "kexec_file_load"


class PlugDimm(_Step, frozen=True, tag="plug-dimm"):
    """Plug a DIMM (ACPI memory)."""

    id: str
    size: Size
    node: int = 0
    memaddr: Size | UnsetType = UNSET


class UnplugDimm(_Step, frozen=True, tag="unplug-dimm"):
    """Take a DIMM away."""

    id: str


class AddMemory(_Step, frozen=True, tag="add-memory"):
    """RAM that another driver adds."""

    kind: MemoryKind
    size: Size
    memaddr: Size | UnsetType = UNSET
    node: int = 0


class Use(_Step, frozen=True, tag="use"):
    """Occupy memory."""

    id: str
    size: Size
    kind: UseKind = "movable"
    seed: int = 0
    scatter: float | UnsetType = UNSET
    """Share of it that the seed places, the rest fills the lowest free places; all of it when not set."""


class Free(_Step, frozen=True, tag="free"):
    """Give back what `use` of the same id occupied."""

    id: str


class Poison(_Step, frozen=True, tag="poison"):
    """Let the hardware lose the page at an address."""

    memaddr: Size


class Refuse(_Step, frozen=True, tag="refuse"):
    """Let another of the kernel's memory notifiers refuse an event from now on; the error ``OK`` ends it."""

    event: RefusedEvent
    error: str = "EBUSY"


class Wait(_Step, frozen=True, tag="wait"):
    """Let time pass, virtual or real."""

    seconds: float


class Inject(_Step, frozen=True, tag="inject"):
    """Make the next calls of `at` fail; embedded guest only."""

    at: InjectPoint
    error: str
    times: int = 1


Step = (
    Load
    | Unload
    | Resize
    | SetState
    | Reboot
    | Kexec
    | Suspend
    | LoadCrashKernel
    | PlugDimm
    | UnplugDimm
    | AddMemory
    | Use
    | Free
    | Poison
    | Refuse
    | Wait
    | Inject
)


# gc=False here and below: no value in them can lead back to them, and a recording may have a million.
class Request(Struct, frozen=True, kw_only=True, rename="kebab", gc=False):
    """One virtio-mem request and its answer; UNPLUG_ALL has no `addr` and `nb_blocks`."""

    device: str
    type: str
    response: str
    addr: int | UnsetType = UNSET
    nb_blocks: int | UnsetType = UNSET


class MemoryBlock(Struct, frozen=True, kw_only=True, rename="kebab", gc=False):
    """One directory of /sys/devices/system/memory."""

    block: Natural
    # Any word, not only those of `BlockState`: a capture shows what its kernel said, or `unknown`.
    state: str
    valid_zones: str
    removable: int = 1
    nodes: list[int]
    plugged: int | UnsetType = UNSET
    """Bytes that virtio-mem has plugged in it, where that is known."""
    pages: Annotated[str, Meta(pattern="^[.mko]*$")] | UnsetType = UNSET
    """What its pages are, where that was looked at; see `recording.pages`."""

    @property
    def is_online(self) -> bool:
        """True until it is offline: a block that is going offline is still in its zone, and may stay."""
        return self.state in (BlockState.ONLINE, BlockState.GOING_OFFLINE)

    @property
    def is_offline(self) -> bool:
        """True when it is wholly offline; a block whose state is unknown is neither."""
        return self.state == BlockState.OFFLINE

    @property
    def zone(self) -> str | None:
        """The zone that it is online in; None when it is not online, lies in several, or no zone was read."""
        # Linux shows `none` for an online block that lies in several zones.
        return self.valid_zones if self.is_online and self.valid_zones not in ("", "none") else None

    @property
    def is_movable(self) -> bool:
        """True when it is online in zone Movable."""
        return self.zone == ZoneType.MOVABLE


class ZonePages(Struct, frozen=True):
    """A zone's counters, in pages (/proc/zoneinfo)."""

    spanned: int
    present: int
    managed: int


class VirtioMemInfo(Struct, frozen=True, kw_only=True, rename="kebab", tag_field="type", tag="virtio-mem"):
    """A virtio-mem device as QEMU describes it; `size` is what is plugged."""

    id: str
    memaddr: Natural
    max_size: Natural
    requested_size: Natural
    size: Natural
    block_size: Annotated[int, Meta(ge=1)]
    node: Natural = 0

    @property
    def region(self) -> Span:
        """Region of the device's memory, plugged or not."""
        return Span.sized(self.memaddr, self.max_size)

    @property
    def settled(self) -> bool:
        """True when what is plugged is what is asked for."""
        return self.size == self.requested_size


class DimmInfo(Struct, frozen=True, kw_only=True, tag_field="type", tag="dimm"):
    """A DIMM as QEMU describes it: what a virtio-mem device has that cannot be resized."""

    block_size: ClassVar[int] = 0
    settled: ClassVar[bool] = True
    id: str
    addr: int
    size: int
    node: int = 0

    @property
    def memaddr(self) -> int:
        """Start address, named as a virtio-mem device's."""
        return self.addr

    @property
    def requested_size(self) -> int:
        """Size: a DIMM has all that is requested."""
        return self.size

    @property
    def max_size(self) -> int:
        """Size: a DIMM cannot have more."""
        return self.size

    @property
    def region(self) -> Span:
        """Region of the DIMM's memory."""
        return Span.sized(self.addr, self.size)


DeviceInfo = VirtioMemInfo | DimmInfo


class CrashHeader(Struct, frozen=True, kw_only=True, rename="kebab"):
    """The ELF core header of the loaded crash kernel, as it is in memory.

    `kept_up_to_date`: the kernel makes it again when a memory block is online or offline. `ranges`: first and last byte
    of each range of RAM in it.
    """

    syscall: CrashSyscall
    kept_up_to_date: bool
    ranges: list[tuple[Natural, Natural]]


class Snapshot(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A guest at rest."""

    iomem: str
    memory_blocks: list[MemoryBlock]
    zones: dict[str, dict[str, ZonePages]]
    devices: list[DeviceInfo]
    crash_header: CrashHeader | UnsetType = UNSET
    """Where a crash kernel is loaded and that is known."""

    @property
    def virtio_mem(self) -> list[VirtioMemInfo]:
        """The virtio-mem devices."""
        return [device for device in self.devices if isinstance(device, VirtioMemInfo)]


class StepOutcome(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A step and its outcome, without requests and the guest: alike in both formats."""

    step: Step
    settled: bool
    error: str | None
    retry_in: float | UnsetType = UNSET
    held_up: list[str] | UnsetType = UNSET
    reasons: list[dict[str, Any]] | UnsetType = UNSET
    log: list[str] | UnsetType = UNSET
    elapsed: float | UnsetType = UNSET


class StepRecord(StepOutcome, frozen=True, kw_only=True, rename="kebab"):
    """A step and what came of it.

    `settled`: every device's size equals its requested-size, and every DIMM is in Linux. `error`: what refused the
    step. The rest says more where it is known: `retry_in`, seconds until the driver tries again; `held_up`, what keeps
    a device from its requested-size, in words, and `reasons`, the same as data (`reasons.Reason.to_json`); `log`,
    kernel log lines of the driver; `elapsed`, seconds (virtual or real) the step took.
    """

    requests: list[Request]
    snapshot: Snapshot


class RecordingHead(Struct, frozen=True, kw_only=True, rename="kebab"):
    """The guest, and the steps it was to do."""

    format: str = FORMAT
    guest: dict[str, Any]
    recorded: str | UnsetType = UNSET
    scenario: dict[str, Any] | UnsetType = UNSET
    """The scenario's tables as they travel along, unchecked."""


class Recording(RecordingHead, frozen=True, kw_only=True, rename="kebab"):
    """A scenario as it was played, on an embedded guest or a real Linux."""

    boot: Snapshot
    steps: list[StepRecord]

    @property
    def page_size(self) -> int:
        """Bytes of a page: what zones count; where the guest does not say, what the scenario asked for."""
        asked = self.table("guest").get("page-size")
        sizes = (row.page_size for row in ARCHITECTURES if format_size(row.page_size) == asked)
        size: int = self.guest.get("page-size", next(sizes, DEFAULT.page_size))
        return size

    @property
    def architecture(self) -> Architecture:
        """The architecture of the guest's Linux; the usual one for one that has no row."""
        return find(self.guest.get("architecture", DEFAULT.family), self.page_size) or DEFAULT

    @property
    def title(self) -> str:
        """Name of the scenario; empty when it has none."""
        title = self.scenario.get("title") if isinstance(self.scenario, dict) else None
        return title if isinstance(title, str) else ""

    def table(self, name: str) -> dict[str, Any]:
        """A table of the scenario; empty when it has none of that name."""
        table = self.scenario.get(name) if isinstance(self.scenario, dict) else None
        return table if isinstance(table, dict) else {}
