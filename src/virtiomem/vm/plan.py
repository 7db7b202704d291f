"""Spread a wished size over a machine's devices: pure arithmetic, the same answer every time.

A total that is requested already stays spread as it is, unless a rule is named; else a plan depends on the wish and the
devices' limits alone. So repeating a command changes nothing, even where a stuck device's share went to another.

**How a total is spread** (`distribute`). Shares must add up to exactly the target, be multiples of each device's block
size and keep within its bounds. A fair spread is the goal, an exact one the duty:

1. *Water level* (`_levelled`). Every device is a vessel as wide as its weight, with a floor and a rim (its bounds). Water
   stands equally high in all. The highest whole level that does not need more than the target is found by bisection, for what
   a level needs never falls as it rises; no fractions are involved, so every machine gets the same answer.
2. *Round down* to whole blocks, in order. Each device then lacks less than one of its blocks of its ideal share.
3. *Fill twice*, biggest blocks first. The first time each device gets one block at most: that is what rounding took, and
   without the limit the first device would get all of it. The second time gives out what is then left.
4. *Start over from the lower bounds* if the sum is not exact, and fill the biggest blocks first without regard to fairness.
   Block sizes are powers of two, so each divides the next bigger one. Where a solution exists that leaves out a big block
   for which there is room, its smaller blocks include some that add up to exactly that one, and can be exchanged
   for it. So taking the biggest first misses no solution, and where this finds none no solution exists.

`pack` has every device's rim for its ideal share, so that step 2 fills one device after the other.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from virtiomem.errors import UsageError, VirtiomemError
from virtiomem.text import quoted
from virtiomem.units import align_down, align_up, format_size, format_with_hex, parse_size
from virtiomem.vm.model import Machine, VirtioMemDevice

_NODE = re.compile(r"node=(\d{1,5})")


class Scope(StrEnum):
    """The quantity that a wished size refers to."""

    DEVICE = "device"
    PLUGGED = "plugged"
    """All virtio-mem memory of the machine."""
    TOTAL = "total"
    """The whole machine: boot memory, DIMMs and virtio-mem memory."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A size as a person wrote it: ``2G``, ``+512M``, ``-1G``."""

    size: int
    sign: Literal["", "+", "-"] = ""

    @classmethod
    def parse(cls, text: str) -> "Wish":
        """Read it; UsageError names the text."""
        sign: Literal["", "+", "-"] = "+" if text.startswith("+") else "-" if text.startswith("-") else ""
        try:
            return cls(parse_size(text[len(sign) :]), sign)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def of(self, base: int) -> int:
        """The size wished for where `base` is what is requested now; negative when too much is to be taken away."""
        return {"": self.size, "+": base + self.size, "-": base - self.size}[self.sign]

    def __str__(self) -> str:
        return f"{self.sign}{format_size(self.size)}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Ways to distribute memory: ``even`` over the devices, ``weighted`` by max-size, ``pack`` device after device,
    or all on the devices of one ``node``.
    """

    rule: Literal["even", "weighted", "pack"] = "even"
    node: int | None = None
    anew: bool = False
    """Also spread a total that is requested already: the user named a rule."""

    @classmethod
    def parse(cls, text: str) -> "Spread":
        """Read ``even``, ``weighted``, ``pack`` or ``node=N``."""
        match = _NODE.fullmatch(text)
        if match:
            return cls("even", int(match[1]))
        if text in {"even", "weighted", "pack"}:
            return cls(text, anew=True)  # type: ignore[arg-type]
        raise UsageError(f"--spread {quoted(text)} is not even, weighted, pack or node=N")

    def __str__(self) -> str:
        return self.rule if self.node is None else f"node={self.node}"


@dataclass(frozen=True, slots=True)
class DeviceTarget:
    """New requested size of one device, and the present one."""

    device: VirtioMemDevice
    after: int

    @property
    def before(self) -> int:
        """The requested-size when the plan was made."""
        return self.device.requested_size


@dataclass(frozen=True, slots=True)
class Plan:
    """New requested sizes of all concerned devices, in the machine's order; `total` is their sum."""

    changes: tuple[DeviceTarget, ...]

    @property
    def total(self) -> int:
        """Bytes over all concerned devices."""
        return sum(change.after for change in self.changes)

    @property
    def growth(self) -> int:
        """Bytes by which plugged memory is to grow; negative when it shrinks."""
        return sum(change.after - change.device.assumed_size for change in self.changes)


class PlanError(VirtiomemError):
    """A wish that the devices cannot hold; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which sizes a device may be planned, in bytes."""

    low: int
    high: int


def plan_device(device: VirtioMemDevice, wish: Wish, *, round_up: bool = False) -> Plan:
    """The plan for one device; PlanError says what is wrong with the wish in plain words."""
    target = wish.of(device.requested_size)
    if target < 0:
        raise PlanError(f"{device.id}: {wish} of {format_size(device.requested_size)} requested is below nothing")
    if target % device.block_size:
        if not round_up:
            raise PlanError(
                f"{device.id}: {format_with_hex(target)} is not a multiple of its block size {format_size(device.block_size)}"
                f" (--round makes it {format_size(align_up(target, device.block_size))})"
            )
        target = align_up(target, device.block_size)
    if target > device.max_size:
        raise PlanError(
            f"{device.id}: {format_with_hex(target)} is above its max size {format_size(device.max_size)}"
            " (--total counts boot memory and other devices, too)"
        )
    return Plan((DeviceTarget(device, target),))


def plan_machine(machine: Machine, scope: Scope, wish: Wish, spread: Spread, *, round_up: bool = False) -> Plan:
    """The plan for all virtio-mem devices of a machine; PlanError says what is wrong in plain words."""
    concerned = [d for d in machine.virtio_mem if spread.node is None or d.node == spread.node]
    if not concerned:
        raise PlanError("it has no virtio-mem device" + ("" if spread.node is None else f" on node {spread.node}"))
    fixed = machine.fixed if scope is Scope.TOTAL else 0
    # With --spread node=N the total still counts what other nodes hold.
    others = sum(_kept_by(d, wish) for d in machine.virtio_mem if d not in concerned)
    target = wish.of(fixed + machine.requested) - fixed - others
    what = f"{wish} in all" if scope is Scope.TOTAL else f"{wish} of virtio-mem memory"
    if target < 0:
        raise PlanError(f"{what} is {format_with_hex(-target)} below what it keeps ({_kept(fixed, others, spread)})")
    # A device whose size is not a multiple of its block cannot plug the rest.
    room = sum(align_down(d.max_size, d.block_size) for d in concerned)
    if target > room:
        beside = f" next to {_kept(fixed, others, spread)}" if fixed or others else ""
        raise PlanError(
            f"{what} is {format_with_hex(target - room)} above what its devices can hold ({format_with_hex(room)}){beside}"
        )
    # Not spread again, else repeating a command would give a stuck device back what another has taken over.
    if not spread.anew and sum(d.requested_size for d in concerned) == target:
        return Plan(_changes(concerned, {d.id: d.requested_size for d in concerned}))
    return Plan(_changes(concerned, _fitted(concerned, target, spread, what, round_up=round_up)))


def replan(machine: Machine, plan: Plan, stuck: Mapping[str, int], spread: Spread) -> Plan | None:
    """A plan of the same total in which every stuck device stays at the size given for it.

    What a stuck device lacks goes to the others, what it could not give up is taken from them. Where they have too
    little for that they take as much as they can; the remainder stays with the stuck devices. None when that changes nothing.
    """
    planned = {change.device.id: change.after for change in plan.changes}
    concerned = [device for device in machine.virtio_mem if device.id in planned]
    bounds = {device.id: _room(device) for device in concerned}
    kept = {device: Bounds(size, size) for device, size in stuck.items()}
    # An exact split first. Without one all the others go to their limit, and the stuck devices keep the remainder
    # requested.
    shares = distribute(concerned, plan.total, spread, bounds | kept)
    if shares is None:
        short = sum(stuck.values()) < plan.total
        free = {device: room.high if short else 0 for device, room in bounds.items() if device not in stuck}
        # The others are at their limit already: another split would only move the remainder between stuck devices.
        if all(planned[device] == size for device, size in free.items()):
            return None
        limits = {device: Bounds(size, size) for device, size in free.items()}
        limits |= {
            device: Bounds(size, bounds[device].high) if short else Bounds(0, size) for device, size in stuck.items()
        }
        shares = distribute(concerned, plan.total, spread, limits)
    return None if shares is None or shares == planned else Plan(_changes(concerned, shares))


def held_back(machine: Machine, plan: Plan) -> Plan:
    """The part of a plan that may be set now: devices grow by no more than its total leaves next to what is plugged.

    It is the whole plan where nothing shrinks; else what is held back may follow once others have given up as much.
    """
    devices = {device.id: device for device in machine.virtio_mem}
    # The devices as they are now: since the plan was made some may have shrunk, and that makes room.
    changes = [DeviceTarget(devices.get(change.device.id, change.device), change.after) for change in plan.changes]
    left = plan.total - sum(change.device.assumed_size for change in changes)
    for place, change in enumerate(changes):
        growth = change.after - change.device.assumed_size
        if growth > 0:
            # Never below 0: what is plugged may exceed the total for now, and a device that grows must not be shrunk
            # for it.
            given = min(growth, max(align_down(left, change.device.block_size), 0))
            changes[place] = DeviceTarget(change.device, change.device.assumed_size + given)
            left -= given
    return Plan(tuple(changes))


def limited(plan: Plan, growth: int) -> Plan:
    """A plan whose devices grow by no more than that many bytes in all, the first of them first."""
    changes: list[DeviceTarget] = []
    for change in plan.changes:
        size = change.device.assumed_size
        # A shrink is never held back by it: memory that goes costs no struct pages.
        given = min(change.after - size, align_down(growth, change.device.block_size))
        changes.append(DeviceTarget(change.device, size + given) if change.after > size else change)
        # A device that shrinks gives nothing to the others: what it frees is not free before it has shrunk.
        growth -= max(given, 0)
    return Plan(tuple(changes))


def distribute(
    devices: Sequence[VirtioMemDevice], target: int, spread: Spread, bounds: Mapping[str, Bounds]
) -> dict[str, int] | None:
    """Shares of exactly `target` bytes, each a multiple of its block size within its bounds; None when no such shares exist.

    Bounds must be multiples of the block size.
    """
    lows = {device.id: bounds[device.id].low for device in devices}
    if spread.rule == "pack":
        wanted = {device.id: bounds[device.id].high for device in devices}
    else:
        wanted = _levelled(devices, target, spread, bounds)
    shares = dict(lows)
    for device in devices:
        room = max(target - sum(shares.values()), 0)
        # Rounded down by what is left, too: the last device may get less than its level.
        share = min(align_down(wanted[device.id], device.block_size) - shares[device.id], room)
        shares[device.id] += max(align_down(share, device.block_size), 0)
    _fill(devices, target, shares, bounds, at_most_one_block=True)
    _fill(devices, target, shares, bounds)
    if sum(shares.values()) != target:
        # No fair split is exact. From the lower bounds on, largest blocks first, a split is found wherever there is one.
        shares = lows
        _fill(devices, target, shares, bounds)
    return shares if sum(shares.values()) == target else None


def _levelled(
    devices: Sequence[VirtioMemDevice], target: int, spread: Spread, bounds: Mapping[str, Bounds]
) -> dict[str, int]:
    """Ideal shares in bytes: each its weight's part of the target, clamped to its bounds, the clamped part spread again."""
    weight = {d.id: max(d.max_size, 1) if spread.rule == "weighted" else 1 for d in devices}

    def at(level: int) -> dict[str, int]:
        return {d.id: min(max(level * weight[d.id] // scale, bounds[d.id].low), bounds[d.id].high) for d in devices}

    # Levels count bytes of the heaviest device, whose step is one byte; a lighter one moves by less, rounded down.
    scale = max(weight.values())
    # At this level even the lightest vessel is full, so the answer lies below it.
    low, high = 0, (max(bounds[d.id].high for d in devices) + 1) * scale
    while low < high:  # the highest water level that does not need more than there is
        middle = (low + high + 1) // 2
        if sum(at(middle).values()) <= target:
            low = middle
        else:
            high = middle - 1
    return at(low)


def _fill(
    devices: Sequence[VirtioMemDevice],
    target: int,
    shares: dict[str, int],
    bounds: Mapping[str, Bounds],
    *,
    at_most_one_block: bool = False,
) -> None:
    """Give out what `target` has above `shares`, biggest blocks first; they are powers of two, so this finds a way."""
    for device in sorted(devices, key=lambda device: -device.block_size):
        left = min(target - sum(shares.values()), bounds[device.id].high - shares[device.id])
        room = align_down(left, device.block_size)
        if room > 0:
            shares[device.id] += device.block_size if at_most_one_block else room


def _fitted(
    devices: Sequence[VirtioMemDevice], target: int, spread: Spread, what: str, *, round_up: bool
) -> dict[str, int]:
    """Shares of `target`, or of the next larger reachable size when it may be rounded."""
    bounds = {device.id: _room(device) for device in devices}
    shares = distribute(devices, target, spread, bounds)
    # The smallest block first, which rounds up least.
    for block in sorted({d.block_size for d in devices}) if shares is None and round_up else ():
        shares = shares or distribute(devices, align_up(target, block), spread, bounds)
    if shares is None:
        blocks = ", ".join(sorted({format_size(d.block_size) for d in devices}))
        hint = "" if round_up else " (--round takes the next size that can)"
        raise PlanError(
            f"{what} leaves {format_with_hex(target)} for devices with blocks of {blocks}: not a multiple{hint}"
        )
    return shares


def _room(device: VirtioMemDevice) -> Bounds:
    return Bounds(0, align_down(device.max_size, device.block_size))


def _changes(devices: Sequence[VirtioMemDevice], shares: Mapping[str, int]) -> tuple[DeviceTarget, ...]:
    return tuple(DeviceTarget(device, shares[device.id]) for device in devices)


def _kept_by(device: VirtioMemDevice, wish: Wish) -> int:
    """Return the part of an absolute total that a device outside the plan holds, including what it should give up but
    still has.
    """
    # For +1G it is requests that are added up, as `wish.of` does; a total counts memory that is still there.
    return device.requested_size if wish.sign else max(device.assumed_size, device.requested_size)


def _kept(fixed: int, others: int, spread: Spread) -> str:
    parts = [f"{format_size(fixed)} boot memory and DIMMs"] if fixed else []
    parts += [f"{format_size(others)} on other nodes than {spread.node}"] if others else []
    return ", ".join(parts) or "nothing"
