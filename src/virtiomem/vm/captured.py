"""Explain from a capture alone why requested memory is missing or does not go, for users who cannot reach the monitor.

Each device gets its chain (requested, plugged, added, online, in which zones), then what holds memory where the chain ends.
Virtio-mem, DAX (kmem, CXL) and any other memory that Linux has blocks of are explained alike.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from virtiomem.abi import OnlineType
from virtiomem.driver import messages
from virtiomem.live.capture import Capture
from virtiomem.live.captured_devices import CapturedDevice, devices_of, map_of
from virtiomem.live.views import memory_of
from virtiomem.reasons import Certainty, Reason, ReasonKind, with_advice
from virtiomem.resource.names import DRIVER_RAM, SYSTEM_RAM, is_virtio_device
from virtiomem.units import MiB, Span
from virtiomem.vm.doors.guest_files import of_capture
from virtiomem.vm.explain import explain
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.held_pages import about_pages
from virtiomem.vm.inside import Block, GuestMemoryInfo
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice

_DEVICES = "sys/bus/virtio/devices"
_ENABLED = 0b1001
"""Of an ACPI device's status: present, and working."""
# A capture comes from any machine, by anyone: no field may match without end.
_DIMM = re.compile(
    r"(?P<name>PNP0C80:[0-9a-f]{2,8}) status=(?P<status>[0-9]{1,9}|-) blocks=(?P<blocks>-|(?:[0-9]{1,9},){0,20000}[0-9]{1,9})"
)
_DAX = re.compile(
    r"(?P<name>dax[0-9.]{1,20}) driver=(?P<driver>\S{1,40}) resource=\S+ size=(?P<size>[0-9]{1,20}) target_node=\S+"
)
_UNALIGNED = re.compile(
    r"Block size \[0x(?P<block>[0-9a-f]{1,16})\] unaligned hotplug range: start 0x(?P<start>[0-9a-f]{1,16}),"
    r" size 0x(?P<size>[0-9a-f]{1,16})"
)
_OF_HYPERVISOR = {ReasonKind.NOT_SETTLED, ReasonKind.ALL_PLUGGED, ReasonKind.NOTHING_MISSING, ReasonKind.PLACE_UNKNOWN}
"""Reasons that are left out: the chain shows them better, or a capture cannot tell."""


def explain_capture(capture: Capture) -> tuple[Reason, ...]:
    """Return the reasons why memory is missing or held, device by device, then advice.

    Raises UsageError when there are no memory blocks in it.
    """
    inside = of_capture(capture)
    devices = devices_of(capture, memory_of(capture))
    found = [reason for device in devices for reason in _about_device(device, capture, inside)]
    mine = [device.region for device in devices if device.region is not None]
    for name, blocks in _others(capture, inside, mine).items():
        found += _about_other(name, blocks, inside)
    found += _not_added(capture)
    facts = [reason for reason in found if reason.certainty is not Certainty.ADVICE]
    return with_advice(facts) or (Reason(ReasonKind.NO_HOTPLUGGED),)


def _about_device(device: CapturedDevice, capture: Capture, inside: GuestMemoryInfo) -> Iterator[Reason]:
    """Yield the chain of a virtio-mem device, then the reasons that `vm explain` gives for such a device."""
    blocks = inside.blocks_in(device.region) if device.region is not None else ()
    yield _chain(device, blocks, inside)
    if device.region is None:
        yield Reason(ReasonKind.PLACE_UNKNOWN, device=device.name)
        return
    plugged = device.added if device.size is None else device.size
    seen = VirtioMemDevice(
        id=device.name,
        max_size=device.region.size,
        requested_size=plugged if device.requested_size is None else device.requested_size,
        size=plugged,
        # The driver logs it when it probes, which a capture may be too late to hold; 2 MiB is what it usually is.
        block_size=device.block_size or 2 * MiB,
        memaddr=device.region.start,
        node=device.node or 0,
    )
    # Who wrote the capture ran. Boot memory matters only to a device without a region, which was answered above.
    machine = Machine(status="running", boot_memory=0, devices=(seen,))
    info = HypervisorInfo(hypervisor="capture", drivers={device.name: _driver(device, capture)})
    found = explain(MachineFacts(machine=machine, hypervisor_info=info, inside=inside))
    yield from (reason for reason in found if reason.kind not in _OF_HYPERVISOR)
    # `explain` reads the pages of a device that shrinks. One that has what was asked for may have pages in a capture,
    # too: they tell whether a shrink would work.
    told_by_explain = plugged > seen.requested_size and (
        bool(inside.pages) or any(reason.kind is ReasonKind.PAGES_NOT_READ for reason in found)
    )
    if not told_by_explain and (inside.pages or plugged > seen.requested_size):
        yield from about_pages(blocks, inside, device.name)


def _chain(device: CapturedDevice, blocks: Iterable[Block], inside: GuestMemoryInfo) -> Reason:
    """Return the reason that shows the steps memory has gone through."""
    steps = [
        ("asked for", device.requested_size),
        ("plugged by the device", device.size),
        ("added by the driver", device.added),
        *_online(blocks, inside),
    ]
    return Reason(ReasonKind.CHAIN, {"steps": [{"step": step, "size": size} for step, size in steps]}, device.name)


def _online(blocks: Iterable[Block], inside: GuestMemoryInfo) -> list[tuple[str, int | None]]:
    """The end of a chain: how much is online, in which zones."""
    zones = Counter(block.zone or "no single zone" for block in blocks if block.online)
    size = inside.block_size or 0
    return [("online", zones.total() * size), *((f"in {zone}", count * size) for zone, count in sorted(zones.items()))]


def _driver(device: CapturedDevice, capture: Capture) -> Driver:
    """Return whether a driver has the device, as sysfs and the log say."""
    # The log before sysfs: a driver that has given a device up stays bound to it, and sysfs goes on showing it at work.
    if any(messages.is_broken_line(line, device.name) for line in capture.section("dev/kmsg").lines):
        return Driver.BROKEN
    for line in capture.section(_DEVICES).lines:
        name, _, rest = line.partition(" ")
        if name == device.name:
            return Driver.ABSENT if " driver=- " in f" {rest} " else Driver.READY
    return Driver.UNKNOWN


def _others(capture: Capture, inside: GuestMemoryInfo, mine: Iterable[Span]) -> dict[str, list[Block]]:
    """Group the memory blocks outside virtio-mem devices by the driver that added them; ACPI knows which are a DIMM's."""
    size = inside.block_size or 0
    regions = tuple(mine)
    found: dict[str, list[Block]] = {}
    owners = list(_owners(capture))
    dimms = {number: name for name, (_, numbers) in _dimms(capture).items() for number in numbers}
    for block in inside.blocks:
        span = Span.of_block(block.block, size)
        if not any(region.overlaps(span) for region in regions):
            by_name = (name for name, owned in owners if owned.overlaps(span))
            # ACPI first: in /proc/iomem a DIMM is plain `System RAM`, as boot memory is.
            name = dimms.get(block.block) or next(by_name, SYSTEM_RAM)
            found.setdefault(name, []).append(block)
    return found


def _dimms(capture: Capture) -> dict[str, tuple[int | None, list[int]]]:
    """Memory devices of ACPI: status, memory blocks."""
    found = {}
    for line in capture.section("sys/bus/acpi/devices").lines:
        if match := _DIMM.fullmatch(line):
            numbers = [] if match["blocks"] == "-" else [int(number) for number in match["blocks"].split(",")]
            found[match["name"]] = (None if match["status"] == "-" else int(match["status"]), numbers)
    return found


def _not_added(capture: Capture) -> Iterator[Reason]:
    """Yield the devices with memory of which Linux has no memory block, and what it logged about memory that it refused."""
    for name, (status, numbers) in _dimms(capture).items():
        # A slot that is absent or disabled has nothing that Linux could have added.
        if not numbers and status is not None and status & _ENABLED == _ENABLED:
            yield Reason(ReasonKind.DIMM_NOT_ADDED, device=name)
    for line in capture.section("sys/bus/dax/devices").lines:
        match = _DAX.fullmatch(line)
        # Only kmem makes memory blocks; under device_dax or without a driver the device is a file at most.
        if match is not None and match["driver"] != "kmem":
            driver = "none" if match["driver"] == "-" else match["driver"]
            facts = {"size": int(match["size"]), "driver": driver, "name": match["name"]}
            yield Reason(ReasonKind.DAX_NOT_ADDED, facts, match["name"])
    for line in capture.section("dev/kmsg").lines:
        if match := _UNALIGNED.match(line):
            block, start, size = (int(match[key], 16) for key in ("block", "start", "size"))
            # A captured log is anyone's text: a block of 0 would be divided by.
            if block:
                facts = {"value": start if start % block else size, "block": block, "addr": start, "size": size}
                yield Reason(ReasonKind.NO_WHOLE_BLOCKS, facts)


def _owners(capture: Capture) -> Iterator[tuple[str, Span]]:
    """Yield the sources of added memory, by /proc/iomem: a DAX device, or a driver that gives its RAM a name."""
    tree = map_of(capture)
    for _, node in tree.walk() if tree is not None else ():
        if DRIVER_RAM.fullmatch(node.name) and node.parent is not None and not is_virtio_device(node.parent.name):
            # kmem puts its RAM into a node named after the device (dax0.0); at top level the parent is the root, whose
            # name says nothing.
            yield node.parent.name if node.parent.parent is not None else node.name, Span(node.start, node.end + 1)


def _about_other(name: str, blocks: list[Block], inside: GuestMemoryInfo) -> Iterator[Reason]:
    """Yield the chain of memory that another driver added; of possible boot memory only what is offline."""
    size = inside.block_size or 0
    offline = [block for block in blocks if not block.online]
    # Boot memory has no chain: nothing asked for it and no driver added it.
    if name != SYSTEM_RAM:
        steps = [("added", len(blocks) * size), *_online(blocks, inside)]
        yield Reason(ReasonKind.CHAIN, {"steps": [{"step": step, "size": of} for step, of in steps]}, name)
    if offline:
        facts = {"count": len(offline), "size": len(offline) * size, "blocks": _numbers(offline)}
        yield Reason(ReasonKind.THESE_OFFLINE, facts, name)
        if inside.auto_online_blocks == OnlineType.OFFLINE:
            yield Reason(ReasonKind.NEW_BLOCKS_OFFLINE)
    if name != SYSTEM_RAM and inside.pages:
        yield from about_pages(blocks, inside, name)


def _numbers(blocks: Iterable[Block]) -> str:
    """Numbers of blocks as lsmem shows them: ``210-225,230``."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and runs[-1][-1] + 1 == block.block:
            runs[-1][1:] = [block.block]
        else:
            runs.append([block.block])
    return ",".join("-".join(map(str, run)) for run in runs)
