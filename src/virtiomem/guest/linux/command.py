"""QEMU's and the kernel's command lines for a guest's configuration."""

from collections.abc import Sequence

from virtiomem.device.board import BOARDS
from virtiomem.errors import BackendError, ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, NodeConfig, hotplug_parameters, name_devices
from virtiomem.guest.linux.kernels import DRIVER, roots
from virtiomem.guest.machine import MachineLayout
from virtiomem.qemu import arguments
from virtiomem.qemu.trace import EVENTS
from virtiomem.resource.names import virtio_number
from virtiomem.units import Span

CONSOLE = "console"
AGENT = "agent"
QMP = "qmp"
SOCKETS = (CONSOLE, AGENT, QMP)
"""The character devices of every guest: its first serial port, its second, and QEMU's monitor."""

_SECOND_PORT = "ttyS1"
"""Where the agent listens when the command line does not say."""
_FIRMWARE = ("usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "usr/share/AAVMF/AAVMF_CODE.fd")
"""Looked for where kernels are."""

RNG = "virtio-rng-pci"
"""The other virtio device, put in front of ours where a scenario says the guest has some."""


_FIXED = (
    "nokaslr",
    "init_on_alloc=0",
    "no_timer_check",
    "nowatchdog",
    "rcupdate.rcu_cpu_stall_suppress=1",
)
"""The kernel always in the same place, no clearing of memory that is only allocated to be given back (that
takes most of an emulated unplug and changes nothing one can see), no panic for a timer that a busy host makes late, and no
complaints that it gives the guest no processor: pages of them fill the console while it is not read, and the guest then
only waits for its port."""


def qemu_arguments(guest: GuestConfig, devices: Sequence[DeviceConfig], accel: str) -> list[str]:
    """QEMU's arguments for the machine, without kernel, initramfs and what `QemuProcess` adds.

    One processor: requests then come in the order in which the driver makes them. Raises ScenarioError for what QEMU
    cannot build.
    """
    machine = MachineLayout.of(guest, devices)
    words = ["-accel", accel, "-cpu", _processor(guest), "-smp", "1", *arguments.BARE]
    words += arguments.memory(guest.memory, machine.max_memory, slots=guest.slots)
    words += _memory(guest, machine)
    words += arguments.MONITOR
    words += ["-serial", f"chardev:{CONSOLE}"]
    for event in EVENTS:
        # Requests are read from QEMU's trace, for nothing in the guest shows them all.
        words += ["-trace", event]
    words += ["-bios", firmware()] if guest.firmware == "uefi" else []
    if machine.board.second_port == _SECOND_PORT:
        return [*words, "-serial", f"chardev:{AGENT}", *_devices(devices)]
    return [*words, *_devices(devices), "-device", f"pci-serial,chardev={AGENT}"]  # behind them: they have its slots


def _processor(guest: GuestConfig) -> str:
    """The processor to emulate; not all have every page size."""
    board = BOARDS[guest.machine]
    return board.cpus[min(board.architectures.index(guest.architecture), len(board.cpus) - 1)]


def firmware() -> str:
    """UEFI for `virt`, below the directories in which kernels are looked for. Raises BackendError when it is not there."""
    wanted = [root / name for root in roots() for name in _FIRMWARE]
    found = next((path for path in wanted if path.exists()), None)
    if found is None:
        raise BackendError(f"{wanted[0]}: not found (Debian package qemu-efi-aarch64)")
    return str(found)


def kernel_command_line(guest: GuestConfig, driver: DriverConfig, *, built_in: bool, append: str = "") -> str:
    """The kernel's parameters: a fixed layout, the hotplug policy, the driver's own where it is built in, `append`."""
    board = BOARDS[guest.machine]
    words = [f"console={board.console}", *_FIXED, *hotplug_parameters(guest)]
    # The kernel hands a parameter that it does not know to the first program, as a variable of its environment.
    words += [] if board.second_port == _SECOND_PORT else [f"port={board.second_port}"]
    if built_in:
        words += [f"{DRIVER}.{parameter}" for parameter in driver.parameters.to_modprobe()]
    return " ".join([*words, *append.split()])


def _memory(guest: GuestConfig, machine: MachineLayout) -> list[str]:
    """Boot memory: one backend, or one a node."""
    name = machine.board.name + machine.board.options
    if not guest.nodes:
        return [*arguments.machine(name, memory_backend="ram"), *arguments.backend("ram", guest.memory)]
    words = arguments.machine(name)
    end = 0
    for node in sorted(guest.nodes, key=lambda node: node.id):
        spans = _node_memory(node, machine.ram)
        if any(span.start < end for span in spans):
            raise ScenarioError(
                f"QEMU gives nodes memory in ascending order, {spans[0]} of node {node.id} comes too late",
                where="guest.nodes",
            )
        end = max([end, *(span.stop for span in spans)])
        memdev = f"ram{node.id}" if spans else None
        if memdev is not None:
            words += arguments.backend(memdev, sum(span.size for span in spans))
        words += arguments.node(node.id, memdev=memdev, cpus=None if node.id else 0)
    return words


def _node_memory(node: NodeConfig, ram: list[Span]) -> list[Span]:
    """Return the boot memory in a node's ranges, in address order."""
    both = ((span, part) for span in node.spans for part in ram if span.overlaps(part))
    return sorted(span.clipped(part) for span, part in both)


def _devices(devices: Sequence[DeviceConfig]) -> list[str]:
    """The virtio devices in the order in which the guest names them."""
    words: list[str] = []
    following = 0
    for index, device in enumerate(name_devices(devices)):
        number = virtio_number(device.name or "")
        if number < following:
            raise ScenarioError(
                f"QEMU's devices are named in order, {device.name} comes too late", where=f"device[{index}].name"
            )
        # virtioN counts every virtio device in probe order: others must stand before ours to give it a later number.
        words += ["-device", RNG] * (number - following)
        following = number + 1
        words += arguments.virtio_mem(
            device.id,
            device.max_size,
            block_size=device.block_size,
            requested_size=device.requested_size,
            node=device.node,
            memaddr=device.memaddr,
        )
    return words
