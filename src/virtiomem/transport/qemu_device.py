"""A stopped QEMU with virtio-mem devices for a driver of ours: the machine, and each device from both of its sides."""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from virtiomem.device.board import BOARDS, Board, MachineKind, board_of
from virtiomem.errors import BackendError, BackendTimeout, DeviceError
from virtiomem.qemu import arguments
from virtiomem.qemu.memory_devices import GET, SET, path_of, property_of, requested_size
from virtiomem.qemu.process import BINARY, QemuProcess
from virtiomem.qemu.qmp import QmpSession
from virtiomem.qemu.qtest import ARGUMENTS, QTest, irq_intercept_in
from virtiomem.qemu.shapes import MIGRATION_IDLE, Migration, QomObject
from virtiomem.qemu.validation import NUMBER
from virtiomem.transport.qtest_pci import (
    ConfigSpace,
    MemoryConfigSpace,
    PortConfigSpace,
    QtestPciTransport,
    find_mem_devices,
)
from virtiomem.transport.virtio_transport import DeviceSpec, Read
from virtiomem.transport.vring import VringChannel
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Feature

RING_OFFSET = 1 * MiB
RING_SIZE = 1 * MiB
"""Offset in guest memory of the first device's ring; the rings of further devices follow."""

_FIRST_SLOT = 4
"""First PCI slot for our devices; machines use the ones before it (`pc`: host bridge in 0, PIIX3 in 1)."""
_UNATTACHED = "/machine/unattached"
_SETTLE = 10.0
"""Seconds for a machine reset, or the end of a migration."""

_TOO_OLD = ("invalid object type: qtest", "not a valid device model name", "reserve' not found")
_SLOWEST = 4096
"""Bytes a second for a migration that must not end."""


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """The machine around the devices; sizes in bytes."""

    kind: MachineKind = "q35"
    memory: int = 64 * MiB
    max_memory: int = 64 * GiB
    nodes: int = 0
    """NUMA nodes; the first has all boot memory. 0: no NUMA."""

    @property
    def board(self) -> Board:
        """The machine type."""
        return BOARDS[self.kind]

    @property
    def config_space(self) -> ConfigSpace:
        """The way to the PCI configuration space."""
        if not self.board.has_device_tree:
            return PortConfigSpace()
        start = self.board.region_start(self.memory)
        return MemoryConfigSpace(self.board.ecam(start + self.max_memory - self.memory).start)

    def arguments(self) -> list[str]:
        """The machine part of QEMU's command line."""
        backend, board = None if self.nodes else "boot", self.board
        words = arguments.machine(board.name + board.options, memory_backend=backend)
        words += ["-cpu", board.cpus[0]] if board.has_device_tree else []  # else QEMU's own default, which is sound
        words += arguments.memory(self.memory, self.max_memory)
        words += [*arguments.BARE, *arguments.backend("boot", self.memory)]
        for node in range(self.nodes):
            # A node without memory is enough: only a device's `node` refers to it.
            words += arguments.node(node, memdev=None if node else "boot")
        return words


def _device_arguments(device: DeviceSpec, slot: int, board: Board) -> list[str]:
    """Backend and device for QEMU's command line; where unplugged memory is always inaccessible there is no such property."""
    always = Feature.UNPLUGGED_INACCESSIBLE in board.always_offers
    return arguments.virtio_mem(
        device.id,
        device.size,
        requested_size=device.requested_size,
        block_size=device.block_size,
        memaddr=device.memaddr,
        node=device.node or None,
        unplugged_inaccessible=None if always else device.unplugged_inaccessible,
        addr=f"{slot:#x}",
    )


class QemuMachine:
    """A running, stopped machine and its devices, by id.

    Raises DeviceError, in QEMU's words, for impossible devices, and BackendError when QEMU is missing, too old or
    gone.
    """

    def __init__(
        self, devices: Sequence[DeviceSpec], machine: MachineSpec | None = None, *, binary: str | None = None
    ) -> None:
        """`machine` defaults to one that the QEMU has, `binary` to the QEMU that has the machine."""
        self._spec = machine or MachineSpec(board_of(binary or BINARY).name)
        binary = binary or self._spec.board.program
        words = [*self._spec.arguments(), *ARGUMENTS, *arguments.MONITOR]
        # A slot each, in order, so that enumerating PCI finds the devices in the order of `devices`.
        for slot, device in enumerate(devices, _FIRST_SLOT):
            words += _device_arguments(device, slot, self._spec.board)
        self._drain: socket.socket | None = None
        with ExitStack() as stack:
            # First, thus closed last: a migration that still writes must not see its reader go before QEMU has ended.
            stack.callback(self._close_drain)
            self.process = stack.enter_context(QemuProcess(words, binary=binary, sockets=("qtest", "qmp")))
            self.qmp = self._connect()
            stack.callback(self.qmp.close)
            self.qtest = QTest(self.process.sockets["qtest"], lost=self.process.lost)
            # Before any device is touched: an interrupt that rises earlier would never be reported as an edge.
            self.qtest.do(irq_intercept_in(self._interrupt_controller()))
            self.version = self.qmp.version()
            self.devices = self._devices(devices)
            self._open = stack.pop_all()

    def system_reset(self) -> None:
        """Reset the machine and do the firmware's part again."""
        # The RESET of an earlier reset must not be taken for that of this one.
        self.qmp.forget_events()
        self.qmp.execute("system_reset")
        # The command returns when the reset is requested; the devices are reset in the main loop afterwards.
        self.qmp.wait_for("RESET", timeout=_SETTLE)
        for device in self.devices.values():
            # A reset clears the BARs and the command register: without the firmware's part the device does not answer.
            device.transport.attach()

    def set_busy(self, busy: bool) -> None:
        """Start a migration into a socket that is never read, or cancel it. Does nothing if already in that state."""
        if busy == (self._drain is not None):
            return
        if not busy:
            self.qmp.execute("migrate_cancel")
            # Cancelling takes a moment in QEMU's migration thread, during which the device still answers BUSY.
            self._wait_until_idle()
            return
        # Our end is never read: once the socket is full the migration stays under way for as long as it is wanted.
        self._drain, theirs = socket.socketpair()
        with theirs:
            self.qmp.send_fd("drain", theirs.fileno())
        # Before it starts: at QEMU's default of 128 MiB/s the pages of a small machine, nearly all zero, could fit into
        # the socket, and the migration would end.
        self.qmp.execute("migrate-set-parameters", {"max-bandwidth": _SLOWEST})
        self.qmp.execute("migrate", {"uri": "fd:drain"})

    def close(self) -> None:
        """End QEMU; harmless when repeated."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _wait_until_idle(self) -> None:
        until = time.monotonic() + _SETTLE
        while self.qmp.ask("query-migrate", shape=Migration).status not in MIGRATION_IDLE:
            if time.monotonic() > until:
                raise BackendTimeout(f"QEMU did not cancel its migration within {_SETTLE:g} s")
            time.sleep(0.01)
        self._close_drain()

    def _close_drain(self) -> None:
        if self._drain is not None:
            self._drain.close()
            self._drain = None

    def _connect(self) -> QmpSession:
        try:
            return QmpSession(self.process.sockets["qmp"], lost=self.process.lost)
        except BackendTimeout:
            raise
        except BackendError:
            # A device that is impossible makes QEMU exit before it greets: the reason is on standard error.
            raise self._refusal() from None

    def _refusal(self) -> BackendError | DeviceError:
        """Why QEMU did not start: an impossible device, a QEMU that knows too little, or anything else."""
        lost = self.process.lost("starting")
        said = " ".join(self.process.output.messages()[-1:])
        option, _, reason = said.partition(": ")
        if any(words in said for words in _TOO_OLD):
            return BackendError(
                f"{self.process.command[0]} is too old, virtiomem needs QEMU 6.1 or newer: {reason or said}"
            )
        return DeviceError(reason) if option.startswith("-device virtio-mem-pci") else lost

    def _interrupt_controller(self) -> str:
        """Return the device's path in QEMU's object tree, found by the name or type that the board gives."""
        wanted = self._spec.board.interrupt_controller
        if not wanted.startswith("child<"):
            return wanted
        objects = self.qmp.ask("qom-list", {"path": _UNATTACHED}, shape=list[QomObject])
        return next((f"{_UNATTACHED}/{one.name}" for one in objects if one.type == wanted), wanted)

    def _devices(self, specs: Sequence[DeviceSpec]) -> dict[str, "QemuDevice"]:
        functions = find_mem_devices(self.qtest, self._spec.config_space)
        # A device behind a bridge, or one of another transport, would shift all that follow.
        if len(functions) != len(specs):
            raise BackendError(f"QEMU {self.version} shows {len(functions)} virtio-mem devices of {len(specs)}")
        devices: dict[str, QemuDevice] = {}
        window = self._spec.board.bar_window
        for number, (spec, function) in enumerate(zip(specs, functions, strict=True)):
            memory = Read(self._spec.board.ram_start + RING_OFFSET + number * RING_SIZE, RING_SIZE)
            transport = QtestPciTransport(self.qtest, function, window=window, memory=memory)
            window = transport.window_end
            devices[spec.id] = QemuDevice(self, spec.id, transport)
        return devices


class QemuDevice:
    """One virtio-mem device of a QemuMachine: `transport` is the driver's side of it, the rest is its `Owner`'s."""

    def __init__(self, machine: QemuMachine, id: str, transport: QtestPciTransport) -> None:
        self.id = id
        self.transport = transport
        self._machine = machine
        self._path = path_of(id)
        self._channel: VringChannel | None = None

    def channel(self, *, indirect: bool = False) -> VringChannel:
        """Bring the virtio device up for a driver, which from now on hears of every resize."""
        self._channel = VringChannel(self.transport, indirect=indirect)
        return self._channel

    def set_requested_size(self, size: int) -> None:
        """Set the property, in bytes; raises DeviceError, in QEMU's words, when it is refused."""
        self._machine.qmp.execute(SET, requested_size(self._path, size))
        if self._channel is not None:
            # No interrupt handler of ours runs: reading the status is how the driver hears of the change.
            self._channel.poll()

    def requested_size(self) -> int:
        """The property, in bytes."""
        return self._machine.qmp.ask(GET, property_of(self._path, "requested-size"), shape=NUMBER)

    def size(self) -> int:
        """The plugged size that QEMU reports, in bytes."""
        return self._machine.qmp.ask(GET, property_of(self._path, "size"), shape=NUMBER)

    def system_reset(self) -> None:
        """Reset the machine; every device of it is as the firmware leaves it, and has no driver."""
        self._machine.system_reset()
        self._channel = None

    def set_busy(self, busy: bool) -> None:
        """Start a migration that does not end by itself, or cancel it."""
        self._machine.set_busy(busy)
