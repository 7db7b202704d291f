"""Our device behind memory-mapped registers, spoken to in qtest's lines: what a guest's console leads to, without a guest."""

from virtiomem.device.mem import MemDevice
from virtiomem.transport.embedded import RAM_BASE, RAM_SIZE, EmbeddedTransport
from virtiomem.wire.mem import DEVICE_ID
from virtiomem.wire.mmio import MAGIC, VERSION, Mmio
from virtiomem.wire.ring import Layout

BASE = 0xD000_0000
GREETING = f"virtiomem-hands 1 ring={RAM_BASE:#x}+{RAM_SIZE:#x} mmio={BASE:#x}"

_SELECTORS = (Mmio.DEVICE_FEATURES_SEL, Mmio.DRIVER_FEATURES_SEL, Mmio.QUEUE_SEL)


class RegisterFile:
    """A device at BASE, and the memory of its guest."""

    def __init__(self, mem: MemDevice, *, identity: tuple[int, int, int] = (MAGIC, VERSION, DEVICE_ID)) -> None:
        self.transport = EmbeddedTransport(mem)
        self._device = self.transport.device
        self._identity = dict(zip((Mmio.MAGIC_VALUE, Mmio.VERSION, Mmio.DEVICE_ID), identity, strict=True))
        self._written: dict[int, int] = {}
        self._kept = bytearray(RAM_SIZE)
        self._isr = 0

    def answer(self, line: str) -> str:
        """Obey a line, as the hands in a guest do."""
        match line.split():
            case ["readl", addr]:
                return f"OK {self._read(int(addr, 16) - BASE):#x}"
            case ["writel", addr, value]:
                self._write(int(addr, 16) - BASE, int(value, 16))
                return "OK"
            case ["read", addr, size]:
                return f"OK 0x{self._bytes(int(addr, 16), int(size, 16)).hex()}"
            case ["write", addr, _, data]:
                self._store(int(addr, 16), bytes.fromhex(data[2:]))
                return "OK"
            case ["again", addr, size, *pieces]:
                self._again(int(addr, 16), int(size, 16), pieces)
                return "OK"
        return f"ERR unknown {line}"

    def _again(self, addr: int, size: int, pieces: list[str]) -> None:
        start = addr - RAM_BASE
        for offset, data in (piece.split(":") for piece in pieces):
            at = start + int(offset, 16)
            self._kept[at : at + len(data) // 2] = bytes.fromhex(data)
        self._store(addr, bytes(self._kept[start : start + size]))

    def _bytes(self, addr: int, size: int) -> bytes:
        offset = addr - BASE - Mmio.CONFIG
        if 0 <= offset < 0x100:
            return self.transport.config()[offset : offset + size]
        return self.transport.exchange([], [(addr, size)], notify=False)[0]  # type: ignore[list-item]

    def _store(self, addr: int, data: bytes) -> None:
        if addr < BASE:
            self._kept[addr - RAM_BASE : addr - RAM_BASE + len(data)] = data
            self.transport.exchange([(addr, data)], [], notify=False)  # type: ignore[list-item]

    def _read(self, register: int) -> int:
        written = self._written
        match register:
            case Mmio.DEVICE_FEATURES:
                return self._device.offered >> 32 * written.get(Mmio.DEVICE_FEATURES_SEL, 0) & 0xFFFFFFFF
            case Mmio.QUEUE_NUM_MAX:
                return self._device.queue_size
            case Mmio.STATUS:
                return self._device.status
            case Mmio.CONFIG_GENERATION:
                return self._device.generation
            case Mmio.INTERRUPT_STATUS:
                self._isr |= self._device.read_isr()  # stays until it is acknowledged
                return self._isr
        return self._identity.get(Mmio(register), 0)

    def _write(self, register: int, value: int) -> None:
        if register == Mmio.DRIVER_FEATURES:
            register += 0x1000 * self._written.get(Mmio.DRIVER_FEATURES_SEL, 0)
        self._written[register] = value
        match register:
            case Mmio.STATUS:
                low, high = (self._written.get(Mmio.DRIVER_FEATURES + half, 0) for half in (0, 0x1000))
                if value & 8 and not self._device.status & 8:
                    self._device.accept(low | high << 32)
                self._isr *= bool(value)
                self._device.set_status(value)
            case Mmio.QUEUE_READY:
                desc, avail, used = (
                    self._written[at] | self._written[at + 4] << 32
                    for at in (Mmio.QUEUE_DESC, Mmio.QUEUE_DRIVER, Mmio.QUEUE_DEVICE)
                )
                self._device.enable_queue(Layout(self._written[Mmio.QUEUE_NUM], desc, avail, used))
            case Mmio.QUEUE_NOTIFY:
                self._device.notify()
            case Mmio.INTERRUPT_ACK:
                self._isr &= ~value


class ScriptedConsole:
    """A connection whose other end is a register file."""

    def __init__(self, registers: RegisterFile) -> None:
        self._registers = registers
        self._said = b""

    def settimeout(self, value: float | None, /) -> None:
        """It answers at once."""

    def sendall(self, data: bytes, /) -> None:
        """Obey each line."""
        for line in data.decode().splitlines():
            self._said += f"{self._registers.answer(line)}\n".encode()

    def recv(self, size: int, /) -> bytes:
        """What was answered."""
        said, self._said = self._said[:size], self._said[size:]
        return said

    def close(self) -> None:
        """Nothing to let go of."""
