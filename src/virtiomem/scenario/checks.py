"""Refuse impossible scenarios: machines, nodes and devices that QEMU would not start, steps that name what never exists.

What the guest or QEMU refuses *in a step* (a size out of range, a block that is not there) is no concern of these
checks: it is an outcome, and belongs in the recording.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from typing import Any, NoReturn

from msgspec import UNSET, structs

from virtiomem.architecture import Architecture
from virtiomem.device.board import BOARDS
from virtiomem.device.placement import BACKEND_ALIGNMENT, MAX_SLOTS, DeviceMemory
from virtiomem.device.realize import MIN_BLOCK_SIZE
from virtiomem.errors import DeviceError, Errno, ScenarioError, UsageError
from virtiomem.guest.base import DeviceConfig, GuestConfig, NodeConfig, name_devices, parse_range
from virtiomem.guest.embedded.hardware import REQUEST_FAULTS
from virtiomem.guest.machine import MachineLayout
from virtiomem.kdump.room import MAX_HEADER_RANGES, room_of
from virtiomem.memory.faults import MAX_TIMES
from virtiomem.recording.values import (
    Free,
    Inject,
    LoadCrashKernel,
    PlugDimm,
    Refuse,
    Resize,
    SetState,
    Step,
    UnplugDimm,
    Use,
)
from virtiomem.releases.linux import LINUX
from virtiomem.releases.qemu import QEMU
from virtiomem.releases.table import Releases
from virtiomem.resource.names import VIRTIO_MEM_RAM, is_virtio_device
from virtiomem.resource.node import ResourceConflict
from virtiomem.resource.tree import ResourceTree
from virtiomem.scenario.complaints import none_of, show
from virtiomem.scenario.layout import MAX_CRASH_KERNEL, MIN_MEMORY
from virtiomem.scenario.limits import MAX_MEMORY
from virtiomem.scenario.values import ScenarioFile
from virtiomem.units import MiB, Size, Span, format_size, format_with_hex, is_power_of_two

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")

MAX_NODES = 128
"""MAX_NODES in include/sysemu/numa.h (v7.2)."""

MAX_HEADER_CPUS = 8192
"""NR_CPUS with CONFIG_MAXSMP, in arch/x86/Kconfig (v6.12)."""

MIN_ADDRESS_BITS, MAX_ADDRESS_BITS = 36, 52

_ERRNOS = [errno.name for errno in Errno if errno]


def check_guest(guest: GuestConfig) -> None:
    """Refuse machines that QEMU would not start and kernels that do not exist."""
    # First of all: what follows asks guest.release and guest.build, which raise for an unknown release.
    for key, releases in (("kernel", LINUX), ("qemu", QEMU)):
        _check_release(key, getattr(guest, key), releases)
    _check_boot(guest)
    if guest.iomem is not None and guest.capture is not None:
        _refuse("guest.capture", "a guest starts from an iomem listing or from a capture, not from both")
    if guest.capture is not None:
        _check_captured(guest)
    if guest.memory < MIN_MEMORY or guest.memory % guest.architecture.page_size:
        _refuse(
            "guest.memory",
            f"{format_with_hex(guest.memory)} is not a whole number of pages from {format_with_hex(MIN_MEMORY)} up",
        )
    if guest.memory > MAX_MEMORY:
        _refuse(
            "guest.memory",
            f"{format_with_hex(guest.memory)} is more than a guest here can have, {format_with_hex(MAX_MEMORY)}",
        )
    if guest.free is not None and guest.free > guest.memory:
        _refuse(
            "guest.free", f"{format_with_hex(guest.free)} is more than guest.memory, {format_with_hex(guest.memory)}"
        )
    if guest.max_memory is not None:
        _check_max_memory(guest.memory, guest.max_memory, guest.architecture)
    if not 0 <= guest.slots <= MAX_SLOTS:
        _refuse("guest.slots", f"{guest.slots} is not in 0..{MAX_SLOTS}")
    if guest.slots and guest.max_memory == guest.memory:
        _refuse("guest.slots", f"{guest.slots} slots, but max-memory leaves no room for anything in them")
    if guest.memory_block_size is not None:
        _check_block_size(guest.memory_block_size, guest.architecture)
    if guest.auto_movable_ratio < 0:
        _refuse("guest.auto-movable-ratio", f"{guest.auto_movable_ratio} is negative")
    _check_crash_kernel(guest)


def _check_crash_kernel(guest: GuestConfig) -> None:
    """Refuse room for a crash kernel, and for its header, that there cannot be or that nothing reads."""
    size = guest.crashkernel
    if size is not None and (size % MiB or not MiB <= size <= MAX_CRASH_KERNEL):
        reason = f"{format_with_hex(size)} is not a multiple of 1M up to {format_size(MAX_CRASH_KERNEL)}"
        _refuse("guest.crashkernel", reason)
    for name, limit in (("crash_header_cpus", MAX_HEADER_CPUS), ("crash_header_ranges", MAX_HEADER_RANGES)):
        value, where = getattr(guest, name), f"guest.{name.replace('_', '-')}"
        if value is not None and not 0 <= value <= limit:
            _refuse(where, f"{value} is not in 0..{limit}")
        if (
            value is not None
            and guest.capture is None
            and room_of(guest.release, guest.build, guest.architecture) is None
        ):
            kernel = f"Linux {guest.release.name} on {guest.architecture.name}"
            _refuse(where, f"nothing reads it: {kernel} makes a crash header as large as it needs")


def _check_boot(guest: GuestConfig) -> None:
    """Refuse firmware, a page size and a CMA that the machine or its Linux does not have."""
    architecture = guest.architecture
    if guest.firmware is not None and not BOARDS[guest.machine].has_device_tree:
        _refuse("guest.firmware", f"{guest.machine} has firmware of its own, with ACPI: nothing is to be chosen")
    if guest.cma is None:
        return
    if architecture.cma_size is None:
        _refuse("guest.cma", f"Debian's Linux for {architecture.name} is built without a contiguous memory allocator")
    if guest.cma > guest.memory:
        _refuse("guest.cma", f"{format_with_hex(guest.cma)} is more than guest.memory, {format_with_hex(guest.memory)}")


def _check_block_size(block: int, architecture: Architecture) -> None:
    """Refuse what no memory block has."""
    smallest, largest = architecture.section_size, architecture.max_block_size
    if not (is_power_of_two(block) and smallest <= block <= largest):
        limits = f"a power of two from {format_size(smallest)} to {format_size(largest)}"
        _refuse("guest.memory-block-size", f"{format_with_hex(block)} is not {limits}")


def _check_release(key: str, version: str | None, releases: Releases[Any]) -> None:
    """Refuse what names no release."""
    try:
        # A key that is left out is always right: any release will do in its place.
        releases.release(releases.oldest.name if version is None else version)
    except UsageError as error:
        _refuse(f"guest.{key}", str(error))


def _check_captured(guest: GuestConfig) -> None:
    """Refuse what describes a machine together with a capture, which is of a machine that is there already."""
    default = GuestConfig()
    for name in ("machine", "page_size", "firmware", "cma", "memory", "max_memory", "slots", "crashkernel"):
        # A key that is written with its default value looks like one that is left out.
        if getattr(guest, name) != getattr(default, name):
            _refuse(f"guest.{name.replace('_', '-')}", "nothing reads it: the guest's machine is that of guest.capture")


def _check_max_memory(memory: int, max_memory: int, architecture: Architecture) -> None:
    """Refuse room for memory devices that is less than none, or no whole number of pages."""
    if max_memory < memory:
        _refuse(
            "guest.max-memory", f"{format_with_hex(max_memory)} is less than guest.memory, {format_with_hex(memory)}"
        )
    if max_memory > architecture.linear_map_size:
        bits = architecture.linear_map_size.bit_length() - 1
        _refuse("guest.max-memory", f"{format_with_hex(max_memory)} is more than {bits} bits of address can reach")
    if max_memory % architecture.page_size:
        _refuse("guest.max-memory", f"{format_with_hex(max_memory)} is not a whole number of pages")


def check_addresses(guest: GuestConfig, machine: MachineLayout | None) -> None:
    """Refuse a machine that reaches beyond its processor's addresses, as QEMU does."""
    bits = guest.address_bits
    if bits is not None and not MIN_ADDRESS_BITS <= bits <= MAX_ADDRESS_BITS:
        _refuse("guest.address-bits", f"{bits} is not in {MIN_ADDRESS_BITS}..{MAX_ADDRESS_BITS}")
    board = BOARDS[guest.machine]
    if bits is not None and not board.address_bits:
        _refuse("guest.address-bits", f"nothing reads it: {guest.machine} has what its processor has")
    # A listing of its own may be of a machine with another processor; a capture's booted, so its addresses sufficed.
    if machine is None or guest.iomem is not None or not (bits := bits or board.address_bits):
        return
    limit, last = board.address_limit(machine.memory, machine.device_memory().region.size, bits)
    if last > limit:
        needed = (last + 1).bit_length()
        _refuse(
            "guest.max-memory",
            f"{format_size(machine.max_memory)}: Address space limit {limit:#x} < {last:#x} phys-bits too low ({bits}): memory, room "
            f"for devices ({machine.slots}G of it for slots) and PCI window need a processor with address-bits = {needed}",
        )


def check_nodes(nodes: list[NodeConfig], machine: MachineLayout | None, page_size: int) -> None:
    """Refuse nodes with gaps in their numbers, with ranges that overlap, or that leave boot memory without a node."""
    if len(nodes) > MAX_NODES:
        _refuse("guest.nodes", f"{len(nodes)} nodes are more than {MAX_NODES}")
    numbers = [node.id for node in nodes]
    for index, number in enumerate(numbers):
        if number in numbers[:index]:
            _refuse(f"guest.nodes[{index}].id", f"{number} is node {numbers.index(number)}'s number already")
        if not 0 <= number < len(nodes):
            _refuse(f"guest.nodes[{index}].id", f"{number} leaves a gap: {len(nodes)} nodes are 0..{len(nodes) - 1}")
    ranges = [(where, _node_range(text, where, page_size)) for where, text in _range_texts(nodes)]
    for (_, one), (where, other) in combinations(ranges, 2):
        if one.overlaps(other):
            _refuse(where, f"{other} overlaps {one}")
    # Without nodes all memory is node 0's.
    for ram in machine.ram if nodes and machine else []:
        hole = _first_hole(ram, sorted(span for _, span in ranges))
        if hole is not None:
            _refuse("guest.nodes", f"boot memory at {hole:#x} belongs to no node")


def _range_texts(nodes: list[NodeConfig]) -> Iterator[tuple[str, str]]:
    """Every range of every node, with its place in the file."""
    for number, node in enumerate(nodes):
        for index, text in enumerate(node.memory):
            yield f"guest.nodes[{number}].memory[{index}]", text


def _node_range(text: str, where: str, page_size: int) -> Span:
    """A range of whole pages; ScenarioError for anything else."""
    try:
        span = parse_range(text)
    except ValueError as error:
        _refuse(where, f"{show(text)} {error}")
    if span.start % page_size or span.stop % page_size:
        _refuse(where, f"{show(text)} does not start and end with a page; ends are inclusive, as 0x7fffffff is")
    return span


def _first_hole(whole: Span, parts: Iterable[Span]) -> int | None:
    """Return the first address of `whole` that `parts`, in address order, do not cover; None when they cover it."""
    address = whole.start
    for part in parts:
        if part.start <= address:
            address = max(address, part.stop)
    return address if address < whole.stop else None


def check_devices(devices: list[DeviceConfig], nodes: int) -> None:
    """Refuse devices that QEMU's virtio-mem-pci would not realize, whatever the machine."""
    for index, device in enumerate(devices):
        where = f"device[{index}]"
        _check_id(device.id, f"{where}.id")
        for other in devices[:index]:
            if device.id == other.id:
                _refuse(f"{where}.id", f"{show(device.id)} is the id of an earlier device")
        _check_sizes(device, where)
        # Without `nodes` the guest has one, node 0.
        if not 0 <= device.node < max(nodes, 1):
            _refuse(f"{where}.node", f"{device.node} is not a node of this guest (it has {max(nodes, 1)}, from 0)")


def _check_sizes(device: DeviceConfig, where: str) -> None:
    """Refuse block sizes and sizes that QEMU refuses; requested-size may exceed max-size at the start."""
    block, unit = device.block_size, max(device.block_size, BACKEND_ALIGNMENT)
    if not is_power_of_two(block):
        _refuse(f"{where}.block-size", f"{format_with_hex(block)} is not a power of two")
    if block < MIN_BLOCK_SIZE:
        _refuse(f"{where}.block-size", f"{format_with_hex(block)} is less than {format_with_hex(MIN_BLOCK_SIZE)}")
    if not device.max_size:
        _refuse(f"{where}.max-size", f"0 is not a size (at least {format_with_hex(unit)})")
    if device.max_size % unit:
        _refuse(f"{where}.max-size", f"{format_with_hex(device.max_size)} is not a multiple of {format_with_hex(unit)}")
    # More than max-size is no fault here: QEMU compares the two only when the size is set on a device that is realized.
    if device.requested_size % block:
        _refuse(
            f"{where}.requested-size",
            f"{format_with_hex(device.requested_size)} is not a multiple of block-size, {format_with_hex(block)}",
        )


def place_devices(
    devices: list[DeviceConfig], machine: MachineLayout | None, architecture: Architecture
) -> list[DeviceConfig]:
    """The devices with address and name filled in; ScenarioError where QEMU has no place for one.

    Without a machine (the guest starts from a capture) every device must say its address.
    """
    room = machine.device_memory() if machine is not None else None
    end = architecture.pluggable(machine.ram[0].start if machine is not None else 0).stop
    placed: list[DeviceConfig] = []
    for index, device in enumerate(name_devices(devices)):
        where = f"device[{index}]"
        memaddr = _address(device, where, room)
        if memaddr + device.max_size > end:
            _refuse(
                f"{where}.memaddr",
                f"{memaddr:#x} and {format_with_hex(device.max_size)} end above {end:#x}",
            )
        placed.append(structs.replace(device, memaddr=Size(memaddr)))
    return placed


def _address(device: DeviceConfig, where: str, room: DeviceMemory | None) -> int:
    """Return the address of a device, chosen or given."""
    if room is None:
        if device.memaddr is None:
            _refuse(f"{where}.memaddr", "is missing; a guest that starts from a capture does not place devices")
        return device.memaddr
    try:
        return room.place(device.id, device.max_size, alignment=device.block_size, memaddr=device.memaddr)
    except DeviceError as error:
        # As in QEMU a memaddr of 0 is not set: then the size is what finds no place.
        key, value = (
            ("memaddr", f"{device.memaddr:#x}") if device.memaddr else ("max-size", format_with_hex(device.max_size))
        )
        _refuse(f"{where}.{key}", f"{value}: {error}")


def check_listing(devices: list[DeviceConfig], listing: ResourceTree) -> None:
    """Refuse devices on top of what the guest's listing already has, RAM or another virtio-mem device's region."""
    for index, device in enumerate(devices):
        assert device.memaddr is not None, "devices have been placed"
        try:
            # In a tree of its own: that a later device overlaps an earlier one is found the same way.
            parent = listing.request_region(device.memaddr, device.max_size, device.id).parent
            taken = parent if parent is not None and is_virtio_device(parent.name or "") else None
        except ResourceConflict as error:
            taken = error.conflict
        if taken is not None:
            ours = VIRTIO_MEM_RAM in (taken.name, *(child.name for child in taken.children))
            cure = ": a guest starts from a map without it (grep -v 'virtio[0-9_]')" if ours else ""
            _refuse(f"device[{index}].memaddr", f"{device.memaddr:#x} is taken in the listing by {taken}{cure}")


def check_steps(file: ScenarioFile) -> None:
    """Refuse steps that name what can never be there."""
    devices = [device.id for device in file.device]
    dimms: list[str] = []
    uses: dict[str, None] = {}
    for index, step in enumerate(file.step):
        where = f"step[{index}]"
        match step:
            case Resize(device=device):
                _check_known(device, devices, "a device", f"{where}.device")
            case PlugDimm(id=name):
                _check_id(name, f"{where}.id")
                if name in devices:
                    _refuse(f"{where}.id", f"{show(name)} is the id of a device")
                # Never taken off the list: the guest may refuse to unplug it, so what a second attempt does is an
                # outcome.
                dimms.append(name)
            case UnplugDimm(id=name):
                _check_known(name, dimms, "a DIMM plugged by an earlier step", f"{where}.id")
            case LoadCrashKernel(syscall="kexec_file_load") if not file.guest.architecture.has_kexec_file_load:
                name = file.guest.architecture.name
                _refuse(
                    f"{where}.syscall", f'Debian\'s Linux for {name} is built without it: "kexec_load" is what it has'
                )
            case Use(id=name):
                uses[name] = None
            case Free(id=name):
                _check_known(name, uses, "an earlier use", f"{where}.id")
            case _:
                pass
        _check_numbers(step, where)


def _check_numbers(step: Step, where: str) -> None:
    """Refuse numbers that mean nothing."""
    match step:
        case SetState(blocks=blocks):
            for index, block in enumerate(blocks):
                if block < 0:
                    _refuse(f"{where}.blocks[{index}]", f"{block} is negative")
        case Inject(times=times) if not 1 <= times <= MAX_TIMES:
            _refuse(f"{where}.times", f"{times} is not in 1..{MAX_TIMES}")
        case Inject(at="request", error=error) if error not in REQUEST_FAULTS:
            _refuse(f"{where}.error", none_of(error, REQUEST_FAULTS))
        case Inject(at=at, error=error) if at != "request" and error not in _ERRNOS:
            _refuse(f"{where}.error", none_of(error, _ERRNOS))
        case Refuse(error=error) if error not in Errno.__members__:
            _refuse(f"{where}.error", none_of(error, list(Errno.__members__)))
        case PlugDimm(size=amount) if amount > MAX_MEMORY:
            _refuse(
                f"{where}.size",
                f"{format_with_hex(amount)} is more than a guest here can have, {format_with_hex(MAX_MEMORY)}",
            )
        case Use(size=amount) if not amount:
            _refuse(f"{where}.size", "0 is not a size")
        case Use(scatter=share) if share is not UNSET and not 0 <= share <= 1:
            _refuse(f"{where}.scatter", f"{share} is not a share, from 0 to 1")
        case _:
            pass


def _check_id(name: str, where: str) -> None:
    """Refuse what QEMU does not take for an id."""
    if _ID.fullmatch(name) is None:
        _refuse(where, f"{show(name)} is not an id: letters, digits, '-', '.', '_', starting with a letter")


def _check_known(name: str, known: Collection[str], what: str, where: str) -> None:
    """Refuse a name that nothing has."""
    if name not in known:
        there = f" (there is {', '.join(dict.fromkeys(known))})" if known else " (the guest has none)"
        _refuse(where, f"{show(name)} is not {what}{there}")


def _refuse(where: str, reason: str) -> NoReturn:
    raise ScenarioError(reason, where=where)
