"""The outputs of `vm`, `plan`, `capture` and `blocks`."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from virtiomem.cli.outputs.base import Count, Natural, Printed, ReasonOutput
from virtiomem.vm.inside import GuestMemoryInfo, Seen
from virtiomem.vm.model import Driver, Event
from virtiomem.vm.results import ResizeOutcome


class DeviceOutput(Printed, kw_only=True):
    """A memory device; null is what the hypervisor does not tell."""

    id: str
    kind: Literal["virtio-mem", "dimm", "other"]
    memaddr: Natural | None
    size: Natural | None
    requested_size: Natural
    max_size: Natural
    block_size: Natural
    node: Natural


class MachineOutput(Printed, kw_only=True):
    """A machine; of one that could not be seen there are only `vm` and `error`."""

    vm: str
    error: str | None
    status: str | UnsetType = UNSET
    boot_memory: Natural | UnsetType = UNSET
    plugged_sum: Natural | UnsetType = UNSET
    devices: list[DeviceOutput] | UnsetType = UNSET
    inside: GuestMemoryInfo | Literal["not looked"] | UnsetType = UNSET
    hypervisor: str | UnsetType = UNSET
    drivers: dict[str, Driver] | UnsetType = UNSET
    migration: str | UnsetType | None = UNSET
    vfio: list[str] | UnsetType = UNSET
    retry_in: float | UnsetType | None = UNSET
    reasons: list[str] | UnsetType = UNSET
    held_back: str | UnsetType | None = UNSET


class MachinesOutput(Printed, kw_only=True):
    """Machines, each at length."""

    vms: list[MachineOutput]


class WatchOutput(MachineOutput, kw_only=True):
    """One look at a machine, that many seconds after the first; one object per line."""

    seconds: float
    events: list[Event]


class StuckMachine(Printed, kw_only=True):
    """Why a machine's devices are not at their requested sizes."""

    vm: str
    error: str | None
    findings: list[ReasonOutput]


class StuckMachines(Printed, kw_only=True):
    """Why devices are not at their requested sizes."""

    vms: list[StuckMachine]


class ResizedDevice(Printed, kw_only=True):
    """A device before and after."""

    id: str
    node: Natural
    size_before: Natural | None
    size: Natural | None
    requested_size_before: Natural
    requested_size: Natural


class ResizedMachine(Printed, kw_only=True):
    """Result of the resize of a machine; `inside` is what was seen of new memory in the guest."""

    vm: str
    outcome: ResizeOutcome
    exit_code: Natural
    inside: Seen
    seconds: float
    devices: list[ResizedDevice]
    notes: list[str]
    findings: list[ReasonOutput]


class RefusedMachine(Printed, kw_only=True):
    """A machine that cannot be resized as asked."""

    vm: str
    error: str


class ResizeOutput(Printed, kw_only=True):
    """Result of a resize."""

    results: list[ResizedMachine]
    refused: list[RefusedMachine]


class PlannedChange(Printed, kw_only=True):
    """Size that would be requested of a device."""

    vm: str
    device: str
    size: Natural | None
    before: Natural
    requested_size: Natural


class ResizeWarning(ReasonOutput):
    """Objections to a resize."""

    vm: str


class ResizePlan(Printed, kw_only=True):
    """With --dry-run: what would be done."""

    plan: list[PlannedChange]
    warnings: list[ResizeWarning]
    refused: list[RefusedMachine]


class SetUpOutput(Printed, kw_only=True):
    """A set-up that was worked out from wishes, ready to paste."""

    memory: Natural
    max_memory: Natural
    devices: Count
    max_size: Natural
    block_size: Natural
    memory_block_size: Natural
    kernel_parameters: list[str]
    memmap: Natural
    free_after_boot: int
    largest_step: Natural
    shrink_counts_on: Natural
    address_bits: Natural
    highest_address: Natural
    kvm_memory_slots: Natural
    dynamic_memslots: Natural
    crash_header_ranges: Natural
    crash_header_room: Natural
    warnings: list[str]
    qemu: list[str]
    libvirt: str
    scenario: str


class CaptureOutput(Printed, kw_only=True):
    """Memory facts that a Linux gives: lines by source, and for each source whether it was taken."""

    format: Literal["virtiomem-capture/1"]
    collected: str
    by: str
    page_size: Count | UnsetType = UNSET
    manifest: dict[str, str]
    sections: dict[str, list[str]]


class SourceOutput(Printed, kw_only=True):
    """A file that a capture reads, why, and what it takes of it."""

    path: str
    why: str
    takes: list[str]


ShownSize = Natural | Annotated[str, Meta(pattern="^[0-9.]+[BKMGTPE]$")] | None
"""With --bytes a number."""


class BlockRowOutput(Printed, kw_only=True, forbid_unknown_fields=True):
    """Memory blocks that look alike, as lsmem tells them; the columns that were asked for."""

    range: Annotated[str, Meta(pattern="^0x[0-9a-f]{16}-0x[0-9a-f]{16}$")] | UnsetType = UNSET
    size: ShownSize | UnsetType = UNSET
    state: Literal["online", "offline", "on->off", "?"] | UnsetType = UNSET
    removable: bool | UnsetType = UNSET
    block: Annotated[str, Meta(pattern="^[0-9]+(-[0-9]+)?$")] | UnsetType = UNSET
    node: int | UnsetType | None = UNSET
    zones: str | UnsetType | None = UNSET
    device: str | UnsetType | None = UNSET
    plugged: ShownSize | UnsetType = UNSET


class BlocksOutput(Printed, kw_only=True):
    """Memory blocks, as lsmem prints them."""

    memory: list[Annotated[BlockRowOutput, Meta(extra_json_schema={"minProperties": 1})]]


class DeviceBlock(Printed, kw_only=True):
    """A memory block of a device; `plugged` is null where nothing tells."""

    block: Natural
    state: str
    valid_zones: str
    plugged: Natural | None


class CapturedDeviceOutput(Printed, kw_only=True):
    """A virtio-mem device as its guest sees it; null is what nothing tells."""

    name: str
    memaddr: Natural | None
    max_size: Natural | None
    block_size: Natural | None
    requested_size: Natural | None
    size: Natural | None
    node: Natural | None
    added: Natural | None
    memory_blocks: list[DeviceBlock]


class DevicesOutput(Printed, kw_only=True):
    """With --devices: the virtio-mem devices."""

    virtio_mem: list[CapturedDeviceOutput]


class LostBlock(DeviceBlock):
    """A memory block that a shrink takes from; `movable`: it is in zone Movable, else it may refuse."""

    taken: Natural
    removed: bool
    movable: bool


class ShrinkOutput(Printed, kw_only=True):
    """With --by: the blocks that a shrink takes, in the driver's order; `short` is what it cannot give."""

    device: str
    wanted: Natural
    unit: Natural
    short: Natural
    assumed: bool
    memory_blocks: list[LostBlock]
