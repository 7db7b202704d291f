"""Find objections to a resize before it begins; an impossible wish is refused by `plan`."""

from collections.abc import Iterator

from virtiomem.abi import OnlineType
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.units import GiB
from virtiomem.vm.explain import about_driver, about_machine, memmap, memmap_need
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.inside import GuestMemoryInfo
from virtiomem.vm.plan import Plan

NOTES = (ReasonKind.MEMMAP_FITS, ReasonKind.MEMMAP_PAYS)
"""What is worth knowing and speaks against nothing."""


def preflight(facts: MachineFacts, plan: Plan) -> tuple[Reason, ...]:
    """Everything worth knowing before `plan` is carried out; empty when nothing speaks against it."""
    # A plan that changes nothing cannot fail: warnings would be about something else.
    if all(change.device.settled and change.after == change.device.size for change in plan.changes):
        return ()
    return (
        *_machine(facts, plan),
        *_drivers(facts, plan),
        *_offline(facts.inside, plan),
        *_odd_sizes(facts, plan),
        *_memmap(facts.inside, plan),
    )


def _machine(facts: MachineFacts, plan: Plan) -> Iterator[Reason]:
    """Yield objections that concern the whole machine; passed-through devices matter to growth only."""
    # VFIO pins memory as it is plugged, so it is growth that costs host memory at once.
    shrinks = plan.growth <= 0
    found = about_machine(facts.machine, facts.hypervisor_info)
    yield from (reason for reason in found if not (shrinks and reason.kind is ReasonKind.PASSED_THROUGH))


def _drivers(facts: MachineFacts, plan: Plan) -> Iterator[Reason]:
    """Drivers that cannot act; one that is unknown speaks neither for nor against a resize."""
    yield from filter(None, (about_driver(change.device, facts) for change in plan.changes))
    if facts.hypervisor_info.held_back is not None:
        values = {"why": facts.hypervisor_info.held_back}
        yield Reason(ReasonKind.DRIVER_NOT_ASKED, values, certainty=Certainty.UNKNOWN)


def _offline(inside: GuestMemoryInfo | None, plan: Plan) -> Iterator[Reason]:
    """New memory that the guest will leave offline, and of which its driver adds no more than it may then."""
    if plan.growth > 0 and inside is not None and inside.auto_online_blocks == OnlineType.OFFLINE:
        yield Reason(ReasonKind.NEW_BLOCKS_OFFLINE)


def _odd_sizes(facts: MachineFacts, plan: Plan) -> Iterator[Reason]:
    """Sizes that the driver will not reach, since it moves more at a time than the device's blocks."""
    if facts.inside is None:
        return
    for change in plan.changes:
        size = change.device.size
        unit = facts.units(change.device).plugged
        if size is not None and (odd := abs(change.after - size) % unit):
            stop = change.after - odd if change.after > size else change.after + odd
            values = {"requested-size": change.after, "stop": stop, "unit": unit}
            yield Reason(ReasonKind.WILL_STOP, values, change.device.id)


def _memmap(inside: GuestMemoryInfo | None, plan: Plan) -> Iterator[Reason]:
    """Struct pages of new memory come out of the memory that is there: what they cost, and whether they fit."""
    growths = {change.device: change.after - change.device.assumed_size for change in plan.changes}
    cost = None if inside is None or plan.growth <= 0 else memmap(growths, inside)
    # Below 1 GiB struct pages take less than 16 MiB with 4 KiB pages: worth a line only if even they do not fit.
    if cost is not None and (plan.growth >= GiB or cost.kind is ReasonKind.NO_ROOM_FOR_MEMMAP):
        yield cost
    elif cost is None and plan.growth >= GiB:
        yield Reason(ReasonKind.MEMMAP_NEED, {"growth": plan.growth, "need": memmap_need(plan.growth)})
