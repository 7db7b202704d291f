"""Tell when a guest is at rest, take its snapshot, and explain why a device is not at its requested size.

A guest is at rest when two looks in a row show the same, no task is in the driver or the hotplug core, and QEMU has seen
no request in between. Only the driver's retry timer may be left.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.driver.at_rest import DeviceFacts, why_at_rest
from virtiomem.driver.messages import is_broken_line, is_out_of_memory_line
from virtiomem.driver.parameters import Parameters
from virtiomem.driver.sizes import choose_units
from virtiomem.errors import BackendTimeout
from virtiomem.guest.base import DeviceConfig, DriverConfig, name_devices
from virtiomem.guest.linux.look import Look
from virtiomem.guest.linux.running import RunningLinux
from virtiomem.memory.vmemmap import memmap_size
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.recording import DeviceInfo, Request, Snapshot, VirtioMemInfo
from virtiomem.recording.values import DimmInfo
from virtiomem.units import Span

QUIET = 3.0
"""Seconds without a change after which a kernel that does not show its tasks' stacks is taken to be at rest."""

# Each look runs a dozen processes in the guest: closer together they would be most of what it does.
_BETWEEN_LOOKS = 0.1
_STILL = 0.5
"""Seconds without a request after which a driver that is not done is taken to have stopped."""


@dataclass(frozen=True, slots=True)
class Rest:
    """A guest at rest, and the requests that led there."""

    look: Look
    devices: list[DeviceInfo]
    requests: list[Request]

    @property
    def snapshot(self) -> Snapshot:
        """As it stands in a recording."""
        look = self.look
        return Snapshot(iomem=look.iomem, memory_blocks=look.memory_blocks, zones=look.zones, devices=self.devices)

    @property
    def unsettled(self) -> list[VirtioMemInfo]:
        """The devices that do not have their requested size."""
        return [device for device in self.snapshot.virtio_mem if not device.settled]

    def same(self, other: "Rest") -> bool:
        """True when nothing has changed but the time."""
        mine, others = (self.devices, self.requests), (other.devices, other.requests)
        return mine == others and self.look.same_state(other.look)


def settle(linux: RunningLinux, doing: str, requests: list[Request]) -> Rest:
    """Wait until the guest is at rest; BackendTimeout when it never is. `requests` grows with those that are seen."""
    limit = time.monotonic() + linux.timeout
    _leave_alone(linux, requests, doing, limit)
    before, changed = _see(linux, requests, doing), time.monotonic()
    while time.monotonic() < limit:
        linux.follow(_BETWEEN_LOOKS, doing)
        now = _see(linux, requests, doing)
        if not now.same(before):
            before, changed = now, time.monotonic()
        # A kernel that shows its stacks and no task in the driver is at rest at once; of any other only quiet can tell.
        elif not now.look.busy and (now.look.busy is not None or time.monotonic() - changed >= QUIET):
            return now
    raise BackendTimeout(
        f"the guest did not come to rest within {linux.timeout:g} s while {doing} ({len(requests)} requests so far);"
        f" the console's last lines: {linux.last_words()}"
    )


def _leave_alone(linux: RunningLinux, requests: list[Request], doing: str, limit: float) -> None:
    """Let the driver work until every device has its requested size, or sends no requests for a while.

    The processes of a look take and free memory, and what they free on the way keeps Linux from taking a block whole
    (alloc_contig_range() finds a page neither free nor movable), above all where a busy host stretches the attempt.
    """
    last = time.monotonic()
    while time.monotonic() < min(limit, last + _STILL) and not all(device.settled for device in linux.memory.query()):
        linux.follow(_BETWEEN_LOOKS, doing)
        if new := linux.take_requests():
            requests += new
            last = time.monotonic()


def _see(linux: RunningLinux, requests: list[Request], doing: str) -> Rest:
    """The guest and QEMU's devices as they are now, and all requests of the step so far."""
    look = linux.look(doing)
    # After the look and before the trace: what changes in between shows as a difference to the next look.
    devices = linux.memory.query()
    requests += linux.take_requests()
    return Rest(look, devices, list(requests))


def reasons(
    rest: Rest,
    configs: Sequence[DeviceConfig],
    log: list[str],
    driver: DriverConfig | None = None,
    architecture: Architecture = DEFAULT,
) -> list[Reason]:
    """Return the reasons why devices do not reach their requested sizes; `driver` is how the driver was loaded."""
    names = {config.id: config.name or "" for config in name_devices(configs)}
    parameters = (driver or DriverConfig()).parameters
    return [_reason(rest, one, names[one.id], log, parameters, architecture).of(one.id) for one in rest.unsettled]


def _reason(
    rest: Rest, device: VirtioMemInfo, name: str, log: list[str], driver: Parameters, architecture: Architecture
) -> Reason:
    """Return the reason as seen from outside the kernel, which does not show whose retry timer runs."""
    if name not in rest.look.bound:
        return Reason(ReasonKind.NO_DRIVER)
    if any(is_broken_line(line, name) for line in log):
        return Reason(ReasonKind.GAVE_UP)
    at_rest = _at_rest(device, rest.look, driver, architecture)
    alone = len(rest.unsettled) == 1
    timer = rest.look.retry_in is not None
    return (
        _before_retry(rest, device, log, architecture)
        if timer and (alone or at_rest.kind is ReasonKind.NOTHING_TO_DO)
        else at_rest
    )


def _before_retry(rest: Rest, device: VirtioMemInfo, log: list[str], architecture: Architecture) -> Reason:
    """Explain the retry timer: by the kernel log, else by the last answer, else by what such a pass usually ends with."""
    if any(is_out_of_memory_line(line) for line in log):
        return no_struct_pages(rest.look, device.node, rest.look.memory_block_size, architecture)
    # The last one decides: the driver ends a pass with it.
    answers = [request.response for request in rest.requests if request.device == device.id]
    if answers and answers[-1] == "BUSY":
        return Reason(ReasonKind.DEVICE_BUSY)
    shrinks = device.size > device.requested_size
    return Reason(ReasonKind.MEMORY_BUSY if shrinks else ReasonKind.NO_MEMORY, certainty=Certainty.LIKELY)


def no_struct_pages(look: Look, node: int, size: int, architecture: Architecture) -> Reason:
    """Return the reason "out of memory for struct pages", with the memory that is free now."""
    free = architecture.page_size * look.free.get(node, 0)
    return Reason(ReasonKind.NO_STRUCT_PAGES, {"need": memmap_size(size, architecture), "node": node, "free": free})


def refused_dimms(rest: Rest, architecture: Architecture, *, starved: bool) -> list[Reason]:
    """Why DIMMs have no memory block in Linux, going by their place and the kernel's log."""
    size, found = rest.look.memory_block_size, []
    there = {block.block for block in rest.look.memory_blocks}
    for dimm in (device for device in rest.devices if isinstance(device, DimmInfo)):
        odd = next((value for value in (dimm.addr, dimm.size) if value % size), None)
        if any(dimm.addr // size <= block < -(-dimm.region.stop // size) for block in there):
            continue
        if odd is not None:
            facts = {"addr": dimm.addr, "size": dimm.size, "value": odd, "block": size}
            found.append(Reason(ReasonKind.NO_WHOLE_BLOCKS, facts, dimm.id))
        elif starved:
            found.append(no_struct_pages(rest.look, dimm.node, dimm.size, architecture).of(dimm.id))
    return found


def _at_rest(device: VirtioMemInfo, look: Look, driver: Parameters, architecture: Architecture) -> Reason:
    """Why the driver has ended a pass without starting its timer."""
    facts = DeviceFacts(
        size=device.size,
        requested_size=device.requested_size,
        units=choose_units(device.block_size, look.memory_block_size, driver, architecture),
        unplug_online=driver.unplug_online,
        offline=_offline_bytes(device, look),
    )
    return why_at_rest(facts) or Reason(ReasonKind.NOTHING_TO_DO)


def _offline_bytes(device: VirtioMemInfo, look: Look) -> int:
    """Sum the offline memory of a device."""
    size = look.memory_block_size
    mine = (block for block in look.memory_blocks if Span.of_block(block.block, size).overlaps(device.region))
    return size * sum(block.is_offline for block in mine)
