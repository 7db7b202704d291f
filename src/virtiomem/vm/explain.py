"""Explain why a device is not at its requested size: facts, likely reasons, what cannot be seen, advice.

Only what was read is given as a fact. What Linux does in general is marked as such.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from virtiomem.abi import OnlineType, ZoneType
from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.driver import retry as intervals
from virtiomem.driver.at_rest import why_at_rest
from virtiomem.memory.forecast import Forecast, Means, foresee
from virtiomem.memory.vmemmap import memmap_size
from virtiomem.reasons import Certainty, Reason, ReasonKind, retry, with_advice
from virtiomem.units import Span, align_down, align_up
from virtiomem.vm.drivers import seen_of
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.held_pages import about_pages
from virtiomem.vm.inside import GuestMemoryInfo, Seen
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice

_SAID_BETTER = {ReasonKind.NO_STRUCT_PAGES: ReasonKind.NO_ROOM_FOR_MEMMAP}
"""Reasons that the kernel logs, and the inferred reason that each of them replaces."""

_SHOWN_INSIDE = {
    ReasonKind.ALL_PLUGGED,
    ReasonKind.DRIVER_NOT_SHOWN,
    ReasonKind.DRIVER_NOT_ASKED,
    ReasonKind.MAYBE_OFFLINE,
    ReasonKind.HIDDEN_USE,
}
"""Reasons that a look inside the guest would confirm or rule out."""


_WITHOUT_TIMER = {
    ReasonKind.NO_DRIVER,
    ReasonKind.REGION_TAKEN,
    ReasonKind.SETUP_FAILED,
    ReasonKind.GAVE_UP,
    ReasonKind.DEVICE_SILENT,
    ReasonKind.BELOW_UNIT,
    ReasonKind.UNPLUG_ONLINE_OFF,
}
"""Reasons for which the driver waits without a retry timer."""


def likely(kind: ReasonKind, device: str | None = None, **values: object) -> Reason:
    """Make a reason that is likely, not certain."""
    return Reason(kind, values, device, Certainty.LIKELY)


def unknown(kind: ReasonKind, device: str | None = None, **values: object) -> Reason:
    """Make a reason that cannot be seen from outside."""
    return Reason(kind, values, device, Certainty.UNKNOWN)


def not_looked(*, asked: bool) -> Reason:
    """Return the reason that the guest was not looked into; `asked`: it has an agent, which showed nothing."""
    return (
        unknown(ReasonKind.AGENT_SILENT, why="its agent did not show it") if asked else unknown(ReasonKind.NOT_LOOKED)
    )


def explain(
    facts: MachineFacts, devices: Iterable[VirtioMemDevice] | None = None, *, again: bool = True
) -> tuple[Reason, ...]:
    """Return the reasons why `devices` (all of the machine's when None) are not at their requested size, then advice.

    `again=False` leaves out when the driver tries again, for a request that has been withdrawn.
    """
    machine, hypervisor_info, inside = facts.machine, facts.hypervisor_info, facts.inside
    chosen = tuple(machine.virtio_mem if devices is None else devices)
    unsettled = any(not device.settled for device in chosen)
    found = list(about_machine(machine, hypervisor_info)) if unsettled else []
    found += chain.from_iterable(_about_device(device, facts) for device in chosen)
    ids = {device.id for device in chosen}
    given = [reason for reason in hypervisor_info.reasons if reason.device in ids]
    known = {(_SAID_BETTER.get(reason.kind, reason.kind), reason.device) for reason in given}
    # What the hypervisor or the kernel itself has said replaces the same conclusion drawn from sizes.
    found = [reason for reason in found if (reason.kind, reason.device) not in known] + given
    if (inside is None or not inside.blocks) and any(reason.kind in _SHOWN_INSIDE for reason in found):
        found.append(not_looked(asked=facts.asked or inside is not None))
    if inside is not None:
        found += [unknown(ReasonKind.UNREADABLE, what=what) for what in inside.unreadable]
        found += _pages_left(inside)
    # A paused guest's timers stand still: no time could be named.
    if again and machine.running and any(_may_retry(device, facts, found) for device in chosen):
        found += _about_retry(facts)
    return with_advice(found)


def _pages_left(inside: GuestMemoryInfo) -> Iterator[Reason]:
    """Yield of how many memory blocks the pages were not read for lack of time."""
    if inside.pages_left:
        left, count = inside.pages_left, inside.pages_left + len(inside.pages)
        yield unknown(ReasonKind.PAGES_LEFT, left=left, count=count, seconds=inside.pages_seconds)


def about_machine(machine: Machine, hypervisor_info: HypervisorInfo) -> Iterator[Reason]:
    """Yield reasons that keep every device of a machine from being resized, or slow it down."""
    if not machine.running:
        yield Reason(ReasonKind.NOT_RUNNING, {"status": machine.status})
    if hypervisor_info.migration is not None:
        yield Reason(ReasonKind.MIGRATING, {"migration": hypervisor_info.migration})
    if hypervisor_info.vfio:
        yield Reason(ReasonKind.PASSED_THROUGH, {"names": list(hypervisor_info.vfio)})


def about_driver(device: VirtioMemDevice, facts: MachineFacts) -> Reason | None:
    """Why a device's driver cannot act; None when it can, or when that is not known."""
    kinds = {Driver.ABSENT: ReasonKind.NO_DRIVER, Driver.BROKEN: ReasonKind.NEEDS_RESET}
    kind = kinds.get(facts.driver(device))
    return None if kind is None else Reason(kind, device=device.id)


def _about_device(device: VirtioMemDevice, facts: MachineFacts) -> Iterator[Reason]:
    later = facts.later.device(device.id) if facts.later is not None else None
    # Before anything else, for the reasons below are then about a state that passes.
    if later is not None and None not in (device.size, later.size) and device.size != later.size:
        yield Reason(ReasonKind.MOVING, {"before": device.size, "size": later.size}, device.id)
    # All blocks of the guest are then judged together (`seen_of`): an offline block may be another device's.
    if facts.inside is not None and facts.inside.blocks and device.region is None:
        yield unknown(ReasonKind.PLACE_UNKNOWN, device.id)
    if device.settled:
        yield from _settled(device, facts)
        return
    if device.size is None:
        yield unknown(ReasonKind.SIZE_UNKNOWN, device.id, **{"requested-size": device.requested_size})
    else:
        yield _not_settled(device)
    if (stopped := about_driver(device, facts)) is not None:
        yield stopped
        return
    if facts.driver(device) is Driver.UNKNOWN:
        yield _unknown_driver(device, facts.hypervisor_info)
    if device.size is not None:
        yield from _short(device, facts)


def _settled(device: VirtioMemDevice, facts: MachineFacts) -> Iterator[Reason]:
    """Yield the reasons about a device at its requested size: whether the guest has it, only a look inside shows."""
    inside = facts.inside
    seen = Seen.NOT_LOOKED if inside is None else seen_of(device, facts.machine, inside)
    if inside is not None and facts.offline(device):
        yield from _offline_blocks(device, facts, inside)
    # None is offline, and yet it is not all online: what is missing was never added to Linux.
    elif inside is not None and seen is Seen.OFFLINE and device.region is not None:
        added = len(facts.blocks(device)) * (inside.block_size or 0)
        yield Reason(ReasonKind.NOT_ADDED, {"size": device.size, "added": added}, device.id)
    else:
        kind = ReasonKind.NOTHING_MISSING if seen is Seen.ONLINE or not device.size else ReasonKind.ALL_PLUGGED
        yield Reason(kind, {"size": device.size}, device.id)
        yield from _spread_thin(device, facts)


def _spread_thin(device: VirtioMemDevice, facts: MachineFacts) -> Iterator[Reason]:
    """Yield a reason if more blocks are added than the plugged size fills: a shrink left parts of them."""
    size = facts.inside.block_size if facts.inside is not None else None
    added = len(facts.blocks(device)) * (size or 0)
    rest = added - device.assumed_size
    if size and device.size and device.region is not None and rest > size:  # of one block a part is always left
        yield Reason(
            ReasonKind.SPREAD_THIN, {"size": device.size, "added": added, "need": memmap_need(rest)}, device.id
        )


def _not_settled(device: VirtioMemDevice) -> Reason:
    values = {
        "size": device.size,
        "requested-size": device.requested_size,
        "missing": abs(device.requested_size - device.assumed_size),
        "verb": "unplug" if _shrinking(device) else "plug",
    }
    return Reason(ReasonKind.NOT_SETTLED, values, device.id)


def _unknown_driver(device: VirtioMemDevice, hypervisor_info: HypervisorInfo) -> Reason:
    """Say what a plugged size shows about the driver, and how to find out where it shows nothing."""
    if device.size:
        return likely(ReasonKind.DRIVER_LIKELY, device.id)
    if hypervisor_info.held_back is not None:
        return unknown(ReasonKind.DRIVER_NOT_ASKED, device.id, why=hypervisor_info.held_back)
    return unknown(ReasonKind.DRIVER_NOT_SHOWN, device.id)


def _short(device: VirtioMemDevice, facts: MachineFacts) -> Iterator[Reason]:
    """Why the driver rests, going by sizes and its parameters; then what the guest shows of its memory."""
    rests = _at_rest(device, facts)
    # Too much offline is said with the blocks that are offline, below; no other rest needs a look at them.
    if rests is not None and rests.kind is not ReasonKind.TOO_MUCH_OFFLINE:
        yield rests
    elif _shrinking(device):
        yield from _short_shrink(device, facts)
    else:
        yield from _short_growth(device, facts)


def _at_rest(device: VirtioMemDevice, facts: MachineFacts) -> Reason | None:
    """`why_at_rest`, as a fact where the guest shows how the driver was loaded, for its units follow from that."""
    known = facts.inside is not None and facts.inside.driver is not None
    found = why_at_rest(facts.of(device))
    return found and found.of(device.id)._replace(certainty=Certainty.FACT if known else Certainty.LIKELY)


def _short_growth(device: VirtioMemDevice, facts: MachineFacts) -> Iterator[Reason]:
    """Reasons for too little: offline memory, a region that is not a whole number of blocks, no room for the memmap."""
    inside, threshold = facts.inside, facts.units(device).offline_threshold
    if inside is not None and facts.offline(device):
        yield from _offline_blocks(device, facts, inside)
    # With everything left offline, Linux stops adding exactly at its threshold: a size that ends there is a hint, no
    # proof.
    elif device.size and not device.size % threshold:
        yield likely(ReasonKind.MAYBE_OFFLINE, device.id, size=device.size, threshold=threshold)
    if inside is None:
        return
    if (
        inside.block_size
        and device.region
        and (usable := _whole_blocks(device.region, inside.block_size)) < device.requested_size
    ):
        yield Reason(ReasonKind.ODD_REGION, {"usable": usable, "block": inside.block_size}, device.id)
    if (cost := memmap({device: device.requested_size - device.assumed_size}, inside)) is not None:
        yield cost.of(device.id)


def memmap_need(growth: int, architecture: Architecture = DEFAULT) -> int:
    """Bytes of struct pages that describe that much more memory."""
    return memmap_size(growth, architecture)


def forecast(growths: Mapping[VirtioMemDevice, int], means: Means) -> Forecast:
    """Return the cost of the devices that grow; memory of those that shrink is not free before they have shrunk."""
    growing = {device: growth for device, growth in growths.items() if growth > 0}
    # The rest of a block that is partly plugged costs nothing: its struct pages came when the block was added.
    begun = sum(min(-device.assumed_size % means.block_size, growth) for device, growth in growing.items())
    return foresee(means, sum(growing.values()), begun=begun)


def memmap(growths: Mapping[VirtioMemDevice, int], inside: GuestMemoryInfo) -> Reason | None:
    """Return what struct pages for new memory cost and whether they fit; None if the guest does not report free memory."""
    return None if (means := inside.means) is None else forecast(growths, means).reason


def _offline_blocks(device: VirtioMemDevice, facts: MachineFacts, inside: GuestMemoryInfo) -> Iterator[Reason]:
    values = {"count": len(facts.offline(device)), "size": facts.offline_size(device)}
    yield Reason(ReasonKind.BLOCKS_OFFLINE, values, device.id)
    if not device.settled and (rests := _at_rest(device, facts)) is not None:
        yield rests
    # By the guest's own setting, or in spite of it: the advice differs.
    if inside.auto_online_blocks == OnlineType.OFFLINE:
        yield Reason(ReasonKind.NEW_BLOCKS_OFFLINE, device=device.id)
    elif inside.auto_online_blocks is not None:
        yield Reason(ReasonKind.NEW_BLOCKS_ONLINE, {"state": inside.auto_online_blocks}, device.id)


def _short_shrink(device: VirtioMemDevice, facts: MachineFacts) -> Iterator[Reason]:
    """Reasons for too much: kernel zones, nowhere to move to, pages that cannot move."""
    inside = facts.inside
    if inside is None:
        yield unknown(ReasonKind.HIDDEN_USE, device.id)
        return
    zones = Counter(block.zone for block in facts.blocks(device) if block.online and block.zone is not None)
    kernel = sum(count for zone, count in zones.items() if zone != ZoneType.MOVABLE)
    if kernel:
        yield Reason(ReasonKind.KERNEL_ZONES, {"zones": dict(zones)}, device.id)
    if inside.pages or inside.pageblocks:
        yield from about_pages(facts.blocks(device), inside, device.id)
    # A simulated guest names what holds memory itself.
    elif not facts.hypervisor_info.reasons:
        yield unknown(ReasonKind.PAGES_NOT_READ, device.id)
    missing = device.assumed_size - device.requested_size
    if inside.mem_available is not None and inside.mem_available < missing:
        yield likely(ReasonKind.NO_ROOM_TO_MOVE, device.id, missing=missing, available=inside.mem_available)
    # Only a guess while no page was read: pages in Movable that stay are mostly pinned.
    elif zones and not kernel and not inside.pages:
        yield likely(ReasonKind.MAYBE_PINNED, device.id)


def _about_retry(facts: MachineFacts) -> Iterator[Reason]:
    if facts.retry_in is not None:
        yield retry(facts.retry_in, exact=facts.exact)._replace(certainty=Certainty.LIKELY)
    yield Reason(ReasonKind.RETRY_INTERVAL, {"first": intervals.FIRST, "last": intervals.LAST})


def _may_retry(device: VirtioMemDevice, facts: MachineFacts, found: Iterable[Reason]) -> bool:
    """True when a timer of the device's driver runs, where that is known: while it has memory to give up."""
    present = facts.driver(device) in {Driver.READY, Driver.UNKNOWN}
    rests = any(reason.kind in _WITHOUT_TIMER for reason in found if reason.device == device.id)
    # A driver that grows rests without a timer after ENOSPC and with one after ENOMEM: from outside the two look the
    # same.
    return present and _shrinking(device) and not rests


def _shrinking(device: VirtioMemDevice) -> bool:
    return device.assumed_size > device.requested_size


def _whole_blocks(span: Span, block: int) -> int:
    """Bytes of a region that are whole memory blocks: all that Linux can use."""
    return max(align_down(span.stop, block) - align_up(span.start, block), 0)
