"""Derive a set-up from wishes: sizes, policy and limits, each as Linux and QEMU have it.

Which zones memory goes to, and whether its struct pages fit, is not calculated but played: the embedded guest grows to the
maximum under one policy after the other, the simplest first, until one of them keeps as much in zone Movable as has to be
given back. What is outside Movable may come back, too, but cannot be counted on.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from typing import Literal

from msgspec.structs import replace

from virtiomem.abi import AUTO_MOVABLE_RATIO, ZoneType
from virtiomem.errors import UsageError
from virtiomem.guest.base import DeviceConfig, GuestConfig, NodeConfig
from virtiomem.guest.machine import MAX_DEVICES, MachineLayout
from virtiomem.kdump.room import ranges_that_fit
from virtiomem.memory.core import probe_memory_block_size
from virtiomem.memory.vmemmap import free_after_boot, memmap_size
from virtiomem.planning.address_space import highest_address, largest_maximum
from virtiomem.planning.scenario_text import scenario_text
from virtiomem.planning.wishes import Wishes
from virtiomem.recording.values import Load, Resize, Step, StepRecord, VirtioMemInfo
from virtiomem.scenario import embedded_guest, loads
from virtiomem.scenario.checks import MAX_ADDRESS_BITS, MIN_ADDRESS_BITS, check_guest
from virtiomem.units import GiB, KiB, MiB, Size, Span, align_up, format_size, is_power_of_two

SLOT_SIZE = GiB
"""The least that a slot of a device with dynamic-memslots has (VIRTIO_MEM_MIN_MEMSLOT_SIZE, QEMU 8.2)."""
DYNAMIC_SLOTS = 256
"""How many slots such devices have together at most (MEMORY_DEVICES_SOFT_MEMSLOT_LIMIT, QEMU 8.2)."""
MOST_STEPS = 1000
"""So many steps of growth are played at most."""
SENSIBLE_RATIO = 4
"""So many times the kernel's zones Movable may be (Documentation/admin-guide/mm/memory-hotplug.rst)."""
LEAST_HUGEPAGE = 64 * KiB
"""The smallest hugepage of any host: arm64's, 16 pages of 4K next to each other."""
_BOOT_RANGES = 4
"""Ranges of RAM that a machine boots with, at most."""


class ImpossibleWishError(UsageError):
    """A wish that no set-up can fulfil, with the number that makes it so."""


@dataclass(frozen=True, slots=True)
class Onlining:
    """A way to put added memory online."""

    state: Literal["online", "online_kernel", "online_movable"]
    online_policy: Literal["contig-zones", "auto-movable"] = "contig-zones"
    ratio: int = AUTO_MOVABLE_RATIO

    def of(self, guest: GuestConfig) -> GuestConfig:
        """The guest with this policy."""
        return replace(guest, default_state=self.state, online_policy=self.online_policy, auto_movable_ratio=self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """Everything that a guest is started with, and how far it can go; sizes in bytes."""

    guest: GuestConfig
    devices: list[DeviceConfig]
    steps: list[Step]
    memory_block_size: int
    counts_on: int
    """What a shrink can count on: what is in zone Movable when the guest has all."""
    largest_step: int
    """The most that it can grow at once, right after boot."""
    memmap: int
    """Bytes of struct pages for all that is added."""
    free_after_boot: int
    address_bits: int
    highest_address: int
    dynamic_slots: int
    """KVM's slots that the devices take with dynamic-memslots; without, each takes one."""
    ranges: int
    """Ranges of RAM in a crash header, when every other block is plugged."""
    ranges_that_fit: int | None
    hugepage: int | None = None
    """Of the host; None where ordinary pages back the guest."""
    warnings: tuple[str, ...] = ()


def plan(wishes: Wishes) -> SetUp:
    """Work out a set-up. Raises ImpossibleWishError for what none can do, ScenarioError for what no guest can be."""
    # First, in the words of the options: what `check_guest` refuses is said in those of a scenario.
    _check(wishes)
    base = GuestConfig(
        kernel=wishes.kernel,
        machine=wishes.machine,
        page_size=wishes.page_size,
        memory=Size(wishes.memory),
        max_memory=Size(wishes.maximum + wishes.nodes * GiB),  # each device may have to be aligned
        crashkernel=None if wishes.crashkernel is None else Size(wishes.crashkernel),
    )
    check_guest(base)
    machine, row = MachineLayout.of(base), base.architecture
    # As Linux does: by where boot memory ends, whatever is added later.
    memory_block = probe_memory_block_size(machine.ram[-1].stop, row)
    # QEMU's own choice, and at least a page of the memory backend: less cannot be given back to the host.
    block = max(wishes.hugepage or 0, row.transparent_huge_page)
    growth = wishes.maximum - wishes.memory
    # Whole memory blocks, too: Linux does not add a part of one.
    _check_units(wishes, max(block, memory_block))
    _check_steps(wishes, block)
    top = _top(wishes, machine)
    usual = machine.board.address_bits
    if usual and highest_address(machine, amd=True).bit_length() > usual:
        # Too much for the processor that a scenario has by itself, QEMU's own AMD one, which `usual` bits would name.
        base = replace(base, address_bits=max(wishes.address_bits, usual + 1))
    devices = [
        DeviceConfig(id=f"vm{node}", max_size=Size(growth // wishes.nodes), block_size=Size(block), node=node)
        for node in range(wishes.nodes)
    ]
    base = replace(base, nodes=_nodes(machine, wishes.nodes))
    _check_hugepages(wishes, base)
    policy, counts_on, largest = _best(wishes, base, devices)
    setup = SetUp(
        guest=policy.of(base),
        devices=devices,
        steps=_steps(wishes, devices),
        memory_block_size=memory_block,
        counts_on=counts_on,
        largest_step=largest,
        memmap=memmap_size(growth, row),
        free_after_boot=free_after_boot(base.build, wishes.memory),
        address_bits=top.bit_length(),
        highest_address=top,
        dynamic_slots=sum(min(-(-device.max_size // SLOT_SIZE), DYNAMIC_SLOTS // wishes.nodes) for device in devices),
        ranges=_BOOT_RANGES + -(-growth // memory_block // 2),
        ranges_that_fit=ranges_that_fit(base.release, base.build, architecture=row),
        hugepage=wishes.hugepage,
    )
    return dataclasses.replace(setup, warnings=tuple(_warnings(setup, wishes.step)))


def _warnings(setup: SetUp, step: int | None) -> Iterator[str]:
    """Yield warnings about a set-up; `step` is the one wished for."""
    block, memory_block = setup.devices[0].block_size, setup.memory_block_size
    if step is not None and step % (block * len(setup.devices)):
        yield (
            f"--step {format_size(step)} is not a multiple of {_blocks(block, len(setup.devices))}: each step goes on to the "
            "next whole one, since a request in between is never reached"
        )
    if setup.ranges_that_fit is not None and setup.ranges > setup.ranges_that_fit:
        yield f"a crash header may need {setup.ranges} ranges, and has room for {setup.ranges_that_fit}"
    if block > memory_block:
        yield (
            f"hugepages of {format_size(block)} are larger than a memory block of {format_size(memory_block)}: memory comes "
            f"and goes {format_size(block)} at a time, and one page that does not move holds all of it"
        )
    if setup.guest.auto_movable_ratio > AUTO_MOVABLE_RATIO:
        yield (
            f"the ratio {setup.guest.auto_movable_ratio} is more than Linux' own, {AUTO_MOVABLE_RATIO}: the kernel has less"
        )


def _check_units(wishes: Wishes, unit: int) -> None:
    """Refuse growth that is not a whole number of blocks on each node."""
    growth = wishes.maximum - wishes.memory
    if growth % (unit * wishes.nodes):
        raise ImpossibleWishError(
            f"--max {format_size(wishes.maximum)}: {format_size(growth)} above boot memory is not a multiple of "
            f"{_blocks(unit, wishes.nodes)}"
        )


def _check_steps(wishes: Wishes, block: int) -> None:
    """Refuse steps that plug nothing, and more steps than can be played."""
    if wishes.step is None:
        return
    if wishes.step < block * wishes.nodes:
        raise ImpossibleWishError(f"--step {format_size(wishes.step)} is less than {_blocks(block, wishes.nodes)}")
    growth = wishes.maximum - wishes.memory
    if (steps := -(-growth // wishes.step)) > MOST_STEPS:
        least = align_up(-(-growth // MOST_STEPS), block * wishes.nodes)
        raise ImpossibleWishError(
            f"--step {format_size(wishes.step)} makes {steps} steps up to --max {format_size(wishes.maximum)}, and at most "
            f"{MOST_STEPS} are played: at least {format_size(least)}"
        )


def _blocks(block: int, nodes: int) -> str:
    """The least that all devices take together."""
    if nodes == 1:
        return f"a block of {format_size(block)}"
    return f"{format_size(block * nodes)}, a block of {format_size(block)} for each of {nodes} nodes"


def _check_hugepages(wishes: Wishes, guest: GuestConfig) -> None:
    """Refuse boot memory that is not a whole number of the host's hugepages on each node."""
    for size in [sum(span.size for span in node.spans) for node in guest.nodes] or [wishes.memory]:
        if wishes.hugepage is not None and size % wishes.hugepage:
            where = f": {format_size(size)} of it on a node" if guest.nodes else ""
            raise ImpossibleWishError(
                f"--memory {format_size(wishes.memory)}{where} is not a multiple of --hugepage {format_size(wishes.hugepage)}"
            )


def _top(wishes: Wishes, machine: MachineLayout) -> int:
    """The machine's last address, where the CPU reaches it."""
    amd = wishes.vendor == "amd"
    top = highest_address(machine, amd=amd)
    if top.bit_length() > wishes.address_bits:
        most = largest_maximum(machine, wishes.address_bits, amd=amd) - wishes.nodes * GiB
        raise ImpossibleWishError(
            f"--max {format_size(wishes.maximum)}: the machine would reach {top:#x}, which takes {top.bit_length()} address "
            f"bits, and the CPU has {wishes.address_bits}: at most {format_size(max(most, 0))}"
        )
    return top


def _check(wishes: Wishes) -> None:
    """Refuse wishes that contradict each other."""
    growth = wishes.maximum - wishes.memory
    if wishes.memory < MiB:
        meant = f" (a bare number is bytes: write {wishes.memory}G)" if wishes.memory < KiB else ""
        raise ImpossibleWishError(f"--memory {format_size(wishes.memory)} is less than any guest boots with{meant}")
    if growth <= 0:
        raise ImpossibleWishError(
            f"--max {format_size(wishes.maximum)} leaves nothing to grow above --memory {format_size(wishes.memory)}"
        )
    if wishes.shrink > growth:
        raise ImpossibleWishError(
            f"--shrink {format_size(wishes.shrink)} is more than is added, {format_size(growth)}: boot memory stays"
        )
    if not 1 <= wishes.nodes <= MAX_DEVICES:
        raise ImpossibleWishError(f"--nodes {wishes.nodes} is not in 1..{MAX_DEVICES}: each has a device of its own")
    if wishes.hugepage is not None and not is_power_of_two(wishes.hugepage):
        raise ImpossibleWishError(f"--hugepage {format_size(wishes.hugepage)} is not a power of two")
    if wishes.hugepage is not None and wishes.hugepage < LEAST_HUGEPAGE:
        least = format_size(LEAST_HUGEPAGE)
        raise ImpossibleWishError(
            f"--hugepage {format_size(wishes.hugepage)}: no host has hugepages of less than {least}"
        )
    if not MIN_ADDRESS_BITS <= wishes.address_bits <= MAX_ADDRESS_BITS:
        raise ImpossibleWishError(
            f"--address-bits {wishes.address_bits} is not in {MIN_ADDRESS_BITS}..{MAX_ADDRESS_BITS}"
        )


def _policies(wishes: Wishes) -> Iterator[Onlining]:
    """Ways to put memory online, the simplest first, if they are sensible."""
    if not wishes.shrink:
        # What need not come back serves best where the kernel may use it, too.
        yield Onlining("online_kernel")
    # It puts all that is added into Movable, and the kernel's own data cannot go there.
    if wishes.maximum - wishes.memory <= SENSIBLE_RATIO * wishes.memory:
        yield Onlining("online_movable")
    # One percent above four to one, as Linux' default is one above three to one.
    for ratio in (AUTO_MOVABLE_RATIO, SENSIBLE_RATIO * 100 + 1):
        yield Onlining("online", "auto-movable", ratio)


def _best(wishes: Wishes, base: GuestConfig, devices: list[DeviceConfig]) -> tuple[Onlining, int, int]:
    """The first policy that does what is wished: with it, what a shrink can count on and the largest step."""
    most, reached = 0, 0
    growth = wishes.maximum - wishes.memory
    for policy in _policies(wishes):
        guest = policy.of(base)
        record = after_steps(guest, devices, _steps(wishes, devices, shrink=False))
        size = plugged(record)
        # For the message: of several policies that all fail, the nearest.
        reached = max(reached, size)
        if size < growth:
            continue
        movable = in_movable(record, guest)
        most = max(most, movable)
        if movable >= wishes.shrink:
            at_once = (
                record
                if wishes.step is None
                else after_steps(guest, devices, _steps(wishes, devices, shrink=False, at_once=True))
            )
            return policy, movable, plugged(at_once)
    if reached < growth:
        raise ImpossibleWishError(
            f"--max {format_size(wishes.maximum)}: struct pages for {format_size(growth)} more are "
            f"{format_size(memmap_size(growth, base.architecture))}, and growth stops at {format_size(reached)}: boot with more "
            f"memory than {format_size(wishes.memory)}, or grow in smaller steps"
        )
    raise ImpossibleWishError(
        f"--shrink {format_size(wishes.shrink)}: at most {format_size(most)} of {format_size(wishes.maximum)} can be kept in "
        f"zone Movable, {SENSIBLE_RATIO} times what the kernel has: shrink by less, or boot with more memory than "
        f"{format_size(wishes.memory)} (with memhp_default_state=online_movable all of it is kept there, and the kernel may run short)"
    )


def after_steps(guest: GuestConfig, devices: list[DeviceConfig], steps: list[Step]) -> StepRecord:
    """The last of steps on the embedded guest; the others are not recorded, which costs more than to play them."""
    played = loads(scenario_text(guest, devices, steps), source="plan")
    with closing(embedded_guest(played)) as player:
        for step in played.steps[:-1]:
            player.act(step)
        return player.play(played.steps[-1])


def plugged(record: StepRecord) -> int:
    """Sum the plugged sizes of all virtio-mem devices."""
    return sum(device.size for device in record.snapshot.devices if isinstance(device, VirtioMemInfo))


def in_movable(record: StepRecord, guest: GuestConfig) -> int:
    """Bytes of zone Movable, on all nodes."""
    zones = (node.get(ZoneType.MOVABLE) for node in record.snapshot.zones.values())
    return sum(zone.managed for zone in zones if zone is not None) * guest.architecture.page_size


def _steps(wishes: Wishes, devices: list[DeviceConfig], *, shrink: bool = True, at_once: bool = False) -> list[Step]:
    """Load the driver, grow to the maximum, and give back what has to come back."""
    growth, count = wishes.maximum - wishes.memory, len(devices)
    step = growth if at_once or wishes.step is None else wishes.step
    unit = devices[0].block_size * count
    # A request between two blocks is never reached.
    totals = [min(align_up(total, unit), growth) for total in accumulate(repeat(step, -(-growth // step)))]
    if shrink and wishes.shrink:
        # Rounded down, so that at least what was wished comes back.
        totals.append((growth - wishes.shrink) // unit * unit)
    resizes = (Resize(device=device.id, requested_size=Size(total // count)) for total in totals for device in devices)
    return list(chain([Load()], resizes))


def _nodes(machine: MachineLayout, count: int) -> list[NodeConfig]:
    """Boot memory in that many nodes, alike except the last; none for one."""
    if count == 1:
        return []
    # Whole gigabytes where there are any: a node that ends within a memory block shares it with the next.
    share = machine.memory // count // GiB * GiB or machine.memory // count // MiB * MiB
    ranges: list[list[Span]] = [[] for _ in range(count)]
    node, left = 0, share
    for ram in machine.ram:
        start = ram.start
        while start < ram.stop:
            size = ram.stop - start if node == count - 1 else min(left, ram.stop - start)
            ranges[node].append(Span.sized(start, size))
            start, left = start + size, left - size
            if not left and node < count - 1:
                node, left = node + 1, share
    return [
        NodeConfig(id=number, memory=[f"{span.start:#x}-{span.stop - 1:#x}" for span in spans])
        for number, spans in enumerate(ranges)
    ]
