"""A set-up as a table, as JSON's values, and ready to paste: QEMU's arguments, libvirt's XML, a kernel command line, a
scenario.
"""

from typing import Any

from virtiomem.columns import align
from virtiomem.guest.base import NodeConfig, hotplug_parameters
from virtiomem.guest.machine import MachineLayout
from virtiomem.planning.scenario_text import scenario_text
from virtiomem.planning.setup import SetUp
from virtiomem.qemu import arguments
from virtiomem.qemu.arguments import option
from virtiomem.stdio import WARNING
from virtiomem.units import KiB, format_approx, format_exact, format_size


def table(setup: SetUp) -> str:
    """Write what there is to know, a line each, then what to mind."""
    guest, device = setup.guest, setup.devices[0]
    fit = "as it needs" if setup.ranges_that_fit is None else f"room for {setup.ranges_that_fit}"
    rows = [
        ("boot memory", format_exact(guest.memory)),
        ("devices", f"{len(setup.devices)} of {format_size(device.max_size)}, block {format_size(device.block_size)}"),
        ("maxmem", format_exact(guest.max_memory or guest.memory)),
        ("address bits", f"{setup.address_bits}: up to {setup.highest_address:#x}"),
        (
            "KVM memory slots",
            f"{len(setup.devices)} of {guest.architecture.kvm_memory_slots}; with dynamic-memslots (QEMU 8.2) {setup.dynamic_slots}",
        ),
        ("memory block", format_size(setup.memory_block_size)),
        ("online policy", " ".join(hotplug_parameters(guest))),
        ("struct pages", f"{format_approx(setup.memmap)}; {format_approx(setup.free_after_boot)} free after boot"),
        ("largest step", format_size(setup.largest_step)),
        ("shrink can count on", format_size(setup.counts_on)),
        ("crash header", f"{setup.ranges} ranges at most, {fit}"),
    ]
    return align(rows) + "".join(f"{WARNING}{warning}\n" for warning in setup.warnings)


def values(setup: SetUp) -> dict[str, Any]:
    """All of it as JSON's values, sizes in bytes."""
    device = setup.devices[0]
    return {
        "memory": setup.guest.memory,
        "max-memory": setup.guest.max_memory,
        "devices": len(setup.devices),
        "max-size": device.max_size,
        "block-size": device.block_size,
        "memory-block-size": setup.memory_block_size,
        "kernel-parameters": hotplug_parameters(setup.guest),
        "memmap": setup.memmap,
        "free-after-boot": setup.free_after_boot,
        "largest-step": setup.largest_step,
        "shrink-counts-on": setup.counts_on,
        "address-bits": setup.address_bits,
        "highest-address": setup.highest_address,
        "kvm-memory-slots": len(setup.devices),
        "dynamic-memslots": setup.dynamic_slots,
        "crash-header-ranges": setup.ranges,
        "crash-header-room": setup.ranges_that_fit,
        "warnings": list(setup.warnings),
        "qemu": qemu(setup),
        "libvirt": libvirt(setup),
        "scenario": scenario(setup),
    }


def qemu(setup: SetUp, sockets: str | None = None) -> list[str]:
    """Arguments of QEMU, without CPUs, kernel and disks; dynamic-memslots needs 8.2, and is left out.

    `sockets` is the folder for a monitor and a line to the guest's agent; None for neither.
    """
    guest = setup.guest
    machine = MachineLayout.of(guest, setup.devices)
    name = machine.board.name + machine.board.options
    words = arguments.machine(name, memory_backend=None if guest.nodes else "ram")
    words += arguments.memory(guest.memory, machine.max_memory)
    if guest.nodes:
        for node in guest.nodes:
            words += ["-object", option(_backend(setup), id=f"ram{node.id}", size=sum(one.size for one in node.spans))]
            words += arguments.node(node.id, memdev=f"ram{node.id}", cpus=None if node.id else 0)
    else:
        words += ["-object", option(_backend(setup), id="ram", size=int(guest.memory))]
    for device in setup.devices:
        memdev = f"mem-{device.id}"
        # Without reserve=off the host sets memory aside for all that the device could ever plug.
        words += ["-object", option(_backend(setup), id=memdev, size=int(device.max_size), reserve="off")]
        node_of = device.node if guest.nodes else None
        sizes = {"block_size": int(device.block_size), "requested_size": 0, "node": node_of}
        # Where the host has no hugepage left, plugging fails, and not the guest on its first use (SIGBUS).
        prealloc = None if setup.hugepage is None else "on"
        words += ["-device", option("virtio-mem-pci", id=device.id, memdev=memdev, prealloc=prealloc, **sizes)]
    return words if sockets is None else words + arguments.sockets(sockets)


def _backend(setup: SetUp) -> str:
    """The type of memory backend, with the host's hugepages where they were wished for."""
    if setup.hugepage is None:
        return "memory-backend-ram"
    return f"memory-backend-memfd,hugetlb=on,hugetlbsize={int(setup.hugepage)}"


def libvirt(setup: SetUp) -> str:
    """The elements of a domain that are of memory."""
    guest = setup.guest
    # One at least: libvirt has memory devices only in a domain with NUMA cells.
    cells: list[NodeConfig | None] = [*guest.nodes] or [None]
    page = (setup.hugepage or 0) // KiB
    # Boot memory, too, as in QEMU's arguments: a domain without it would have small pages there.
    backing = f"<memoryBacking><hugepages><page size='{page}' unit='KiB'/></hugepages></memoryBacking>"
    lines = [
        *([backing] if setup.hugepage else []),
        f"<maxMemory slots='{len(setup.devices)}' unit='KiB'>{(guest.max_memory or 0) // KiB}</maxMemory>",
        f"<memory unit='KiB'>{guest.memory // KiB}</memory>",
        "<cpu>",
        "  <numa>",
        *(
            f"    <cell id='{number}' cpus='{number}' unit='KiB' memory='"
            f"{(guest.memory if node is None else sum(span.size for span in node.spans)) // KiB}'/>"
            for number, node in enumerate(cells)
        ),
        "  </numa>",
        "</cpu>",
    ]
    for device in setup.devices:
        source = f"  <source><pagesize unit='KiB'>{page}</pagesize></source>"
        lines += [
            "<memory model='virtio-mem'>",
            *([source] if setup.hugepage else []),
            "  <target>",
            f"    <size unit='KiB'>{device.max_size // KiB}</size>",
            f"    <node>{device.node}</node>",
            f"    <block unit='KiB'>{device.block_size // KiB}</block>",
            # Not the size to reach: the guest boots first, and a resize says how it went.
            "    <requested unit='KiB'>0</requested>",
            "  </target>",
            "</memory>",
        ]
    return "".join(f"{line}\n" for line in lines)


def command_line(setup: SetUp) -> str:
    """The kernel's parameters."""
    return " ".join(hotplug_parameters(setup.guest)) + "\n"


def scenario(setup: SetUp) -> str:
    """A scenario that grows to the maximum and gives back what has to come back."""
    return scenario_text(setup.guest, setup.devices, setup.steps)
