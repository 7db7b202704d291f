"""QEMU's and the kernel's command lines for a guest's configuration."""

from collections.abc import Sequence

from virtiomem.errors import ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, NodeConfig, hotplug_parameters, name_devices
from virtiomem.guest.linux.kernels import DRIVER
from virtiomem.guest.machine import Machine
from virtiomem.qemu.trace import EVENTS
from virtiomem.resource.names import virtio_number
from virtiomem.units import Span

CONSOLE = "console"
AGENT = "agent"
QMP = "qmp"
SOCKETS = (CONSOLE, AGENT, QMP)
"""The character devices of every guest: its first serial port, its second, and QEMU's monitor."""

RNG = "virtio-rng-pci"
"""The other virtio device, put in front of ours where a scenario says the guest has some."""


_FIXED = ("console=ttyS0", "nokaslr", "init_on_alloc=0")
"""A console, the kernel always in the same place, and no clearing of memory that is only allocated to be given back:
that takes most of an emulated unplug and changes nothing one can see."""


def qemu_arguments(guest: GuestConfig, devices: Sequence[DeviceConfig], accel: str) -> list[str]:
    """QEMU's arguments for the machine, without kernel, initramfs and what `QemuProcess` adds.

    One processor: requests then come in the order in which the driver makes them. Raises ScenarioError for what QEMU
    cannot build.
    """
    machine = Machine.of(guest, devices)
    arguments = ["-accel", accel, "-cpu", "max", "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none"]
    arguments += ["-m", f"size={guest.memory}b,maxmem={machine.max_memory}b,slots={guest.slots}"]
    arguments += _memory(guest, machine)
    arguments += ["-mon", f"chardev={QMP},mode=control"]
    arguments += ["-serial", f"chardev:{CONSOLE}", "-serial", f"chardev:{AGENT}"]
    for event in EVENTS:
        arguments += ["-trace", event]
    return arguments + _devices(devices)


def kernel_command_line(guest: GuestConfig, driver: DriverConfig, *, built_in: bool, append: str = "") -> str:
    """The kernel's parameters: a fixed layout, the hotplug policy, the driver's own where it is built in, `append`."""
    words = [*_FIXED, *hotplug_parameters(guest)]
    if built_in:
        words += [f"{DRIVER}.{parameter}" for parameter in driver.parameters.to_modprobe()]
    return " ".join([*words, *append.split()])


def backend(identifier: str, size: int) -> str:
    """A memory backend; it takes nothing of the host before the guest touches it."""
    return f"memory-backend-ram,id={identifier},size={size},reserve=off"


def _memory(guest: GuestConfig, machine: Machine) -> list[str]:
    """Boot memory: one backend, or one a node."""
    if not guest.nodes:
        return ["-machine", f"{guest.machine},memory-backend=ram", "-object", backend("ram", guest.memory)]
    arguments = ["-machine", guest.machine]
    end = 0
    for node in sorted(guest.nodes, key=lambda node: node.id):
        spans = _node_memory(node, machine.ram)
        if any(span.start < end for span in spans):
            raise ScenarioError(
                f"QEMU gives nodes memory in ascending order, {spans[0]} of node {node.id} comes too late",
                where="guest.nodes",
            )
        end = max([end, *(span.stop for span in spans)])
        numa = (
            f"node,nodeid={node.id}" + (f",memdev=ram{node.id}" if spans else "") + (",cpus=0" if not node.id else "")
        )
        if spans:
            arguments += ["-object", backend(f"ram{node.id}", sum(span.size for span in spans))]
        arguments += ["-numa", numa]
    return arguments


def _node_memory(node: NodeConfig, ram: list[Span]) -> list[Span]:
    """What of a node's ranges is boot memory, in address order."""
    both = ((span, part) for span in node.spans for part in ram if span.overlaps(part))
    return sorted(span.clipped(part) for span, part in both)


def _devices(devices: Sequence[DeviceConfig]) -> list[str]:
    """The virtio devices in the order in which the guest names them."""
    arguments: list[str] = []
    following = 0
    for index, device in enumerate(name_devices(devices)):
        number = virtio_number(device.name or "")
        if number < following:
            raise ScenarioError(
                f"QEMU's devices are named in order, {device.name} comes too late", where=f"device[{index}].name"
            )
        arguments += ["-device", RNG] * (number - following)
        following = number + 1
        properties = {
            "id": device.id,
            "memdev": f"mem-{device.id}",
            "block-size": device.block_size,
            "requested-size": device.requested_size,
            "node": device.node,
        }
        if device.memaddr is not None:
            properties["memaddr"] = device.memaddr
        text = ",".join(f"{key}={value}" for key, value in properties.items())
        arguments += ["-object", backend(f"mem-{device.id}", device.max_size), "-device", f"virtio-mem-pci,{text}"]
    return arguments
