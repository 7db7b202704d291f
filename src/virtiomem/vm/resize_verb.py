"""`vm resize`: its options, the plan and objections to it, progress, and the result."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from virtiomem import stdio
from virtiomem.units import format_exact
from virtiomem.vm import fleet, tables
from virtiomem.vm.commands import (
    UNTOUCHED,
    cancelled_by_interrupt,
    connections,
    leaving,
    opened_machines,
    some,
    write_json,
)
from virtiomem.vm.fleet import MachineRefusal, PlannedResize, ResizeOrder
from virtiomem.vm.plan import Scope, Spread, Wish
from virtiomem.vm.preflight import NOTES
from virtiomem.vm.progress_text import ProgressLines
from virtiomem.vm.results import STALL_SECONDS, Reporter, WaitPolicy
from virtiomem.vm.target import select


async def resize(args: Namespace) -> int:
    """Set sizes and wait until the guests have followed."""
    order = ResizeOrder(
        target=args.target,
        wish=Wish.parse(args.size),
        scope=Scope(args.scope),
        spread=Spread() if args.spread is None else Spread.parse(args.spread),
        round_up=args.round,
        wait=not (args.no_wait or args.dry_run),
        steps=args.step == "auto",
    )
    policy = WaitPolicy(
        wait=not args.no_wait,
        online=args.until == "online",
        timeout=args.timeout,
        stall=args.stall or STALL_SECONDS,
        rollback=args.on_timeout == "rollback",
        redispatch=not args.no_redispatch,
        steps=args.step == "auto",
    )
    async with AsyncExitStack() as stack:
        stack.enter_context(cancelled_by_interrupt())
        with leaving(UNTOUCHED):
            chosen = select(args.target, await connections(args, "resize --persist" if args.persist else "resize"))
            opened = await stack.enter_async_context(opened_machines(chosen))
            # Half of the time-out for agents: the resize itself has the other half.
            planned = await fleet.plan_all(opened, order, patience=args.timeout and args.timeout / 2)
        jobs = [job for job in planned if isinstance(job, PlannedResize)]
        refusals = [refusal for refusal in planned if isinstance(refusal, MachineRefusal)]
        _announce(jobs, refusals)
        if args.dry_run:
            return _dry_run(args, jobs, refusals)
        # All or none by default: a fleet that was half resized is harder to put right than one that was not.
        if refusals and not (args.keep_going and jobs):
            return _refuse(args, jobs, refusals)
        with _progress(args) as report:
            results = await fleet.carry_out(jobs, fleet.policy_for(order, policy), report)
        if args.json:
            write_json({"results": [tables.result_json(result) for result in results]} | _refusals_json(refusals))
        else:
            stdio.show("".join(f"{line}\n" for result in results for line in tables.result_lines(result)))
        # Before the connections are closed, which may take seconds: the result should be on the screen by then.
        sys.stdout.flush()
    return fleet.exit_code(results, refusals)


def _announce(jobs: Sequence[PlannedResize], refusals: Sequence[MachineRefusal]) -> None:
    """Print objections before anything happens."""
    for refusal in refusals:
        stdio.say(f"virtiomem: {_named(refusal)}")
    names: dict[tuple[bool, str], list[str]] = {}
    for job in jobs:
        for warning in job.warnings:
            advice = f"; {warning.advice.text}" if warning.advice else ""
            names.setdefault((warning.kind in NOTES, f"{warning}{advice}"), []).append(job.vm.name)
    for (is_note, text), machines in names.items():
        (stdio.say if is_note else stdio.warn)(f"{some(machines)}: {text}")


def _named(refusal: MachineRefusal) -> str:
    """A refusal that begins with its machine, or with the connection that failed."""
    return str(refusal.error) if refusal.error.connection is not None else f"{refusal.name}: {refusal.error}"


def _refuse(args: Namespace, jobs: Sequence[PlannedResize], refusals: Sequence[MachineRefusal]) -> int:
    if jobs:
        stdio.say(f"virtiomem: {UNTOUCHED} (--keep-going leaves out those that cannot)")
    if args.json:
        write_json({"results": []} | _refusals_json(refusals))
    return fleet.exit_code([], refusals)


def _dry_run(args: Namespace, jobs: Sequence[PlannedResize], refusals: Sequence[MachineRefusal]) -> int:
    """Show the plan only."""
    changes = [(job.vm.name, change) for job in jobs for change in job.plan.changes]
    if args.json:
        plan = [
            {"vm": vm, "device": c.device.id, "size": c.device.size, "before": c.before, "requested-size": c.after}
            for vm, c in changes
        ]
        warnings = [{"vm": job.vm.name} | warning.to_json() for job in jobs for warning in job.warnings]
        write_json({"plan": plan, "warnings": warnings} | _refusals_json(refusals))
    else:
        exact = format_exact
        for vm, c in changes:
            sizes = f"{exact(c.before)} -> {exact(c.after)} requested, {tables.exact_size(c.device.size)} plugged"
            stdio.show(f"{vm}/{c.device.id}: {sizes}\n")
    return fleet.exit_code([], refusals) if refusals else 0


def _refusals_json(refusals: Sequence[MachineRefusal]) -> dict[str, Any]:
    return {"refused": [{"vm": refusal.name, "error": str(refusal.error)} for refusal in refusals]}


@contextmanager
def _progress(args: Namespace) -> Iterator[Reporter]:
    """Progress on standard error: drawn on a terminal, a line every ten seconds elsewhere."""
    if args.no_wait:
        yield lambda _: None
    elif not sys.stderr.isatty():
        yield ProgressLines()
    else:
        from virtiomem.vm.terminal import ProgressScreen

        with ProgressScreen() as screen:
            yield screen
