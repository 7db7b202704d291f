"""Why a device is not at its requested size: what is known, what is likely, what nobody outside can know, what would help.

Only what was read is sold as a fact. What Linux does in general is said as such.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct

from virtiomem.driver import retry
from virtiomem.driver.parameters import DEFAULTS
from virtiomem.driver.sizes import Units, choose_units, offline_threshold
from virtiomem.units import SECTION_SIZE, Span, align_down, align_up, format_approx, format_size
from virtiomem.vm.base import Device, Driver, Machine, Surroundings
from virtiomem.vm.inside import Block, Inside, Seen

MEMMAP_RATIO = 64
"""Bytes of memory that one byte of struct page describes: 4096 / 64."""


class Certainty(StrEnum):
    """How a finding is known."""

    FACT = "fact"
    """Read from the hypervisor or the guest."""
    LIKELY = "likely"
    """Inferred: it fits, and other reasons may too."""
    UNKNOWN = "unknown"
    """Nobody here can see it."""
    ADVICE = "advice"
    """What would help."""


class Finding(Struct, frozen=True, rename="kebab"):
    """One sentence about a device, or about the whole machine when `device` is None."""

    certainty: Certainty
    text: str
    device: str | None = None


def fact(text: str, device: str | None = None) -> Finding:
    """Something that was read."""
    return Finding(Certainty.FACT, text, device)


def likely(text: str, device: str | None = None) -> Finding:
    """Something that fits."""
    return Finding(Certainty.LIKELY, text, device)


def unknown(text: str, device: str | None = None) -> Finding:
    """Something nobody here can see."""
    return Finding(Certainty.UNKNOWN, text, device)


def not_looked(*, asked: bool) -> Finding:
    """That the guest was not looked into; `asked`: it has an agent, which did not tell."""
    cure = "its agent did not tell; run lsmem in the guest" if asked else "give --agent, or run lsmem in the guest"
    return unknown(f"whether the guest has it online: not looked inside: {cure}")


def advice(text: str, device: str | None = None) -> Finding:
    """Something that would help."""
    return Finding(Certainty.ADVICE, text, device)


def explain(
    machine: Machine,
    surroundings: Surroundings,
    inside: Inside | None,
    *,
    devices: Iterable[Device] | None = None,
    retry_in: float | None = None,
    exact: bool = False,
    again: bool = True,
    asked: bool = False,
) -> tuple[Finding, ...]:
    """Every finding about `devices` (all of the machine's when None), facts about the machine first.

    `retry_in` is when the driver tries again, in seconds; `exact` says that it is so and not just at the latest. Without
    `again` nothing is said of that: the request does not stand any more. `asked`: an agent is given and did not answer.
    """
    chosen = tuple(machine.virtio_mem if devices is None else devices)
    found = list(_about_machine(machine, surroundings, unsettled=any(not device.settled for device in chosen)))
    for device in chosen:
        found += _about_device(device, surroundings, inside, asked=asked)
    if (inside is None or not inside.blocks) and any(device.settled and device.size for device in chosen):
        found.append(not_looked(asked=asked or inside is not None))
    found += [_known(reason) for reason in surroundings.reasons]
    if inside is not None:
        found += [unknown(f"the guest did not tell {what}") for what in inside.unreadable]
    if again and any(_shrinking(device) for device in chosen) and _may_retry(machine, surroundings, chosen):
        found += _about_retry(retry_in, exact=exact)
    return tuple(found)


def _known(reason: str) -> Finding:
    """A reason of the backend's own, which begins with the device's id."""
    device, _, text = reason.partition(": ")
    return fact(text, device)


def _about_machine(machine: Machine, surroundings: Surroundings, *, unsettled: bool) -> Iterator[Finding]:
    if not unsettled:
        return
    if not machine.running:
        yield fact(f"the machine is {machine.status}: its CPUs do not run, so its driver cannot act")
    if surroundings.migration is not None:
        yield fact(
            f"a migration is {surroundings.migration}: the device answers every request with BUSY until it ends; "
            "the driver then tries again"
        )
    if surroundings.vfio:
        names = ", ".join(surroundings.vfio)
        yield fact(
            f"passed-through devices ({names}) pin what is plugged: plugging is slower and may be refused (BUSY)"
        )


def _about_device(
    device: Device, surroundings: Surroundings, inside: Inside | None, *, asked: bool
) -> Iterator[Finding]:
    blocks = inside.blocks_in(device.span) if inside is not None else ()
    offline = [block for block in blocks if not block.online]
    if device.settled:
        yield from _settled(device, inside, offline)
        return
    lack = abs(device.requested_size - device.size)
    verb = "give up" if _shrinking(device) else "get"
    yield fact(
        f"{format_size(device.size)} plugged, {format_size(device.requested_size)} requested: "
        f"it has {format_size(lack)} still to {verb}",
        device.id,
    )
    driver = surroundings.drivers.get(device.id, Driver.UNKNOWN)
    if driver in {Driver.ABSENT, Driver.BROKEN}:
        yield from _no_driver(device, driver)
        return
    if driver is Driver.UNKNOWN:
        yield from _unknown_driver(device, surroundings, asked=asked)
    if lack < (unit := _units(device, inside).plugged):
        yield likely(f"the rest is less than the {format_size(unit)} that the driver moves at a time", device.id)
    elif _shrinking(device):
        yield from _short_shrink(device, inside, blocks, asked=asked)
    else:
        yield from _short_growth(device, inside, offline, asked=asked)


def _settled(device: Device, inside: Inside | None, offline: list[Block]) -> Iterator[Finding]:
    """A device that has what was asked for; whether the guest has it, only a look inside tells."""
    seen = Seen.NOT_LOOKED if inside is None else inside.seen(device.span, device.size)
    if inside is not None and offline:
        yield from _offline_blocks(device, inside, offline)
    elif inside is not None and seen is Seen.OFFLINE:
        added = format_size(len(inside.blocks_in(device.span)) * (inside.block_size or 0))
        yield fact(f"{format_size(device.size)} plugged, but Linux has memory blocks for {added} of it only", device.id)
        yield advice("load virtio_mem in the guest, or reboot it: no driver has added the rest", device.id)
    elif seen is Seen.ONLINE or not device.size:
        yield fact(f"size and requested-size are {format_size(device.size)}: nothing is missing", device.id)
    else:
        yield fact(f"the device has plugged {format_size(device.size)}, all that is requested", device.id)


def _no_driver(device: Device, driver: Driver) -> Iterator[Finding]:
    if driver is Driver.BROKEN:
        yield fact("the device waits to be reset: its driver broke the protocol", device.id)
        yield advice("reload the driver or reboot the guest", device.id)
        return
    yield fact("no driver: nobody in the guest has set DRIVER_OK since it was last reset", device.id)
    yield advice("load virtio_mem in the guest (modprobe virtio_mem), or wait for it to boot", device.id)


def _unknown_driver(device: Device, surroundings: Surroundings, *, asked: bool) -> Iterator[Finding]:
    """What a plugged size says of the driver, and how to find out where it says nothing."""
    if device.size:
        yield likely("its driver is there: memory is plugged, and a reset of the machine unplugs it all", device.id)
        return
    why = surroundings.held_back or "no stable command of the hypervisor tells it"
    yield unknown(f"whether a driver is there: {why}", device.id)
    more = "" if asked else "give --agent, or "
    yield advice(f"{more}look in the guest: ls /sys/bus/virtio/drivers/virtio_mem shows the devices it has", device.id)


def _short_growth(device: Device, inside: Inside | None, offline: list[Block], *, asked: bool) -> Iterator[Finding]:
    """Reasons for too little: offline memory, a region that is no whole number of blocks, no room for the memmap."""
    if inside is not None and offline:
        yield from _offline_blocks(device, inside, offline)
    elif device.size and not device.size % (threshold := offline_threshold(device.block_size)):
        yield likely(
            f"it stopped at {format_size(device.size)}: Linux adds {format_size(threshold)} and then waits "
            "until somebody onlines it, when new memory is left offline (memhp_default_state=offline)",
            device.id,
        )
        more = "" if asked else "; or give --agent"
        yield advice(f"look inside: /sys/devices/system/memory/auto_online_blocks, lsmem{more}", device.id)
    if inside is None:
        return
    if inside.block_size and (usable := _whole_blocks(device.span, inside.block_size)) < device.requested_size:
        yield fact(
            f"only {format_size(usable)} of its region are whole memory blocks of {format_size(inside.block_size)}",
            device.id,
        )
    need = (device.requested_size - device.size) // MEMMAP_RATIO
    if inside.mem_free is not None and inside.mem_free < need:
        yield fact(
            f"the rest needs {format_approx(need)} for its struct pages, and {format_approx(inside.mem_free)} are free",
            device.id,
        )


def _offline_blocks(device: Device, inside: Inside, offline: list[Block]) -> Iterator[Finding]:
    size = inside.block_size or 0
    yield fact(
        f"{len(offline)} of its memory blocks ({format_size(len(offline) * size)}) are in Linux but offline", device.id
    )
    units = _units(device, inside)
    if not device.settled and not units.could_add(len(offline) * size):
        limit = format_size(units.offline_threshold)
        text = f"Linux adds no more until some are online: at most {limit} of a device's memory stays offline"
        yield likely(text, device.id) if inside.driver is None else fact(text, device.id)
    boot = ""
    if inside.auto_online_blocks == "offline":
        yield fact("auto_online_blocks is offline: somebody in the guest must online every new block", device.id)
        boot = ", and boot with memhp_default_state=online_movable"
    elif inside.auto_online_blocks is not None:
        yield fact(f"auto_online_blocks is {inside.auto_online_blocks}, which holds for blocks yet to come", device.id)
    yield advice(f"online them (chmem -e, or echo online_movable > …/memoryN/state){boot}", device.id)


def _short_shrink(
    device: Device, inside: Inside | None, blocks: tuple[Block, ...], *, asked: bool
) -> Iterator[Finding]:
    """Reasons for too much: kernel zones, nowhere to move to, pages that cannot move."""
    if inside is None:
        more = "its agent did not answer; --capture reads its files" if asked else "give --agent or --capture"
        yield unknown(f"which memory cannot be freed, and why: only the guest knows ({more})", device.id)
        yield advice("memory can be relied on to be unplugged only in zone Movable (online_movable)", device.id)
        return
    zones = Counter(block.zone for block in blocks if block.online and block.zone is not None)
    kernel = sum(count for zone, count in zones.items() if zone != "Movable")
    if kernel:
        where = ", ".join(f"{count} in {zone}" for zone, count in sorted(zones.items()))
        yield fact(
            f"its memory blocks are online: {where}; outside Movable, kernel pages may pin them for ever", device.id
        )
        yield advice("online this memory as online_movable next time; a reboot frees what is pinned now", device.id)
    rest = device.size - device.requested_size
    if inside.mem_available is not None and inside.mem_available < rest:
        yield fact(
            f"{format_approx(rest)} are still to be freed, and MemAvailable is {format_approx(inside.mem_available)}: "
            "what is in use has nowhere to go",
            device.id,
        )
        yield advice("free memory in the guest, or ask for less", device.id)
    elif zones and not kernel:
        yield likely(
            "pages in Movable that cannot move right now: pinned for I/O, or hugepages without a target", device.id
        )


def _about_retry(retry_in: float | None, *, exact: bool) -> Iterator[Finding]:
    general = f"Linux tries again after {retry.FIRST:.0f} s, doubling to {retry.LAST:.0f} s, for ever"
    if retry_in is None:
        yield fact(general)
    else:
        when = f"the next try is due in {retry_in:.0f} s" if exact else f"the next try comes within {retry_in:.0f} s"
        yield likely(f"{when} ({general})")
    yield advice("the same resize once more makes the driver try at once")


def _may_retry(machine: Machine, surroundings: Surroundings, devices: Iterable[Device]) -> bool:
    present = {Driver.READY, Driver.UNKNOWN}
    return machine.running and any(surroundings.drivers.get(d.id, Driver.UNKNOWN) in present for d in devices)


def _units(device: Device, inside: Inside | None) -> Units:
    """What the driver moves at a time; the least that it can be where the guest does not tell."""
    if inside is None:
        return choose_units(device.block_size, SECTION_SIZE)
    return choose_units(device.block_size, inside.block_size or SECTION_SIZE, inside.driver or DEFAULTS)


def _shrinking(device: Device) -> bool:
    return device.size > device.requested_size


def _whole_blocks(span: Span, block: int) -> int:
    """Bytes of a region that are whole memory blocks: all that Linux can use."""
    return max(align_down(span.stop, block) - align_up(span.start, block), 0)
