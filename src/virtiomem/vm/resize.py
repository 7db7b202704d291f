"""Resize a running machine and really wait: set, watch it follow, re-dispatch what is stuck, roll back when asked.

A resize is done when every device's size is its requested-size and new memory was seen online in the guest. Without a look
inside it ends as soon, as `plugged`; what only shrinks is seen at the device, which has the memory back.
It has stalled when nothing moved for `WaitPolicy.stall` seconds; the default lets the Linux driver's first retry pass by.
Whatever happens, the machine is left in a condition that the result states.

The states of a resize, and what leads from one to the next:

    carry out --> follow --> every device has its size --> look inside --> DONE, or PLUGGED without an agent
       ^            |                                          |
       |            |                                          +-- a part was held back: carry out the rest
       |            |                                          +-- blocks are offline: follow on
       |            +-- the guest was reset: follow again from what is plugged then
       |            +-- nothing moved for `stall`: redispatch what is missing --+--> else PARTLY or TIMED_OUT
       +------------------------------------------------------------------------+        (then roll back, if asked)

    from anywhere: REFUSED by the hypervisor, LOST machine, SUPERSEDED by another's size, INTERRUPTED, TIMED_OUT

- *Carry out* sets sizes, shrinking devices first. What only fits once others have shrunk is *held back*, and the rest of
  the plan follows when all have what was set: plugged memory never exceeds the plan's total on the way. In steps
  (`steps`) a part is also held back for which the guest has no struct pages yet.
- *Redispatch* happens once for each device that is stuck: it stays where it is, and others make up for it (`plan.replan`).
- *Roll back* sets what was requested before and waits briefly. The findings describe the state before that.

Only an agent can tell whether new memory is online. Without one, or when it stays silent, growth ends as PLUGGED, while a
shrink is DONE as soon as the device has the memory back. Steps need it, too, to learn what is free; without it the whole
plan is set at once.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from virtiomem.errors import BackendError, DeviceError, ProtocolError, VirtiomemError
from virtiomem.reasons import Reason, ReasonKind, with_advice
from virtiomem.units import Span, format_approx, format_size
from virtiomem.vm.drivers import placed, regions, seen_of, seen_to_act, with_inside
from virtiomem.vm.explain import explain, not_looked, unknown
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.inside import GuestMemoryInfo, Seen
from virtiomem.vm.model import Event, Machine, VirtioMemDevice, Vm
from virtiomem.vm.plan import Plan, held_back, replan
from virtiomem.vm.progress import Track
from virtiomem.vm.results import DeviceResult, Reporter, ResizeOutcome, ResizeProgress, ResizeResult, WaitPolicy
from virtiomem.vm.steps import Steps

ROLLBACK_SECONDS = 10.0
"""How long the guest is watched following a rollback."""
LAST_LOOK_SECONDS = 2.0
"""How long a last look may take: once the outcome is known, or beyond the time-out."""
_UNSEEN = "not seen from inside: "
AGENT_TRIES = 3
"""How often a silent agent is asked before a resize ends without it.

Chosen, not measured: a guest that is just putting memory online may miss one or two questions."""


async def resize(
    vm: Vm,
    plan: Plan,
    policy: WaitPolicy,
    report: Reporter = lambda _: None,
    *,
    inside: GuestMemoryInfo | None = None,
    began: float | None = None,
) -> ResizeResult:
    """Carry a plan out; errors of the machine are outcomes and are never raised.

    `inside` is what the guest said about itself when the plan was made; without it success is judged from outside. A
    time-out counts from `began` of the backend's time, or from now.
    """
    return await _Resize(vm, plan, policy, report, inside, began).run()


class _Resize:
    """One resize of one machine."""

    def __init__(
        self,
        vm: Vm,
        plan: Plan,
        policy: WaitPolicy,
        report: Reporter,
        inside: GuestMemoryInfo | None,
        began: float | None,
    ) -> None:
        self.vm = vm
        self.backend = vm.backend
        self.original = self.plan = plan
        self.policy = policy
        self.report = report
        self.began = self.backend.now()
        # From when planning began where that is known: `timeout` of a CI job counts from then, too.
        self.until = None if policy.timeout is None else (self.began if began is None else began) + policy.timeout
        """When the time-out is over."""
        self.notes: list[str] = []
        self.stuck: dict[str, int] = {}
        self.held = False
        """Whether a part of the plan is held back until other devices have shrunk."""
        self.steps = Steps()
        self.machine: Machine | None = None
        self.inside_before = inside
        self.inside = Seen.NOT_LOOKED
        self.unanswered = 0
        self.reset_at: float | None = None
        self.tracks = {
            device.id: Track(device.id, device.assumed_size, after, self.began, device.settled)
            for device, after in ((change.device, change.after) for change in plan.changes)
        }

    async def run(self) -> ResizeResult:
        """From the first size that is set to the result."""
        try:
            # A last resort: `_judge` ends a resize in time, unless a single question outlasts it.
            async with asyncio.timeout(self._left()):
                outcome = await self._run()
        except TimeoutError:  # in the middle of a question
            outcome = ResizeOutcome.TIMED_OUT
        # `_set` has put back what it had set before the refusal; the hypervisor is still there to be asked.
        except DeviceError as error:
            outcome = self._noted(ResizeOutcome.REFUSED, str(error))
        except (BackendError, ProtocolError) as error:
            outcome = self._noted(ResizeOutcome.LOST, str(error))
        except asyncio.CancelledError:
            outcome = ResizeOutcome.INTERRUPTED
        seconds = self.backend.now() - self.began
        if (
            self.held
            and self.steps.starved is None
            and outcome in {ResizeOutcome.PARTLY, ResizeOutcome.TIMED_OUT, ResizeOutcome.INTERRUPTED}
        ):
            self.notes.append("growth was held back: the other devices did not give up as much")
        findings: tuple[Reason, ...] = ()
        # Not after LOST, whose question would only fail again; every other outcome has just looked.
        if outcome in {ResizeOutcome.STARTED, ResizeOutcome.INTERRUPTED, ResizeOutcome.REFUSED}:
            await self._last_look()
        elif outcome is ResizeOutcome.PLUGGED:
            findings = with_advice([not_looked(asked=self.vm.agent is not None)])
        elif outcome in {ResizeOutcome.PARTLY, ResizeOutcome.TIMED_OUT}:
            # Before the rollback: it changes what the reasons are about.
            findings = await self._findings() if self.steps.starved is None else with_advice([self.steps.starved])
            if self.policy.rollback:
                await self._roll_back()
        return self._result(outcome, seconds, findings)

    async def _run(self) -> ResizeOutcome:
        if not self.policy.wait:
            await self._set(self.plan)
            return ResizeOutcome.STARTED
        await self._carry_out(self.plan)
        # Waiting begins once all sizes are set, which may take as long as several slow answers.
        self.began = self.backend.now()
        return await self._follow()

    async def _carry_out(self, plan: Plan) -> bool:
        """Set the part of a plan that may be set now; return whether there is anything to wait for.

        What only grows once others have shrunk is held back; in steps, also what its struct pages do not fit for yet.
        """
        # A fresh look, since on a second turn others have shrunk in the meantime.
        now = held_back(await self.backend.look(), plan)
        if self.policy.steps:
            now = self.steps.part(now, await self._inside() or self.inside_before)
        await self._set(now)
        # After `_set`, which may raise: the plan that is in force is the one whose sizes were taken.
        self.plan, self.held = plan, now.total < plan.total
        for change in now.changes:
            self.tracks[change.device.id].aim(self.backend.now(), change.after, change.device.assumed_size)
        # Held back with nothing to set would be a wait that no event can end.
        return not self.held or any(change.after != change.device.size for change in now.changes)

    async def _set(self, plan: Plan) -> None:
        """Set every requested-size, shrinking first; when one is refused, those already set go back."""
        done: list[tuple[str, int]] = []
        # Shrinking first: what grows may need the memory, and the total never exceeds the plan's.
        for change in sorted(plan.changes, key=lambda change: change.after - change.before):
            # A device that is only requested to be there is set again: the driver then tries at once instead of at its
            # next retry.
            if change.after == change.device.requested_size == change.device.size:
                continue
            try:
                await self.backend.set_requested_size(change.device.id, change.after)
            except DeviceError:
                for device, before in done:
                    # Back to what was requested, not to what was plugged: that was the wish before this command.
                    await self.backend.set_requested_size(device, before)
                raise
            done.append((change.device.id, change.before))

    async def _follow(self) -> ResizeOutcome:
        """Look until it is over."""
        while True:
            machine = self.machine = await self.backend.look()
            now = self.backend.now()
            # Judged before it waits: a resize that has nothing to do ends with its first look.
            outcome = await self._judge(machine, now)
            self.report(self._progress(now))
            if outcome is not None:
                return outcome
            events = await self.backend.wait(self._pause(now))
            if Event.SHUTDOWN in events:
                self.notes.append("the guest shut down")
            # Before the next look, whose sizes of 0 would else be taken for a shrink, or for memory that was given
            # back.
            if Event.RESET in events:
                await self._after_reset()

    def _progress(self, now: float) -> ResizeProgress:
        return ResizeProgress(self.vm.name, tuple(self.tracks.values()), now, now - self.began, self.inside)

    async def _judge(self, machine: Machine, now: float) -> ResizeOutcome | None:
        """Decide what this look means; None to go on."""
        for track in self.tracks.values():
            device = machine.device(track.device)
            if device is None:
                return self._noted(ResizeOutcome.LOST, f"{track.device} is gone")
            # Another client's wish is newer than ours: to set ours again would start a race that both lose.
            if device.requested_size != track.target:
                said = f"{track.device}: another client set its requested-size to {format_size(device.requested_size)}"
                return self._noted(ResizeOutcome.SUPERSEDED, said)
            if not isinstance(device, VirtioMemDevice) or device.size is None:
                return self._noted(ResizeOutcome.LOST, f"{track.device}: its size is not reported any more")
            track.feed(now, device.size)
        if all(track.done for track in self.tracks.values()):
            # Between two parts of a plan only sizes count; the look inside is for the end, or for steps, which need the
            # memory online.
            outcome = await self._look_inside(machine) if self.policy.steps or not self.held else ResizeOutcome.DONE
            if outcome is not None and self.held:
                return None if await self._carry_out(self.plan) else ResizeOutcome.PARTLY
            if outcome is not None:
                return outcome
        # After success: a resize that is done in its last moment is done.
        if self.until is not None and now >= self.until:
            return ResizeOutcome.TIMED_OUT
        if now - self._moved_at() >= self.policy.stall:
            return await self._stalled(machine)
        return None

    async def _stalled(self, machine: Machine) -> ResizeOutcome | None:
        """Give the missing part to other devices after a standstill, or end."""
        missing = {track.device: track.size for track in self.tracks.values() if not track.done}
        # Only for a device that was not stuck before: else two stuck ones would pass the same part to and fro.
        if self.policy.redispatch and missing.keys() - self.stuck.keys():
            self.stuck |= missing
            # From every device that was ever stuck, so that none of them is handed a share again.
            plan = replan(machine, self.plan, self.stuck, self.policy.spread)
            if plan is not None:
                await self._redispatch(plan, missing)
                return None
        moved = any(track.moved for track in self.tracks.values())
        # Nothing missing means blocks that stay offline: the devices have done their part.
        return ResizeOutcome.PARTLY if moved or not missing else ResizeOutcome.TIMED_OUT

    async def _redispatch(self, plan: Plan, missing: dict[str, int]) -> None:
        """Carry on with a plan that leaves the stuck devices where they are, if the others can make up for it."""
        before = {device: self.tracks[device].target for device in missing}
        await self._carry_out(plan)
        for change in plan.changes:
            lack = before.get(change.device.id, change.after) - change.after
            if lack:
                size = missing[change.device.id]
                part = (
                    f"the other {format_approx(abs(lack))}"
                    if change.after == size
                    else f"{format_approx(abs(lack))} of the rest"
                )
                where = "went to" if lack > 0 else "was taken from"
                self.notes.append(f"{change.device.id} is stuck at {format_size(size)}: {part} {where} other devices")

    async def _after_reset(self) -> None:
        """A reset unplugs everything; the requested sizes stand, and the next driver starts again."""
        # What is plugged now is where the next driver starts: everything was unplugged before the reset was reported.
        machine = await self.backend.look()
        now = self.backend.now()
        if self.reset_at is None or self._moved_at() > self.reset_at:  # one boot may reset the machine several times
            self.notes.append(f"the guest was reset after {now - self.began:.0f} s; its next driver starts again")
        self.reset_at = now
        for track in self.tracks.values():
            device = machine.device(track.device)
            track.reset(now, device.assumed_size if isinstance(device, VirtioMemDevice) else 0)

    async def _look_inside(self, machine: Machine) -> ResizeOutcome | None:
        """Look whether the guest has online what every device now has; None to go on."""
        if self.inside_before is None and self.vm.agent is not None:
            self._unseen("the guest agent did not answer when the plan was made")
        # Without a look from before there is nothing to compare with, and a guest that was silent then is not waited
        # for now.
        if self.inside_before is None or not self.policy.online:
            return self._from_outside()
        inside = await self._inside()
        self.inside = Seen.NOT_LOOKED if inside is None else seen_in(inside, machine, self.tracks.keys())
        if inside is None or self.inside is Seen.NOT_LOOKED:
            self.unanswered += 1
            # A few misses are normal: a guest that is just onlining memory answers late.
            return self._from_outside() if self.unanswered >= AGENT_TRIES else None
        if self.inside is Seen.OFFLINE:
            return None
        moved = any(track.moved for track in self.tracks.values())
        if moved and not self.held and inside.mem_total is not None and self.inside_before.mem_total is not None:
            totals = f"{format_approx(self.inside_before.mem_total)} -> {format_approx(inside.mem_total)}"
            self.notes.append(f"seen from inside: MemTotal {totals}, no block of it offline")
        return ResizeOutcome.DONE

    def _from_outside(self) -> ResizeOutcome:
        """Conclude without a look inside: memory that is gone is gone, what is there may be offline."""
        # The driver takes memory from Linux before the device unplugs it, so less plugged proves it gone; more plugged
        # proves nothing about Linux.
        seen = all(track.size < track.start or not track.size for track in self.tracks.values())
        return ResizeOutcome.DONE if seen or not self.policy.online else ResizeOutcome.PLUGGED

    async def _inside(self, spans: tuple[Span, ...] = (), patience: float | None = None) -> GuestMemoryInfo | None:
        """Ask the agent, for at most `patience` seconds or as long as is left; a failure is noted once."""
        if self.vm.agent is None:
            return None
        try:
            # The shorter of two limits ends it.
            async with asyncio.timeout(self._left()), asyncio.timeout(patience):
                return await self.vm.agent.look(spans, claims=bool(spans))
        except (VirtiomemError, TimeoutError) as error:
            self._unseen(
                str(error) or "the guest agent did not answer in time (`virtiomem vm explain` gives it longer)"
            )
            return None

    def _unseen(self, why: str) -> None:
        """Note once that no agent can report from inside."""
        if not any(note.startswith(_UNSEEN) for note in self.notes):
            self.notes.append(f"{_UNSEEN}{why}")

    async def _findings(self) -> tuple[Reason, ...]:
        """Say why it stopped short, where that is known."""
        try:
            async with asyncio.timeout(self._left()):
                machine = self.machine = await self.backend.look()
                hypervisor_info = await self.backend.hypervisor_info(machine)
        except (VirtiomemError, TimeoutError) as error:
            return (unknown(ReasonKind.LOOK_FAILED, why=str(error) or "it did not answer in time"),)
        machine = placed(machine, self.inside_before)
        only = tuple(device for device in machine.virtio_mem if device.id in self.tracks)
        spans = regions(only)
        if self.inside_before is None:  # it was silent from the first
            # One short try: the command has failed already, and an agent that was silent all along will be again.
            inside = await self._inside(spans, LAST_LOOK_SECONDS)
        else:  # just after a change a guest may be slow
            inside = await self._inside(spans) or await self._inside(spans)
        acted = [track.device for track in self.tracks.values() if track.acted]
        hypervisor_info = seen_to_act(with_inside(hypervisor_info, machine, inside), acted)
        # Each device has a driver instance with a timer of its own; the first of them to expire is the one worth
        # naming.
        waiting = {track.retry_in(self.backend.now()): track for track in self.tracks.values()}
        soonest = min((seconds for seconds in waiting if seconds is not None), default=None)
        exact = soonest is not None and waiting[soonest].retry.certain
        # A simulated guest knows its timer; from outside it is only reckoned from when memory last moved.
        if hypervisor_info.retry_in is not None:
            soonest, exact = hypervisor_info.retry_in, True
        facts = MachineFacts(
            machine=machine,
            hypervisor_info=hypervisor_info,
            inside=inside,
            asked=self.vm.agent is not None,
            retry_in=soonest,
            exact=exact,
        )
        return explain(facts, only, again=not self.policy.rollback)

    async def _last_look(self) -> None:
        """See in which condition the machine is left."""
        # The outcome is known: a machine that does not answer now is shown as it was last seen.
        with suppress(VirtiomemError, TimeoutError):
            async with asyncio.timeout(LAST_LOOK_SECONDS):
                self.machine = await self.backend.look()

    async def _roll_back(self) -> None:
        """Set the previous requested sizes again, and watch the guest for a moment; findings were taken before."""
        try:
            for change in self.original.changes:
                await self.backend.set_requested_size(change.device.id, change.before)
            # It only watches: whether the guest follows is the guest's affair, and the command has failed either way.
            end = self.backend.now() + ROLLBACK_SECONDS
            while self.backend.now() < end:
                self.machine = await self.backend.look()
                if all(device.settled for device in self.machine.virtio_mem if device.id in self.tracks):
                    break
                await self.backend.wait(self.policy.poll)
            self.notes.append(
                "rolled back to the previous requested sizes; the reasons below describe the state before the rollback"
            )
        except VirtiomemError as error:
            self.notes.append(f"could not roll back: {error}")

    def _pause(self, now: float) -> float:
        """Until the next look: the poll interval, or less when a limit comes sooner."""
        limits = [self.policy.poll, self._moved_at() + self.policy.stall - now]
        if self.until is not None:
            limits.append(self.until - now)
        # Never 0: a limit that has just passed must not become a look without a pause.
        return max(min(limits), 0.01)

    def _left(self) -> float | None:
        """Seconds until the time-out and a last look are over; None without one."""
        return None if self.until is None else max(self.until + LAST_LOOK_SECONDS - self.backend.now(), 0.0)

    def _moved_at(self) -> float:
        return max(track.moved_at for track in self.tracks.values())

    def _noted(self, outcome: ResizeOutcome, note: str) -> ResizeOutcome:
        self.notes.append(note)
        return outcome

    def _result(self, outcome: ResizeOutcome, seconds: float, findings: tuple[Reason, ...]) -> ResizeResult:
        """The condition the machine is left in, as last seen."""
        devices = []
        for change in self.original.changes:
            seen = self.machine.device(change.device.id) if self.machine else None
            last = seen or change.device
            devices.append(
                DeviceResult(
                    id=last.id,
                    node=last.node,
                    size_before=change.device.size,
                    size=last.size,
                    requested_before=change.before,
                    requested=last.requested_size,
                )
            )
        return ResizeResult(self.vm.name, outcome, seconds, tuple(devices), tuple(self.notes), findings, self.inside)


def seen_in(inside: GuestMemoryInfo, machine: Machine, devices: Iterable[str]) -> Seen:
    """Return the worst of what a look inside showed of those devices."""
    wanted = set(devices)
    machine = placed(machine, inside)
    seen = {seen_of(device, machine, inside) for device in machine.virtio_mem if device.id in wanted}
    return next((worst for worst in (Seen.NOT_LOOKED, Seen.OFFLINE) if worst in seen), Seen.ONLINE)
