"""What speaks against a resize before it begins; a wish that cannot be is refused by `plan`."""

from collections.abc import Iterator

from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.units import GiB
from virtiomem.vm.explain import about_driver, about_machine, memmap, memmap_need, units_of
from virtiomem.vm.inside import GuestMemoryInfo
from virtiomem.vm.model import HypervisorInfo, Machine
from virtiomem.vm.plan import Plan


def preflight(
    machine: Machine, hypervisor_info: HypervisorInfo, inside: GuestMemoryInfo | None, plan: Plan
) -> tuple[Reason, ...]:
    """Everything worth knowing before `plan` is carried out; empty when nothing speaks against it."""
    if all(change.device.settled and change.after == change.device.size for change in plan.changes):
        return ()
    return (
        *_machine(machine, hypervisor_info, plan),
        *_drivers(hypervisor_info, plan),
        *_odd_sizes(inside, plan),
        *_memmap(inside, plan),
    )


def _machine(machine: Machine, hypervisor_info: HypervisorInfo, plan: Plan) -> Iterator[Reason]:
    """What holds for the machine; passed-through devices matter to growth only."""
    shrinks = plan.growth <= 0
    found = about_machine(machine, hypervisor_info)
    yield from (reason for reason in found if not (shrinks and reason.kind is ReasonKind.PASSED_THROUGH))


def _drivers(hypervisor_info: HypervisorInfo, plan: Plan) -> Iterator[Reason]:
    """Drivers that cannot act; one that is unknown speaks neither for nor against a resize."""
    yield from filter(None, (about_driver(change.device, hypervisor_info) for change in plan.changes))
    if hypervisor_info.held_back is not None:
        yield Reason(ReasonKind.DRIVER_NOT_ASKED, {"why": hypervisor_info.held_back}, certainty=Certainty.UNKNOWN)


def _odd_sizes(inside: GuestMemoryInfo | None, plan: Plan) -> Iterator[Reason]:
    """Sizes that the driver will not reach, since it moves more at a time than the device's blocks."""
    if inside is None:
        return
    for change in plan.changes:
        size = change.device.size
        unit = units_of(change.device, inside).plugged
        if size is not None and (odd := abs(change.after - size) % unit):
            stop = change.after - odd if change.after > size else change.after + odd
            facts = {"requested-size": change.after, "stop": stop, "unit": unit}
            yield Reason(ReasonKind.WILL_STOP, facts, change.device.id)


def _memmap(inside: GuestMemoryInfo | None, plan: Plan) -> Iterator[Reason]:
    """Struct pages of new memory come out of the memory that is there."""
    if inside is None and plan.growth >= GiB:
        yield Reason(ReasonKind.MEMMAP_NEED, {"growth": plan.growth, "need": memmap_need(plan.growth)})
    elif inside is not None and (crowded := memmap(plan.growth, inside)) is not None:
        yield crowded
