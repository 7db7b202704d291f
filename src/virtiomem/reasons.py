"""Reasons why a device refuses a request, or why it does not reach its requested size: data, and their one wording.

Code that finds a reason makes a `Reason` of a kind and the facts; code that shows it prints its text. The words stand in
`ReasonKind` and nowhere else, so that a guest, a recording, a report and `vm explain` say the same of the same state.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, StrEnum, unique
from string import Formatter
from typing import Any, NamedTuple

from virtiomem.units import format_approx, format_size


class Certainty(StrEnum):
    """Certainty of a reason."""

    FACT = "fact"
    """Read from the device, the driver, the hypervisor or the guest."""
    LIKELY = "likely"
    """Inferred: it fits, and other reasons may too."""
    UNKNOWN = "unknown"
    """Not visible from here."""
    ADVICE = "advice"
    """What would help."""


class Words(NamedTuple):
    """The sentence of a kind, with the facts as fields, and the advice that goes with it."""

    sentence: str
    advice: str = ""


_RESET_DRIVER = "reload the driver or reboot the guest"


@unique
class ReasonKind(Enum):
    """Every kind of reason. The first are the device's refusals, in the order in which the device decides."""

    # --- the device refuses a request (device.decisions) ---
    NO_BLOCKS = Words("the request is for 0 blocks; it must be for at least 1")
    NOT_ALIGNED = Words("the request starts at {addr:#x}, not at a multiple of the block size {block-size:size}")
    OUT_OF_BOUNDS = Words(
        "the request is for {addr:#x} to {stop:#x}, not inside the usable region {start:#x} to {usable-stop:#x}"
    )
    ABOVE_REQUESTED = Words(
        "plugging {size:size} more would exceed requested-size: {plugged:size} of {requested-size:size} is plugged"
    )
    ALREADY_PLUGGED = Words("a block between {addr:#x} and {stop:#x} is already plugged")
    NOT_PLUGGED = Words("a block between {addr:#x} and {stop:#x} is not plugged")
    MIGRATING = Words("the machine is migrating: the device answers every request with BUSY until the migration ends")

    # --- the driver is missing or has stopped ---
    NO_DRIVER = Words(
        "no driver in the guest is bound to the device",
        "load virtio_mem in the guest (modprobe virtio_mem), or wait for it to boot",
    )
    REGION_TAKEN = Words("the driver could not set the device up: its region is still taken", "reboot the guest")
    SETUP_FAILED = Words("the driver could not set the device up: {errno}")
    NEEDS_RESET = Words("the device waits for a reset: its driver broke the protocol", _RESET_DRIVER)
    GAVE_UP = Words(
        "the driver met an unknown error and has given up on the device until it is reloaded", _RESET_DRIVER
    )
    DEVICE_SILENT = Words("the device does not answer; the driver waits for the answer without a limit")

    # --- Linux does not add memory (memory.refusal) ---
    NO_WHOLE_BLOCKS = Words("{value:#x} is not a multiple of the memory block, {block:size}")
    NOT_PLUGGABLE = Words("{stop:#x} is beyond {end:#x}, where memory that can be hotplugged ends")
    RANGE_TAKEN = Words("its addresses are taken by {by}")
    NOT_ADDED_ERRNO = Words("Linux did not add it: {errno}")

    # --- how the driver's last pass ended (driver.outcome) ---
    BELOW_UNIT = Words("the missing {missing:size} is less than the {unit:size} that the driver moves at a time")
    WILL_STOP = Words(
        "a request of {requested-size:size} will stop at {stop:size}: the driver moves {unit:size} at a time, and no timer "
        "tries the rest"
    )
    UNPLUG_ONLINE_OFF = Words("unplug_online is off: the driver unplugs offline memory only")
    TOO_MUCH_OFFLINE = Words(
        "{offline:size} of the added memory is offline; the driver adds more once this drops to {limit:size}"
    )
    NO_ROOM = Words("no whole {unit:size} of the usable region is left for another block")
    DEVICE_BUSY = Words("the device answered BUSY")
    MEMORY_BUSY = Words("the memory to unplug was in use at the last attempt")
    NO_MEMORY = Words("the last attempt ended with ENOMEM: the guest lacked memory, or the device's answer was unknown")
    NO_STRUCT_PAGES = Words(
        "out of memory for struct pages (needs {need:size}, node {node} has {free:approx} free)",
        "free memory in the guest, or let new memory go online to a kernel zone: it pays for the next",
    )
    NEVER_ALLOWED = Words("the device refuses what its configuration allows")
    IN_USE = Words("memory{block} ({zone}): {uses:uses}")
    IN_USE_NO_ROOM = Words(
        "memory{block} ({zone}): {uses:uses}, and no room to move them to: {free:approx} free, {memmap:approx} taken by struct "
        "pages of added memory"
    )
    HELD_BY_MEMMAP = Words(
        "memory{block} ({zone}): {size:size} that nothing uses, but the zone has no page to spare: {memmap:approx} in it are struct "
        "pages of added memory"
    )
    BLOCK_REFUSED = Words(
        "memory{block} ({zone}): refused with {errno} at the last attempt; no use is known to hold it now"
    )
    NOTHING_TO_DO = Words("the driver waits for memory to be onlined or for a new requested-size")
    RETRY_DUE = Words("the driver tries again in {seconds:seconds}")
    RETRY_WITHIN = Words("the driver tries again within {seconds:seconds}")
    RETRY_INTERVAL = Words(
        "Linux tries again after {first:seconds}, then after twice as long each time, up to {last:seconds}",
        "the same resize once more makes the driver try at once",
    )

    # --- what the hypervisor shows ---
    NOTHING_MISSING = Words("size and requested-size are {size:size}: nothing is missing")
    SPREAD_THIN = Words(
        "{size:approx} plugged are spread over memory blocks of {added:approx}: {need:approx} of struct pages are for the rest",
        "reboot the guest: its driver then plugs whole blocks",
    )
    ALL_PLUGGED = Words("the device has plugged {size:size}, all that is requested")
    SIZE_UNKNOWN = Words(
        "what the device has plugged of the {requested-size:size} requested: the hypervisor does not show it"
    )
    PLACE_UNKNOWN = Words(
        "which memory blocks are the device's: the hypervisor does not show its address, and the guest shows "
        "no region that can only be its own"
    )
    MOVING = Words("it is moving: {before:size} plugged at first, {size:size} a moment later; what follows may be over")
    NOT_SETTLED = Words("{size:size} plugged, {requested-size:size} requested: {missing:size} still to {verb}")
    NO_DEVICE = Words("the machine has no virtio-mem device")
    NOT_RUNNING = Words("the machine is {status}: its CPUs do not run, so the driver cannot act")
    PASSED_THROUGH = Words(
        "passed-through devices ({names:list}) pin all plugged memory: plugging takes longer, and is refused where the "
        "locked-memory limit does not allow it"
    )
    DRIVER_LIKELY = Words(
        "a driver is bound to the device: memory is plugged, and a reset of the machine unplugs it all"
    )
    DRIVER_NOT_SHOWN = Words(
        "whether a driver is bound to the device: no stable command of the hypervisor shows it",
        "look in the guest: ls /sys/bus/virtio/drivers/virtio_mem lists the devices that have a driver",
    )
    DRIVER_NOT_ASKED = Words("whether a driver is bound to the device: {why}")
    LOOK_FAILED = Words("why the resize stopped: {why}")

    # --- what the guest shows, or would ---
    NOT_LOOKED = Words(
        "what the guest has online and in use: not looked inside",
        "give --agent, or run lsmem in the guest; `vm explain` takes a capture of it (--capture), too",
    )
    AGENT_SILENT = Words(
        "what the guest has online and in use: {why}",
        "run lsmem in the guest; `vm explain` takes a capture of it (--capture), too",
    )
    UNREADABLE = Words("the guest did not show {what}")
    BLOCKS_OFFLINE = Words(
        "{count} of its memory blocks ({size:size}) are in Linux but offline",
        "online them (chmem -e, or echo online_movable > …/memoryN/state)",
    )
    NOT_ADDED = Words(
        "{size:size} plugged, but Linux has memory blocks for {added:size} of it only",
        "load virtio_mem in the guest, or reboot it: no driver has added the rest",
    )
    MAYBE_OFFLINE = Words(
        "it stopped at {size:size}: Linux adds {threshold:size} and then waits until it is onlined, "
        "where new memory is left offline (memhp_default_state=offline)",
        "look in the guest: /sys/devices/system/memory/auto_online_blocks, lsmem",
    )
    NEW_BLOCKS_OFFLINE = Words(
        "auto_online_blocks is offline: the guest's user space must online every new block",
        "boot the guest with memhp_default_state=online_movable",
    )
    NEW_BLOCKS_ONLINE = Words("auto_online_blocks is {state}, which applies to blocks that are added from now on")
    ODD_REGION = Words("only {usable:size} of its region are whole memory blocks of {block:size}")
    NO_ROOM_FOR_MEMMAP = Words(
        "{growth:approx} more need {need:approx} for struct pages, and the guest has {free:approx} free: {fits:approx} fit",
        "free memory in the guest, or let new memory go online to a kernel zone: it pays for the next",
    )
    MEMMAP_FITS = Words(
        "{growth:approx} more need {need:approx} for struct pages, and the guest has {free:approx} free: they fit"
    )
    MEMMAP_PAYS = Words(
        "{growth:approx} more need {need:approx} for struct pages, and the guest has {free:approx} free: they fit, for what goes "
        "online to a kernel zone pays for the next"
    )
    MEMMAP_NEED = Words("{growth:approx} more need {need:approx} of free guest memory for struct pages")
    HIDDEN_USE = Words(
        "which memory cannot be freed, and why: only the guest knows",
        "memory can be relied on to be unplugged only in zone Movable (online_movable)",
    )
    KERNEL_ZONES = Words(
        "its memory blocks are online: {zones:zones}; outside Movable, kernel pages may pin them forever",
        "online this memory as online_movable next time; a reboot frees what is pinned now",
    )
    NO_ROOM_TO_MOVE = Words(
        "{missing:approx} are still to be freed, and MemAvailable is {available:approx}: what is in use there may have nowhere to go",
        "free memory in the guest, or ask for less",
    )
    MAYBE_PINNED = Words("pages in Movable that cannot move right now: pinned for I/O, or hugepages without a target")

    # --- how far memory has come, from who asked for it to the zone it is online in ---
    CHAIN = Words("{steps:steps}")
    NO_HOTPLUGGED = Words("no hotplugged memory is known to be here, and no memory block is offline")
    DIMM_NOT_ADDED = Words(
        "ACPI has the memory device, enabled, and Linux has no memory block of it",
        "look at the guest's log (acpi PNP0C80), and that it was booted without acpi_no_memhotplug",
    )
    DAX_NOT_ADDED = Words(
        "{size:size} of a DAX device whose driver is {driver}: not memory of Linux yet",
        "daxctl reconfigure-device --mode=system-ram {name}",
    )
    THESE_OFFLINE = Words(
        "{count} memory blocks ({size:size}: {blocks}) are in Linux but offline",
        "online them (chmem -e -b {blocks}, or echo online_movable > /sys/devices/system/memory/memoryN/state)",
    )

    # --- what the pages of memory blocks are used for (recording.page_use) ---
    BLOCK_PAGES = Words("memory{block} ({zone}): {pages:pages}")
    HELD_BY_SLAB = Words(
        "{size:approx} of slab in {count} of its memory blocks cannot move: dentries, inodes and other objects of the kernel",
        "echo 2 > /proc/sys/vm/drop_caches (frees unused dentries and inodes), then try again",
    )
    HELD_BY_PAGE_TABLE = Words(
        "{size:approx} of page tables in {count} of its memory blocks cannot move: processes map much memory in small pages",
        "end the processes with the most page tables (grep VmPTE /proc/*/status)",
    )
    HELD_BY_PINNED = Words(
        "{size:approx} in {count} of its memory blocks is pinned: anonymous memory that no process maps and something holds (a "
        "pipe, I/O under way, io_uring, RDMA)",
        "end the process, or the I/O, that holds it",
    )
    HELD_BY_RESERVED = Words("{size:approx} in {count} of its memory blocks has been reserved since boot, and stays")
    HELD_BY_KERNEL = Words(
        "{size:approx} in {count} of its memory blocks has no flag that says what it is: buffers, stacks, struct pages, or "
        "free pages on the list of one CPU",
        "boot with page_owner=on to learn whose they are, where the kernel has CONFIG_PAGE_OWNER",
    )
    MOVES_CACHE = Words(
        "{size:approx} of page cache in {count} of its memory blocks can move",
        "echo 1 > /proc/sys/vm/drop_caches (frees page cache), then try again",
    )
    MOVES_SHMEM = Words(
        "{size:approx} of tmpfs and shared memory in {count} of its memory blocks can move where there is room",
        "delete files of tmpfs (df -t tmpfs) where there is no room to move to, or add swap",
    )
    MOVES_ANONYMOUS = Words(
        "{size:approx} of anonymous memory in {count} of its memory blocks can move where there is room"
    )
    MOVES_MLOCKED = Words(
        "{size:approx} of mlocked or unevictable memory in {count} of its memory blocks can move where there is room; it is "
        "never swapped"
    )
    MOVES_HUGETLB = Words(
        "{size:approx} of hugetlb pages in {count} of its memory blocks can move only into hugepages that are free elsewhere",
        "give hugepages back (a lower /proc/sys/vm/nr_hugepages), or have some free outside this memory",
    )
    PINS_COUNTED = Words(
        "{count} pages are pinned for I/O somewhere in the guest (nr_foll_pin_acquired - nr_foll_pin_released): in Movable "
        "they should not be, elsewhere they hold their blocks"
    )
    PINS_UNSEEN = Words(
        "which pages are held by more than the processes that map them: /proc does not show it (kpagecount counts who maps a "
        "page, and no one else)"
    )
    PAGEBLOCKS = Words(
        "of {size:approx} in zone {zone}, {held:approx} are pageblocks that the kernel uses for what cannot move: that much may be "
        "held, here or elsewhere in the zone"
    )
    PAGES_NOT_READ = Words(
        "what the pages of its memory blocks are used for: not read",
        "virtiomem vm explain with --agent, or virtiomem capture --pages, as root in the guest",
    )
    PAGES_LEFT = Words(
        "the pages of {left} of {count} memory blocks: not read in the {seconds:seconds} there are for it",
        "give more time: --pages-for 60s",
    )

    @property
    def word(self) -> str:
        """The kind in JSON: ``no-driver``."""
        return self.name.lower().replace("_", "-")


class Reason(NamedTuple):
    """A kind with its facts: sizes and addresses in bytes, times in seconds; `device` is None for the whole machine."""

    kind: ReasonKind
    values: Mapping[str, Any] = {}
    device: str | None = None
    certainty: Certainty = Certainty.FACT

    @property
    def text(self) -> str:
        """The reason in words, without the device."""
        sentence, advice = self.kind.value
        return _WORDING.vformat(advice if self.certainty is Certainty.ADVICE else sentence, (), self.values)

    @property
    def advice(self) -> "Reason | None":
        """Advice that would help, as a reason of the same kind; None where there is no advice."""
        return self._replace(certainty=Certainty.ADVICE) if self.kind.value.advice else None

    def of(self, device: str) -> "Reason":
        """The same reason, naming its device."""
        return self._replace(device=device)

    def __str__(self) -> str:
        return self.text if self.device is None else f"{self.device}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        """The reason as it stands in recordings and in the output of `--json`."""
        return {
            "certainty": self.certainty.value,
            "text": self.text,
            "device": self.device,
            "reason": self.kind.word,
            "values": dict(self.values),
        }


def with_advice(found: Iterable[Reason]) -> tuple[Reason, ...]:
    """Reasons, and behind them what would help."""
    # It may be a generator, and is gone through twice.
    found = tuple(found)
    return (*found, *(advice for reason in found if (advice := reason.advice) is not None))


def retry(seconds: float, *, exact: bool = True) -> Reason:
    """When the driver tries again: in that many seconds or, unless `exact`, at the latest then."""
    return Reason(ReasonKind.RETRY_DUE if exact else ReasonKind.RETRY_WITHIN, {"seconds": seconds})


def _uses(uses: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{use['pages']} {use['kind']} pages of {use['id']!r}" for use in uses)


def _zones(zones: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {zone}" for zone, count in sorted(zones.items()))


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    """A chain: ``3G asked for, ? plugged by the device, 1G added by the driver, 0 online``."""
    return ", ".join(f"{'?' if step['size'] is None else format_size(step['size'])} {step['step']}" for step in steps)


def _pages(pages: Mapping[str, Any]) -> str:
    """Sizes by use: ``1.5M of slab cannot move, in 3 of its 64 pieces of 2M; 80M of page cache can; 40M free``."""
    stuck, moves = (
        ", ".join(f"{format_approx(size)} of {words}" for words, size in pages[which].items())
        for which in ("cannot-move", "can-move")
    )
    parts = [f"{stuck} cannot move, in {pages['held']} of its {pages['pieces']} pieces of 2M"] if stuck else []
    parts += [f"{moves} can move"] if moves else []
    return "; ".join([*parts, f"{format_approx(pages['free'])} free"])


_FORMATS: dict[str, Callable[[Any], str]] = {
    "size": format_size,
    "approx": format_approx,
    "seconds": lambda seconds: f"{seconds:.0f} s",
    "list": ", ".join,
    "uses": _uses,
    "zones": _zones,
    "pages": _pages,
    "steps": _steps,
}


class _Wording(Formatter):
    """Fields of a sentence by the names in `_FORMATS`."""

    def format_field(self, value: Any, format_spec: str) -> str:
        # Before Python's own: to an integer `size` would be an invalid format.
        wording = _FORMATS.get(format_spec)
        return wording(value) if wording else str(super().format_field(value, format_spec))


_WORDING = _Wording()
