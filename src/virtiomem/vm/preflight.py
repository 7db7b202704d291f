"""What speaks against a resize before it begins, in plain words; a wish that cannot be is refused by `plan`."""

from collections.abc import Iterator

from virtiomem.units import GiB, format_approx
from virtiomem.vm.base import Driver, Machine, Surroundings
from virtiomem.vm.explain import MEMMAP_RATIO
from virtiomem.vm.inside import Inside
from virtiomem.vm.plan import Plan


def preflight(machine: Machine, surroundings: Surroundings, inside: Inside | None, plan: Plan) -> tuple[str, ...]:
    """Everything worth knowing before `plan` is carried out, the gravest first; empty when nothing speaks against it."""
    if all(change.device.settled and change.after == change.device.size for change in plan.changes):
        return ()
    return (*_drivers(machine, surroundings, plan), *_hypervisor(surroundings, plan), *_memmap(inside, plan))


def _drivers(machine: Machine, surroundings: Surroundings, plan: Plan) -> Iterator[str]:
    """Nobody there who could act; that it is unknown speaks neither for nor against a resize."""
    if not machine.running:
        yield f"the machine is {machine.status}: nothing moves until its CPUs run"
    for change in plan.changes:
        driver = surroundings.drivers.get(change.device.id, Driver.UNKNOWN)
        if driver is Driver.ABSENT:
            yield f"{change.device.id} has no driver: the guest acts when one is loaded (virtio_mem)"
        elif driver is Driver.BROKEN:
            yield f"{change.device.id} waits to be reset: its driver broke the protocol"


def _hypervisor(surroundings: Surroundings, plan: Plan) -> Iterator[str]:
    """What makes the hypervisor refuse requests, and what it was not asked."""
    if surroundings.held_back is not None:
        yield surroundings.held_back
    if surroundings.migration is not None:
        yield f"a migration is {surroundings.migration}: requests are answered BUSY until it ends, then the driver retries"
    if surroundings.vfio and plan.growth > 0:
        names = ", ".join(surroundings.vfio)
        yield f"passed-through devices ({names}) pin all plugged memory: the locked-memory limit must allow it"


def _memmap(inside: Inside | None, plan: Plan) -> Iterator[str]:
    """Struct pages of new memory come out of the memory that is there."""
    need = plan.growth // MEMMAP_RATIO
    if inside is not None and inside.mem_free is not None and inside.mem_free < need:
        yield (
            f"{format_approx(plan.growth)} more need {format_approx(need)} for struct pages, "
            f"and the guest has {format_approx(inside.mem_free)} free: grow in steps"
        )
    elif inside is None and plan.growth >= GiB:
        yield f"{format_approx(plan.growth)} more need {format_approx(need)} of free guest memory for struct pages (1/64)"
