"""QEMU's own virtio-mem device behind a transport: PCI enumeration and modern virtio-pci, over the qtest socket.

The machine is stopped and has no firmware running, so this is also what gives the device its addresses. Up to QEMU 9
the device works while it is notified, so an answer comes with the same round trip; newer ones work when their main loop
comes by. The interrupt line (INTx, at the interrupt controller's input) shows in `QTest.irqs`, the reason in the
interrupt status, which is read along.
"""

from collections.abc import Iterator
from typing import Protocol

from virtiomem.errors import ProtocolError
from virtiomem.qemu.qtest import QTest, QtestCommand, inl, outl, outw, readl, writel, writew
from virtiomem.transport.register_transport import Register, RegisterTable, RegisterTransport
from virtiomem.transport.virtio_transport import Read
from virtiomem.units import align_up
from virtiomem.wire import pci
from virtiomem.wire.mem import DEVICE_ID
from virtiomem.wire.pci import CapabilityType, Common

_CONFIG_ADDRESS = 0xCF8
_CONFIG_DATA = 0xCFC
_ENABLE = 1 << 31


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
        self.name = f"PCI function {devfn:#x}"

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
            # What reads back as 0 cannot be written: that tells a BAR's size.
            self.write_config(register, 0xFFFFFFFF)
        space = self.config_space(registers[-1] + 4)
        probed = [int.from_bytes(space[register : register + 4], "little") for register in registers]
        for register in registers:
            # All are cleared before any is placed: BARs that get no address, as those for I/O, must not keep their
            # ones.
            self.write_config(register, 0)
        addresses: dict[int, int] = {}
        for bar in pci.memory_bars(probed):
            # A BAR decodes by its high bits, so that it must be aligned to its size.
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
        # Up to the register with the header type: the rest of an empty slot is not worth a round trip.
        header = first.config_space(pci.HEADER_TYPE + 2)
        if pci.device_id(header)[0] == 0xFFFF:
            continue
        # Without the bit other functions may answer as copies of function 0.
        functions = 8 if header[pci.HEADER_TYPE] & pci.MULTI_FUNCTION else 1
        for number in range(functions):
            function = PciFunction(qtest, space, slot << 3 | number)
            if pci.device_id(function.config_space(4)) == (vendor, device):
                yield function


def find_mem_devices(qtest: QTest, space: ConfigSpace) -> list[PciFunction]:
    """Every virtio-mem device of the machine, in slot order."""
    return list(find_functions(qtest, space, pci.VIRTIO_VENDOR, pci.MODERN_DEVICE_BASE + DEVICE_ID))


class QtestPciTransport(RegisterTransport):
    """A `transport.virtio_transport.VirtioTransport` to a modern virtio-pci device."""

    def __init__(self, qtest: QTest, function: PciFunction, *, window: int, memory: Read) -> None:
        """Give the device addresses from `window` on; `memory` is guest RAM for its ring.

        Raises ProtocolError when it is not a modern virtio device.
        """
        self._function = function
        self._window = self.window_end = window
        super().__init__(qtest, self._registers(qtest), memory)

    def attach(self) -> None:
        """Set the function up again after a machine reset, as firmware would."""
        self._at = self._registers(self._qtest)

    def _registers(self, qtest: QTest) -> RegisterTable:
        """Do what firmware does: assign BARs, enable the function, find the virtio structures."""
        addresses, self.window_end = self._function.assign_bars(self._window)
        self._function.enable()
        found = pci.virtio_capabilities(self._function.config_space())

        def address(kind: CapabilityType) -> int:
            if kind not in found or found[kind].bar not in addresses:
                raise ProtocolError(f"{self._function.name} has no virtio {kind.name} structure")
            return addresses[found[kind].bar] + found[kind].offset

        common = address(CapabilityType.COMMON)

        def register(which: Common) -> Register:
            return Register(common + which, _WIDTH[which])

        select, offset = register(Common.QUEUE_SELECT), register(Common.QUEUE_NOTIFY_OFF)
        # Where a queue is notified is the device's choice, in units of the multiplier.
        times = qtest.run([select.set(0), offset.get()])[1]
        return RegisterTable(
            device_feature_select=register(Common.DEVICE_FEATURE_SELECT),
            device_feature=register(Common.DEVICE_FEATURE),
            driver_feature_select=register(Common.DRIVER_FEATURE_SELECT),
            driver_feature=register(Common.DRIVER_FEATURE),
            status=register(Common.DEVICE_STATUS),
            generation=register(Common.CONFIG_GENERATION),
            queue_select=select,
            queue_size_max=register(Common.QUEUE_SIZE),
            queue_size=register(Common.QUEUE_SIZE),
            queue_enable=register(Common.QUEUE_ENABLE),
            desc=register(Common.QUEUE_DESC),
            driver=register(Common.QUEUE_DRIVER),
            device=register(Common.QUEUE_DEVICE),
            notify=Register(
                address(CapabilityType.NOTIFY) + times * found[CapabilityType.NOTIFY].notify_multiplier, width=2
            ),
            isr=Register(address(CapabilityType.ISR), width=1),
            config=address(CapabilityType.DEVICE),
        )


_WIDTH = dict.fromkeys(Common, 4) | {
    register: 2
    for register in Common
    if Common.CONFIG_VECTOR <= register <= Common.QUEUE_NOTIFY_OFF or register >= Common.QUEUE_NOTIFY_DATA
}
_WIDTH |= {Common.DEVICE_STATUS: 1, Common.CONFIG_GENERATION: 1}
"""The width that the specification gives each register (4.1.3.1)."""
