"""QEMU's own virtio-mem device behind a transport: PCI enumeration and modern virtio-pci, over the qtest socket.

The machine is stopped and has no firmware running, so this is also what gives the device its addresses. Up to QEMU 9 the
device works while it is notified, so an answer comes with the same round trip; newer ones work when their main loop comes
by. The interrupt line (INTx, at the interrupt controller's input) shows in `QTest.irqs`, the reason in the interrupt status, which is
read along.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from virtiomem.errors import BackendError, ProtocolError
from virtiomem.qemu.qtest import (
    QTest,
    QtestCommand,
    inl,
    outl,
    outw,
    read,
    readb,
    readl,
    readw,
    write,
    writeb,
    writel,
    writew,
)
from virtiomem.transport.virtio_transport import Observation, Read, Write
from virtiomem.units import align_up
from virtiomem.wire import pci
from virtiomem.wire.mem import CONFIG_SIZE, DEVICE_ID, Config
from virtiomem.wire.pci import CapabilityType, Common
from virtiomem.wire.ring import Layout

_CONFIG_ADDRESS = 0xCF8
_CONFIG_DATA = 0xCFC
_ENABLE = 1 << 31

_PAUSE = 0.001
"""Seconds between two looks at a device that is being reset."""


class ConfigSpace(Protocol):
    """The way to the configuration spaces of bus 0; `devfn` is device << 3 | function."""

    def read(self, devfn: int, offset: int) -> list[QtestCommand]:
        """Read an aligned 32-bit register: the value of the last command."""

    def write(self, devfn: int, offset: int, value: int, *, width: int = 4) -> list[QtestCommand]:
        """Write an aligned register of 2 or 4 bytes."""


class PortConfigSpace:
    """Configuration mechanism 1: two I/O ports."""

    def read(self, devfn: int, offset: int) -> list[QtestCommand]:
        """Select, and read the data port."""
        return [self._select(devfn, offset), inl(_CONFIG_DATA)]

    def write(self, devfn: int, offset: int, value: int, *, width: int = 4) -> list[QtestCommand]:
        """Select, and write the data port."""
        return [self._select(devfn, offset), (outl if width == 4 else outw)(_CONFIG_DATA, value)]

    def _select(self, devfn: int, offset: int) -> QtestCommand:
        return outl(_CONFIG_ADDRESS, _ENABLE | devfn << 8 | offset & ~3)


class MemoryConfigSpace:
    """The enhanced mechanism (ECAM): 4 KiB of memory for each function from `base` on."""

    def __init__(self, base: int) -> None:
        self._base = base

    def read(self, devfn: int, offset: int) -> list[QtestCommand]:
        """Read memory."""
        return [readl(self._base + (devfn << 12) + offset)]

    def write(self, devfn: int, offset: int, value: int, *, width: int = 4) -> list[QtestCommand]:
        """Write memory."""
        return [(writel if width == 4 else writew)(self._base + (devfn << 12) + offset, value)]


class PciFunction:
    """One function on bus 0, reached through a `ConfigSpace`; `devfn` is device << 3 | function."""

    def __init__(self, qtest: QTest, space: ConfigSpace, devfn: int) -> None:
        self._qtest = qtest
        self._space = space
        self.devfn = devfn

    def config_space(self, size: int = pci.CONFIG_SPACE_SIZE) -> bytes:
        """The first bytes of the configuration space, in one round trip."""
        reads = [self._space.read(self.devfn, offset) for offset in range(0, size, 4)]
        values = self._qtest.run([command for one in reads for command in one])
        each = len(reads[0])
        return b"".join(value.to_bytes(4, "little") for value in values[each - 1 :: each])

    def write_config(self, offset: int, value: int) -> None:
        """Write an aligned 32-bit register."""
        self._qtest.run(self._space.write(self.devfn, offset, value))

    def enable(self) -> None:
        """Let the function answer at its BARs and reach memory."""
        command = pci.COMMAND_MEMORY | pci.COMMAND_MASTER
        self._qtest.run(self._space.write(self.devfn, pci.COMMAND, command, width=2))

    def assign_bars(self, window: int) -> tuple[dict[int, int], int]:
        """Give every memory BAR an address from `window` on: number to address, and where the next may go."""
        registers = [pci.BAR0 + 4 * number for number in range(pci.BARS)]
        for register in registers:
            self.write_config(register, 0xFFFFFFFF)
        space = self.config_space(registers[-1] + 4)
        probed = [int.from_bytes(space[register : register + 4], "little") for register in registers]
        for register in registers:
            self.write_config(register, 0)
        addresses: dict[int, int] = {}
        for bar in pci.memory_bars(probed):
            window = align_up(window, bar.size)
            addresses[bar.number] = window
            self.write_config(registers[bar.number], window & 0xFFFFFFFF)
            if bar.wide:
                self.write_config(registers[bar.number + 1], window >> 32)
            window += bar.size
        return addresses, window


def find_functions(qtest: QTest, space: ConfigSpace, vendor: int, device: int) -> Iterator[PciFunction]:
    """The functions of bus 0 with these ids, in order."""
    for slot in range(32):
        first = PciFunction(qtest, space, slot << 3)
        header = first.config_space(pci.HEADER_TYPE + 2)
        if pci.device_id(header)[0] == 0xFFFF:
            continue
        functions = 8 if header[pci.HEADER_TYPE] & pci.MULTI_FUNCTION else 1
        for number in range(functions):
            function = PciFunction(qtest, space, slot << 3 | number)
            if pci.device_id(function.config_space(4)) == (vendor, device):
                yield function


def find_mem_devices(qtest: QTest, space: ConfigSpace) -> list[PciFunction]:
    """Every virtio-mem device of the machine, in slot order."""
    return list(find_functions(qtest, space, pci.VIRTIO_VENDOR, pci.MODERN_DEVICE_BASE + DEVICE_ID))


class QtestPciTransport:
    """A `transport.virtio_transport.VirtioTransport` to a virtio-pci device of a QEMU under qtest."""

    patience = 2.0

    def __init__(self, qtest: QTest, function: PciFunction, *, window: int, memory: Read) -> None:
        """Give the device addresses from `window` on; `memory` is guest RAM for its ring.

        Raises ProtocolError when it is no modern virtio device.
        """
        self.memory = memory
        self.window_end = window
        self._qtest = qtest
        self._function = function
        self._window = window
        self._common = self._notify = self._isr = self._device = 0
        self.attach()

    def attach(self) -> None:
        """Do what firmware does: assign BARs, enable the function, find the virtio structures."""
        addresses, self.window_end = self._function.assign_bars(self._window)
        self._function.enable()
        found = pci.virtio_capabilities(self._function.config_space())

        def address(kind: CapabilityType) -> int:
            if kind not in found or found[kind].bar not in addresses:
                raise ProtocolError(f"PCI function {self._function.devfn:#x} has no virtio {kind.name} structure")
            return addresses[found[kind].bar] + found[kind].offset

        self._common, self._isr = address(CapabilityType.COMMON), address(CapabilityType.ISR)
        self._device = address(CapabilityType.DEVICE)
        offset = self._qtest.run([self._write(Common.QUEUE_SELECT, 0), self._read(Common.QUEUE_NOTIFY_OFF)])[1]
        self._notify = address(CapabilityType.NOTIFY) + offset * found[CapabilityType.NOTIFY].notify_multiplier

    # --- registers ---

    def offered(self) -> int:
        """Feature bits that the device offers."""
        select, value = Common.DEVICE_FEATURE_SELECT, Common.DEVICE_FEATURE
        _, low, _, high = self._qtest.run(
            [self._write(select, 0), self._read(value), self._write(select, 1), self._read(value)]
        )
        return int(low) | int(high) << 32

    def accept(self, features: int) -> None:
        """Write the driver's feature bits."""
        select, value = Common.DRIVER_FEATURE_SELECT, Common.DRIVER_FEATURE
        low, high = features & 0xFFFFFFFF, features >> 32
        self._qtest.run(
            [self._write(select, 0), self._write(value, low), self._write(select, 1), self._write(value, high)]
        )

    def status(self) -> int:
        """The device status byte."""
        return int(self._qtest.do(self._read(Common.DEVICE_STATUS)))

    def set_status(self, status: int) -> None:
        """Write the device status byte; 0 resets, and is read back until it shows (4.1.4.3.2)."""
        self._qtest.do(self._write(Common.DEVICE_STATUS, status))
        until = time.monotonic() + self.patience
        while not status and self.status():
            if time.monotonic() > until:
                raise BackendError(f"the device does not come out of its reset within {self.patience:g} s")
            time.sleep(_PAUSE)

    def queue_size(self) -> int:
        """The size of queue 0."""
        return int(self._qtest.run([self._write(Common.QUEUE_SELECT, 0), self._read(Common.QUEUE_SIZE)])[1])

    def enable_queue(self, layout: Layout) -> None:
        """Place queue 0 and enable it."""
        commands = [self._write(Common.QUEUE_SELECT, 0), self._write(Common.QUEUE_SIZE, layout.size)]
        for register, addr in (
            (Common.QUEUE_DESC, layout.desc),
            (Common.QUEUE_DRIVER, layout.avail),
            (Common.QUEUE_DEVICE, layout.used),
        ):
            commands.append(writel(self._common + register, addr & 0xFFFFFFFF))
            commands.append(writel(self._common + register + 4, addr >> 32))
        self._qtest.run([*commands, self._write(Common.QUEUE_ENABLE, 1)])

    def observe(self) -> Observation:
        """Look at all registers."""
        return _observation(self._qtest.run(self._look()))

    def config(self) -> bytes:
        """The configuration space, read again until its generation stood still (2.5.1)."""
        generation = self._read(Common.CONFIG_GENERATION)
        while True:
            before, config, after = self._qtest.run([generation, read(self._device, CONFIG_SIZE), generation])
            if before == after:
                return bytes(config)

    def write_config(self, offset: int, data: bytes) -> None:
        """Write to the configuration space."""
        self._qtest.do(write(self._device + offset, data))

    def take_interrupt(self) -> int:
        """The interrupt status, which this clears."""
        return int(self._qtest.do(readb(self._isr)))

    # --- the ring ---

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True) -> list[bytes]:
        """Write, notify the device, read: one round trip."""
        commands = self._exchange(writes, reads, notify=notify)
        return _fetched(self._qtest.run(commands)[len(commands) - _wanted(reads) :], reads)

    def exchange_and_observe(
        self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True
    ) -> tuple[list[bytes], Observation]:
        """Write, notify the device, read, look: one round trip."""
        look = self._look()
        values = self._qtest.run([*self._exchange(writes, reads, notify=notify), *look])
        fetched = values[len(values) - len(look) - _wanted(reads) : len(values) - len(look)]
        return _fetched(fetched, reads), _observation(values[-len(look) :])

    def _exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool) -> list[QtestCommand]:
        commands = [write(addr, data) for addr, data in writes if data]
        if notify:
            commands.append(writew(self._notify, 0))
        return commands + [read(addr, size) for addr, size in reads if size]

    def _look(self) -> list[QtestCommand]:
        return [
            read(self._device, CONFIG_SIZE),
            self._read(Common.DEVICE_STATUS),
            readb(self._isr),
            self._read(Common.CONFIG_GENERATION),
        ]

    # --- register access of the width that the specification gives each (4.1.3.1) ---

    def _read(self, register: Common) -> QtestCommand:
        return _READ[_WIDTH[register]](self._common + register)

    def _write(self, register: Common, value: int) -> QtestCommand:
        return _WRITE[_WIDTH[register]](self._common + register, value)


_WIDTH = dict.fromkeys(Common, 4) | {
    register: 2
    for register in Common
    if Common.CONFIG_VECTOR <= register <= Common.QUEUE_NOTIFY_OFF or register >= Common.QUEUE_NOTIFY_DATA
}
_WIDTH |= {Common.DEVICE_STATUS: 1, Common.CONFIG_GENERATION: 1}
_READ = {1: readb, 2: readw, 4: readl}
_WRITE = {1: writeb, 2: writew, 4: writel}


def _wanted(reads: Sequence[Read]) -> int:
    """How many reads go over the wire: qtest knows no empty ones."""
    return sum(1 for _, size in reads if size)


def _fetched(values: Sequence[Any], reads: Sequence[Read]) -> list[bytes]:
    rest = iter(values)
    return [bytes(next(rest)) if size else b"" for _, size in reads]


def _observation(values: Sequence[Any]) -> Observation:
    config, status, isr, generation = values
    return Observation(Config.unpack(config), status, isr, generation)
