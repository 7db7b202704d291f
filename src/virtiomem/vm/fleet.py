"""One resize of many machines: all are planned before any is touched, then all are followed at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from virtiomem.errors import Exit, UsageError, VirtiomemError
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.vm.concurrency import each
from virtiomem.vm.connect import Unreachable
from virtiomem.vm.drivers import with_inside
from virtiomem.vm.explain import unknown
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.inside import GuestMemoryInfo
from virtiomem.vm.model import Vm
from virtiomem.vm.plan import Plan, PlanError, Scope, Spread, Wish
from virtiomem.vm.preflight import preflight
from virtiomem.vm.resize import resize
from virtiomem.vm.results import Reporter, ResizeOutcome, ResizeResult, WaitPolicy
from virtiomem.vm.target import device_pattern, plan_target

PARTLY = Exit.PARTLY


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeOrder:
    """Request of the user for a fleet."""

    target: str
    wish: Wish
    scope: Scope = Scope.DEVICE
    spread: Spread = field(default_factory=Spread)
    round_up: bool = False
    wait: bool = True
    """Refuse a resize that cannot be waited for, since the plugged size is not reported."""
    steps: bool = False
    """Refuse a guest that does not say what it has free, since the size of a step follows from that."""


@dataclass(frozen=True, slots=True)
class PlannedResize:
    """The request applied to one machine, and objections to it."""

    vm: Vm
    plan: Plan
    warnings: tuple[Reason, ...] = ()
    inside: GuestMemoryInfo | None = None
    """What the guest said about itself beforehand."""
    began: float | None = None
    """The backend's time when planning began, from which a time-out counts."""


@dataclass(frozen=True, slots=True)
class MachineRefusal:
    """A machine that cannot be resized as ordered, and why."""

    name: str
    error: VirtiomemError


async def plan_all(
    opened: Sequence[Vm | Unreachable], order: ResizeOrder, *, patience: float | None = None
) -> list[PlannedResize | MachineRefusal]:
    """Plan the order for every machine, in their order; nothing is changed yet.

    A guest agent that is silent is waited for as long as it is by itself, and no longer than `patience` seconds: half of a
    time-out, so that the resize has the other half.
    """
    # All at once, unlike other questions: each silent agent may take half of the time-out, which must not add up.
    return await each(lambda vm: _plan(vm, order, patience), opened, at_once=len(opened) or 1)


async def _plan(vm: Vm | Unreachable, order: ResizeOrder, patience: float | None) -> PlannedResize | MachineRefusal:
    if isinstance(vm, Unreachable):
        return MachineRefusal(vm.name, vm.error)
    try:
        # Before the first question: a time-out that only counted from here on would not limit what a busy guest answers
        # late.
        began = vm.backend.now()
        machine = await vm.backend.look()
        pattern = device_pattern(order.target, vm.name)
        plan = plan_target(machine, pattern, order.scope, order.wish, order.spread, round_up=order.round_up)
        # Refused before anything is set: a wait for a size that is never reported could end only by its time-out.
        blind = [change.device.id for change in plan.changes if change.device.size is None]
        if blind and order.wait:
            raise PlanError(
                f"{', '.join(blind)}: the hypervisor does not show what is plugged, so that it cannot be waited for "
                "(--no-wait sets the size all the same)"
            )
        hypervisor_info = await vm.backend.hypervisor_info(machine)
        inside, said = await _inside(vm, patience)
        if order.steps and (inside is None or inside.means is None):
            raise PlanError("--step auto needs to know what the guest has free: give --agent")
        hypervisor_info = with_inside(hypervisor_info, machine, inside)
        facts = MachineFacts(machine=machine, hypervisor_info=hypervisor_info, inside=inside)
        return PlannedResize(vm, plan, (*said, *preflight(facts, plan)), inside, began)
    # A command that is wrong is wrong for every machine; anything else concerns this one alone.
    except UsageError:
        raise
    except VirtiomemError as error:
        return MachineRefusal(vm.name, error)


async def _inside(vm: Vm, patience: float | None) -> tuple[GuestMemoryInfo | None, tuple[Reason, ...]]:
    """Return the guest's view, or why it is missing."""
    if vm.agent is None:
        return None, ()
    try:
        async with asyncio.timeout(patience):
            return await vm.agent.look(claims=True), ()
    except TimeoutError:
        return None, (unknown(ReasonKind.AGENT_SILENT, why=f"the guest agent did not answer in {patience:g} s"),)
    except VirtiomemError as error:
        return None, (unknown(ReasonKind.AGENT_SILENT, why=str(error)),)


async def carry_out(
    jobs: Sequence[PlannedResize], policy: WaitPolicy, report: Reporter = lambda _: None
) -> list[ResizeResult]:
    """Do all jobs at once and wait for them.

    When this is cancelled every machine's resize states its condition, and they are returned all the same.
    """
    tasks = [
        asyncio.ensure_future(resize(job.vm, job.plan, policy, report, inside=job.inside, began=job.began))
        for job in jobs
    ]
    # An interrupt ends this wait, not the machines': each still has to state its condition.
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            for task in pending:
                task.cancel()
    if any(task.cancelled() for task in tasks):  # interrupted once more, while it stated its condition
        raise KeyboardInterrupt("requested sizes may have been set: `virtiomem vm status` says which")
    return [task.result() for task in tasks]


def exit_code(results: Sequence[ResizeResult], refusals: Sequence[MachineRefusal] = ()) -> int:
    """Return one exit code for all machines: the common one, 64 when some succeeded and some did not, else the most serious."""
    codes = [result.outcome.exit_code for result in results] + [refusal.error.exit_code for refusal in refusals]
    if ResizeOutcome.INTERRUPTED in {result.outcome for result in results}:
        return ResizeOutcome.INTERRUPTED.exit_code
    # Fifty machines that all timed out are a time-out, not a partial success.
    if len(set(codes)) == 1:
        return codes[0]
    # A higher code is graver (1 failed, 2 usage, 124 timed out), except 64, which is between success and failure.
    return PARTLY if 0 in codes or PARTLY in codes else max(codes, default=0)


def policy_for(order: ResizeOrder, policy: WaitPolicy) -> WaitPolicy:
    """Let missing memory go to other devices only where the size is of more than one device."""
    many = order.scope is not Scope.DEVICE
    # A size of one device is that device's: to plug it elsewhere would be another wish.
    return replace(policy, spread=order.spread, redispatch=policy.redispatch and many)
