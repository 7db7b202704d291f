"""A virtio device whose registers are addresses, reached by reading and writing a machine's memory.

`RegisterTransport` does all that a driver does to a device; where the registers lie, and how wide they are, is a table,
one for each transport of the specification (`qtest_pci`: 4.1, `virtio_mmio`: 4.2). The reading and writing is QEMU's
qtest protocol, spoken by QEMU or by a program inside a guest (`hands`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from virtiomem.errors import BackendError, ProtocolError
from virtiomem.qemu.qtest import (
    QTest,
    QtestCommand,
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
from virtiomem.wire.mem import CONFIG_SIZE, Config
from virtiomem.wire.ring import Layout

_GAP = 64
"""Two reads at most this many bytes apart are made as one."""
_PAUSE = 0.001
"""Seconds between two looks at a device that is being reset."""
MOST_READS = 100
"""Times that a configuration is read: one that a driver can use stands still between two changes."""


class Register(NamedTuple):
    """Place of a register, and its width in bytes: 1, 2 or 4."""

    addr: int
    width: int = 4

    def get(self) -> QtestCommand:
        """Read it."""
        return _READ[self.width](self.addr)

    def set(self, value: int) -> QtestCommand:
        """Write it."""
        return _WRITE[self.width](self.addr, value)


_READ = {1: readb, 2: readw, 4: readl}
_WRITE = {1: writeb, 2: writew, 4: writel}


@dataclass(frozen=True, slots=True)
class RegisterTable:
    """The registers of a device with one queue; `desc`, `driver`, `device` are the addresses' low halves."""

    device_feature_select: Register
    device_feature: Register
    driver_feature_select: Register
    driver_feature: Register
    status: Register
    generation: Register
    queue_select: Register
    queue_size_max: Register
    queue_size: Register
    queue_enable: Register
    desc: Register
    driver: Register
    device: Register
    notify: Register
    isr: Register
    config: int
    acknowledge: Register | None = None
    """Where an interrupt is acknowledged; None when reading `isr` does it."""


class RegisterTransport:
    """A `transport.virtio_transport.VirtioTransport` to a device by its registers."""

    # QEMU 10 works when its main loop comes by, which on a busy host may be late.
    patience = 2.0

    store: Callable[[int, bytes], QtestCommand] = staticmethod(write)
    """How guest memory is written."""

    def __init__(self, qtest: QTest, registers: RegisterTable, memory: Read) -> None:
        """`memory` is guest RAM for its ring."""
        self.memory = memory
        self._qtest = qtest
        self._at = registers

    def move(self, elsewhere: "RegisterTransport") -> None:
        """Take over another transport's connection: to the same device after a machine reset."""
        self.memory, self.store = elsewhere.memory, elsewhere.store
        self._qtest, self._at = elsewhere._qtest, elsewhere._at

    # --- registers ---

    def offered(self) -> int:
        """Feature bits that the device offers."""
        # Two windows of 32 bits: VERSION_1 is bit 32, in the second.
        select, value = self._at.device_feature_select, self._at.device_feature
        _, low, _, high = self._qtest.run([select.set(0), value.get(), select.set(1), value.get()])
        return int(low) | int(high) << 32

    def accept(self, features: int) -> None:
        """Write the driver's feature bits."""
        select, value = self._at.driver_feature_select, self._at.driver_feature
        low, high = features & 0xFFFFFFFF, features >> 32
        self._qtest.run([select.set(0), value.set(low), select.set(1), value.set(high)])

    def status(self) -> int:
        """The device status byte."""
        return int(self._qtest.do(self._at.status.get()))

    def set_status(self, status: int) -> None:
        """Write the device status byte; 0 resets, and is read back until it shows (4.1.4.3.2)."""
        self._qtest.do(self._at.status.set(status))
        until = time.monotonic() + self.patience
        while not status and self.status():
            if time.monotonic() > until:
                raise BackendError(f"the device does not come out of its reset within {self.patience:g} s")
            time.sleep(_PAUSE)

    def queue_size(self) -> int:
        """The size of queue 0."""
        return int(self._qtest.run([self._at.queue_select.set(0), self._at.queue_size_max.get()])[1])

    def enable_queue(self, layout: Layout) -> None:
        """Place queue 0 and enable it."""
        commands = [self._at.queue_select.set(0), self._at.queue_size.set(layout.size)]
        for register, addr in (
            (self._at.desc, layout.desc),
            (self._at.driver, layout.avail),
            (self._at.device, layout.used),
        ):
            # 64-bit registers may be written by halves on either transport, and on MMIO only so.
            commands.append(writel(register.addr, addr & 0xFFFFFFFF))
            commands.append(writel(register.addr + 4, addr >> 32))
        self._qtest.run([*commands, self._at.queue_enable.set(1)])

    def observe(self) -> Observation:
        """Look at all registers."""
        return self._observation(self._qtest.run(self._look()))

    def config(self) -> bytes:
        """The configuration space, read again until its generation stood still (2.5.1)."""
        generation = self._at.generation.get()
        for _ in range(MOST_READS):
            before, config, after = self._qtest.run([generation, read(self._at.config, CONFIG_SIZE), generation])
            if before == after:
                return bytes(config)
        raise ProtocolError(f"the configuration's generation changed in each of {MOST_READS} reads")

    def write_config(self, offset: int, data: bytes) -> None:
        """Write to the configuration space."""
        self._qtest.do(write(self._at.config + offset, data))

    def take_interrupt(self) -> int:
        """The interrupt status, which this clears."""
        return self._acknowledged(int(self._qtest.do(self._at.isr.get())))

    # --- the ring ---

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True) -> list[bytes]:
        """Write, notify the device, read: one round trip."""
        pieces = _pieces(reads)
        commands = self._exchange(writes, pieces, notify=notify)
        return _fetched(self._qtest.run(commands)[len(commands) - len(pieces) :], pieces, reads)

    def exchange_and_observe(
        self, writes: Sequence[Write], reads: Sequence[Read], *, notify: bool = True
    ) -> tuple[list[bytes], Observation]:
        """Write, notify the device, read, look: one round trip."""
        pieces, look = _pieces(reads), self._look()
        values = self._qtest.run([*self._exchange(writes, pieces, notify=notify), *look])
        fetched = values[len(values) - len(look) - len(pieces) : len(values) - len(look)]
        return _fetched(fetched, pieces, reads), self._observation(values[-len(look) :])

    def _exchange(self, writes: Sequence[Write], pieces: Sequence[Read], *, notify: bool) -> list[QtestCommand]:
        commands = [self.store(addr, data) for addr, data in _joined(writes)]
        if notify:
            commands.append(self._at.notify.set(0))
        # After the notification in the same batch: a device that answers at once costs one round trip.
        return commands + [read(addr, size) for addr, size in pieces]

    def _look(self) -> list[QtestCommand]:
        at = self._at
        return [read(at.config, CONFIG_SIZE), at.status.get(), at.isr.get(), at.generation.get()]

    def _observation(self, values: Sequence[Any]) -> Observation:
        config, status, isr, generation = values
        return Observation(Config.unpack(config), status, self._acknowledged(isr), generation)

    def _acknowledged(self, isr: int) -> int:
        """The interrupt status; only the bits that were seen are cleared, where reading it did not."""
        # Only what was seen: a bit that rose since would be lost.
        if isr and self._at.acknowledge is not None:
            self._qtest.do(self._at.acknowledge.set(isr))
        return isr


def _joined(writes: Sequence[Write]) -> list[Write]:
    """Join writes that follow each other both in memory and in time, such as entries of a ring."""
    joined: list[Write] = []
    for addr, data in writes:
        # Never across time: a device that runs meanwhile must not see an index before its entries.
        if joined and joined[-1].addr + len(joined[-1].data) == addr:
            joined[-1] = Write(joined[-1].addr, joined[-1].data + data)
        elif data:
            joined.append(Write(addr, data))
    return joined


def _pieces(reads: Sequence[Read]) -> list[Read]:
    """Return the reads that cover these registers; registers close to each other share one. qtest has no empty reads."""
    pieces: list[Read] = []
    for addr, size in reads:
        if pieces and size and pieces[-1].addr <= addr <= pieces[-1].addr + pieces[-1].size + _GAP:
            first = pieces[-1].addr
            pieces[-1] = Read(first, max(pieces[-1].size, addr + size - first))
        elif size:
            pieces.append(Read(addr, size))
    return pieces


def _fetched(values: Sequence[bytes], pieces: Sequence[Read], reads: Sequence[Read]) -> list[bytes]:
    """Cut the bytes that were read into the registers asked for."""
    fetched, number = [], 0
    for addr, size in reads:
        while size and not pieces[number].addr <= addr < addr + size <= pieces[number].addr + pieces[number].size:
            number += 1
        start = addr - pieces[number].addr if size else 0
        fetched.append(bytes(values[number][start : start + size]) if size else b"")
    return fetched
