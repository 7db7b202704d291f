"""A workload as the steps of a scenario: processes come and go, and the wanted size of the devices changes.

Processes of a kind arrive independently of one another (a Poisson process); each has a size and a lifetime drawn from
exponential distributions, and one kind of memory. Movable memory goes when its process does. Of unmovable memory a share stays
(`Workload.left_behind`): slab that other objects still hold, page tables of what goes on. Where memory lands is
`memory.pages`' knowledge; the workload sets how much of it is chance (`Workload.scatter`). A process that finds no memory is
refused, and that is an outcome.

A seed fixes everything that is drawn. The draws of one kind of process do not depend on any parameter but its own, so that two
policies that are compared see the same processes at the same times.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, NoReturn

from virtiomem.errors import ScenarioError
from virtiomem.guest.base import DeviceConfig
from virtiomem.recording.values import Free, Load, Resize, Step, Use, UseKind, Wait
from virtiomem.scenario.limits import MAX_STEPS
from virtiomem.sweep.trace import TracePoint
from virtiomem.sweep.values import Processes, Workload
from virtiomem.text import quoted
from virtiomem.units import Size, align_down

_SEED_BITS = 32
_GOES, _RESIZES, _COMES = range(3)
"""The order of what happens at one time: what goes makes room, and new memory is there for what comes."""


class _Event(NamedTuple):
    """Steps at one time; `number` keeps the order of events that are alike."""

    at: float
    order: int
    number: int
    steps: tuple[Step, ...]


def steps(
    workload: Workload,
    devices: Sequence[DeviceConfig],
    seed: int,
    *,
    pageblock: int,
    trace: Sequence[TracePoint] = (),
    loaded: bool = False,
) -> list[Step]:
    """The steps of a workload on these devices, `pageblock` bytes being what a process' memory is counted in.

    `loaded`: earlier steps load the driver. Raises ScenarioError for an impossible workload, and for one that is too
    long to be played.
    """
    check(workload)
    made = _Maker(workload, devices, seed, pageblock)
    events = [*made.resizes(_wanted(workload, trace))]
    for processes in workload.processes:
        events += made.processes(processes)
    events += made.levels(trace)
    found: list[Step] = [] if loaded else [Load()]
    now = 0.0
    # Without the steps, which have no order among themselves.
    for event in sorted(events, key=lambda event: event[:3]):
        if event.at > now:
            found.append(Wait(seconds=event.at - now))
            now = event.at
        found += event.steps
    if (end := max(workload.seconds, trace[-1].seconds if trace else 0.0)) > now:
        found.append(Wait(seconds=end - now))
    return found


def check(workload: Workload) -> None:
    """Refuse numbers that mean nothing, and more processes than can be played. Raises ScenarioError."""
    for name, share in (("scatter", workload.scatter), ("left-behind", workload.left_behind)):
        if not 0 <= share <= 1:
            _refuse(f"workload.{name}", f"{share} is not a share, from 0 to 1")
    if not 0 < workload.seconds < float("inf"):
        _refuse("workload.seconds", f"{workload.seconds} is not a time: more than 0 seconds")
    if not 0 < workload.step_seconds < float("inf"):
        _refuse("workload.step-seconds", f"{workload.step_seconds} is not a time: more than 0 seconds")
    expected = 0.0
    for index, one in enumerate(workload.processes):
        for name, value in (("per-hour", one.per_hour), ("lifetime", one.lifetime), ("size", float(one.size))):
            if not 0 < value < float("inf"):
                _refuse(f"workload.processes[{index}].{name}", f"{value:g} is not more than 0")
        stop = workload.seconds if one.stop is None else one.stop
        if not 0 <= one.start <= stop <= workload.seconds:
            reason = f"{one.start:g} to {stop:g} is not a time within the workload's {workload.seconds:g} seconds"
            _refuse(f"workload.processes[{index}].start", reason)
        expected += (stop - one.start) / 3600 * one.per_hour
    # Three steps each: it comes, time passes, it goes.
    if expected * 3 > MAX_STEPS:
        reason = f"about {expected:.0f} processes need more than the {MAX_STEPS} steps that can be played: fewer, and larger ones"
        _refuse("workload.processes", reason)
    for index, wanted in enumerate(workload.wanted):
        if not 0 <= wanted.at <= workload.seconds:
            reason = f"{wanted.at:g} is not a time within the workload's {workload.seconds:g} seconds"
            _refuse(f"workload.wanted[{index}].at", reason)


def _refuse(where: str, reason: str) -> NoReturn:
    raise ScenarioError(reason, where=where)


def _wanted(workload: Workload, trace: Sequence[TracePoint]) -> list[tuple[float, int]]:
    """The wanted sizes over time: the workload's own, or the trace's where it changes."""
    own = [(wanted.at, int(wanted.size)) for wanted in sorted(workload.wanted, key=lambda wanted: wanted.at)]
    changes = [
        (point.seconds, point.wanted)
        for before, point in zip([None, *trace], trace, strict=False)
        if before is None or before.wanted != point.wanted
    ]
    return sorted([*own, *changes])


@dataclass(slots=True)
class _Maker:
    """Makes the events of one workload."""

    workload: Workload
    devices: Sequence[DeviceConfig]
    seed: int
    pageblock: int

    def resizes(self, wanted: Sequence[tuple[float, int]]) -> Iterator[_Event]:
        """Resizes to each wanted size in turn, in steps; a size that is wanted before the last is reached ends its steps."""
        now = {device.id: int(device.requested_size) for device in self.devices}
        total = sum(now.values())
        number = count()
        for (at, goal), until in zip(wanted, [*(at for at, _ in wanted[1:]), float("inf")], strict=True):
            if wanted and not self.devices:
                raise ScenarioError("a wanted size, and there is no device", where="workload.wanted")
            when = at
            while total != goal and when < until:
                total = self._towards(total, goal)
                shares = self._shares(total)
                if changed := {name: size for name, size in shares.items() if size != now[name]}:
                    made = tuple(Resize(device=name, requested_size=Size(size)) for name, size in changed.items())
                    yield _Event(when, _RESIZES, next(number), made)
                now |= shares
                when += self.workload.step_seconds
                if when > self.workload.seconds:
                    break

    def _towards(self, total: int, goal: int) -> int:
        """The next total on the way."""
        step = self.workload.resize_step or abs(goal - total)
        return min(total + step, goal) if goal > total else max(total - step, goal)

    def _shares(self, total: int) -> dict[str, int]:
        """Shares of the devices, in whole blocks of each, which are `total` in all or a little less."""
        left, shares = total, {device.id: 0 for device in self.devices}
        if self.workload.order == "even":
            for device in self.devices:
                shares[device.id] = align_down(min(total // len(self.devices), device.max_size), device.block_size)
            left -= sum(shares.values())
        # What rounding, or a device that is full, has left over: the others take it, in their order.
        for device in reversed(self.devices) if self.workload.order == "last" else self.devices:
            more = align_down(min(left, device.max_size - shares[device.id]), device.block_size)
            shares[device.id] += more
            left -= more
        return shares

    def processes(self, one: Processes) -> Iterator[_Event]:
        """Processes of one kind: each comes, and goes when its time is over."""
        # Of each kind its own: another kind that is added or left out changes nothing for this one.
        chance = random.Random(f"{self.seed} {one.name}")
        at = one.start
        stop = self.workload.seconds if one.stop is None else one.stop
        for number in range(MAX_STEPS):
            at += chance.expovariate(one.per_hour / 3600)
            if at >= stop:
                return
            pageblocks = max(round(chance.expovariate(1 / one.size) / self.pageblock), 1)
            goes = at + chance.expovariate(1 / one.lifetime)
            # Drawn for every kind, used or not: the next process draws the same numbers whatever `left-behind` is.
            stays, seeds = chance.random(), (chance.getrandbits(_SEED_BITS), chance.getrandbits(_SEED_BITS))
            left = int(pageblocks * self.workload.left_behind + stays) if one.kind == "unmovable" else 0
            name = f"{one.name}-{number}"
            parts = {name: pageblocks - left, f"{name}-left": left}
            uses = tuple(
                self._use(part, size, one.kind, seed)
                for (part, size), seed in zip(parts.items(), seeds, strict=True)
                if size
            )
            yield _Event(at, _COMES, number, uses)
            # What outlives the workload needs no step; nor does a process whose memory stays wholly.
            if goes < self.workload.seconds and parts[name]:
                yield _Event(goes, _GOES, number, (Free(id=name),))
        raise ScenarioError(f"{quoted(one.name)}: more than {MAX_STEPS} processes", where="workload.processes")

    def levels(self, trace: Sequence[TracePoint]) -> Iterator[_Event]:
        """Uses and frees of a trace: of each kind as much as it says; the parts that go are drawn."""
        chance = random.Random(f"{self.seed} trace")
        kinds: tuple[UseKind, ...] = ("movable", "unmovable")
        held: dict[UseKind, dict[str, int]] = {kind: {} for kind in kinds}
        number = count()
        for point in trace:
            for kind, level in zip(kinds, (point.movable, point.unmovable), strict=True):
                parts = held[kind]
                goal = -(-level // self.pageblock)
                went: list[Step] = []
                while (surplus := sum(parts.values()) - goal) > 0:
                    # Sorted, so that the draw goes by the names and not by the history of the dictionary.
                    name = chance.choice(sorted(parts))
                    size = parts.pop(name)
                    went.append(Free(id=name))
                    if size > surplus:  # a part of it goes: the rest is taken again
                        break
                if went:
                    yield _Event(point.seconds, _GOES, next(number), tuple(went))
                if (missing := goal - sum(parts.values())) > 0:
                    name = f"{kind}-{next(number)}"
                    parts[name] = missing
                    made = self._use(name, missing, kind, chance.getrandbits(_SEED_BITS))
                    yield _Event(point.seconds, _COMES, next(number), (made,))

    def _use(self, name: str, pageblocks: int, kind: UseKind, seed: int) -> Use:
        size = Size(pageblocks * self.pageblock)
        return Use(id=name, size=size, kind=kind, seed=seed, scatter=self.workload.scatter)
