"""A virtio-mem device reached from inside a guest, whatever VMM runs it: the program `guest/hands/hands.c` is our hands there.

It speaks QEMU's qtest protocol over the guest's console and greets first with what it found: where its ring may lie, and each
virtio-mem device, on PCI with the addresses that the firmware gave its BARs, or memory-mapped.
"""

import re
from dataclasses import dataclass

from virtiomem.errors import BackendError
from virtiomem.qemu.qtest import QTest, QtestCommand, no_value, number, write
from virtiomem.text import quoted
from virtiomem.transport.qtest_pci import ConfigSpace, PciFunction, QtestPciTransport
from virtiomem.transport.register_transport import RegisterTransport
from virtiomem.transport.virtio_mmio import VirtioMmioTransport
from virtiomem.transport.virtio_transport import Read
from virtiomem.wire import pci

GREETING = "virtiomem-hands 1"
REBOOT = b"reboot\n"
"""Command that resets the machine; it is not answered."""

_CLOSE = 3
"""Unchanged bytes between two changes that are sent along, since a second piece would be longer."""

# The guest is not trusted with numbers either: 64 bits at most.
_HEX = r"0x[0-9a-f]{1,16}|0"
_RING = re.compile(rf"({_HEX})\+({_HEX})")
_PCI = re.compile(rf"([0-9a-f:.]{{1,32}})@((?:{_HEX})(?:,(?:{_HEX})){{{pci.BARS - 1}}})")
_MMIO = re.compile(_HEX)


@dataclass(frozen=True, slots=True)
class Greeting:
    """Hardware that the hands found: guest memory for a ring, PCI functions with the addresses of their BARs, register
    files.
    """

    ring: Read
    functions: tuple[tuple[str, tuple[int, ...]], ...]
    register_files: tuple[int, ...]


def read_greeting(line: str) -> Greeting:
    """Read the first line of the hands; raises BackendError for any other line, and with the reason that the hands give."""
    words = line.removeprefix(GREETING)
    if words.startswith(" error="):
        raise BackendError(f"the hands in the guest cannot work: {quoted(words.removeprefix(' error='))}")
    ring: Read | None = None
    functions, files = [], []
    for word in words.split():
        key, _, value = word.partition("=")
        if key == "ring" and (found := _RING.fullmatch(value)):
            ring = Read(int(found[1], 16), int(found[2], 16))
        elif key == "pci" and (found := _PCI.fullmatch(value)):
            functions.append((found[1], tuple(int(bar, 16) for bar in found[2].split(","))))
        elif key == "mmio" and _MMIO.fullmatch(value):
            files.append(int(value, 16))
        else:
            raise BackendError(f"the hands in the guest said {quoted(line)}, which cannot be read at {quoted(word)}")
    if ring is None:
        raise BackendError(f"the hands in the guest said {quoted(line)}, without memory for a ring")
    # Sorted by PCI address: the guest lists them in the order of its directory.
    return Greeting(ring, tuple(sorted(functions)), tuple(files))


class SysfsConfigSpace:
    """A function's configuration space as Linux in the guest gives it."""

    def __init__(self, name: str) -> None:
        """`name` such as ``0000:00:04.0``."""
        self._name = name

    def read(self, devfn: int, offset: int) -> list[QtestCommand]:  # noqa: ARG002 - the name says which function
        """Read the file."""
        # Through sysfs and not the ports: on a running Linux the kernel uses CF8/CFC itself, and a pair of accesses is
        # not atomic.
        return [QtestCommand(f"pciread {self._name} {offset:#x}", number(4))]

    def write(self, devfn: int, offset: int, value: int, *, width: int = 4) -> list[QtestCommand]:  # noqa: ARG002
        """Write the file."""
        return [QtestCommand(f"pciwrite {self._name} {offset:#x} {width} {value:#x}", no_value)]


class PlacedFunction(PciFunction):
    """A function to which the firmware, or Linux, has given its addresses."""

    def __init__(self, qtest: QTest, name: str, addresses: tuple[int, ...]) -> None:
        space: ConfigSpace = SysfsConfigSpace(name)
        super().__init__(qtest, space, 0)
        self.name = f"PCI function {name}"
        self._addresses = addresses

    def assign_bars(self, window: int) -> tuple[dict[int, int], int]:
        """The addresses that the BARs have."""
        # Moving a BAR would take it away from the window that the firmware gave the bridge.
        return {number: addr for number, addr in enumerate(self._addresses) if addr}, window

    def enable(self) -> None:
        """Let it answer and reach memory; its interrupt line stays silent, since no handler in the guest would take it."""
        command = pci.COMMAND_MEMORY | pci.COMMAND_MASTER | pci.COMMAND_INTX_DISABLE
        self._qtest.run(self._space.write(self.devfn, pci.COMMAND, command, width=2))


class RingWriter:
    """Writes to the ring by sending only the bytes that changed, because the serial port is slow."""

    def __init__(self, ring: Read) -> None:
        self._start = ring.addr
        # Zeros at first, as in the hands' own copy (`written` in hands.c), which theirs is patched against.
        self._written = bytearray(ring.size)

    def __call__(self, addr: int, data: bytes) -> QtestCommand:
        """The shorter command of the two that write these bytes."""
        plain = write(addr, data)
        offset = addr - self._start
        # What lies elsewhere was never written by us, so that a difference is not known.
        if not 0 <= offset <= len(self._written) - len(data):
            return plain
        before = bytes(self._written[offset : offset + len(data)])
        self._written[offset : offset + len(data)] = data
        pieces = (f" {start:x}:{data[start:stop].hex()}" for start, stop in _different(before, data))
        again = f"again {addr:#x} {len(data):#x}{''.join(pieces)}"
        return QtestCommand(again, no_value) if len(again) < len(plain.line) else plain


def _different(before: bytes, data: bytes) -> list[tuple[int, int]]:
    """Return the differing bytes as pieces, joined where they lie close together."""
    pieces: list[tuple[int, int]] = []
    for at in (at for at, (old, new) in enumerate(zip(before, data, strict=True)) if old != new):
        if pieces and at - pieces[-1][1] <= _CLOSE:
            pieces[-1] = (pieces[-1][0], at + 1)
        else:
            pieces.append((at, at + 1))
    return pieces


def open_device(qtest: QTest, greeting: Greeting) -> RegisterTransport:
    """The first device that the hands found; raises BackendError when they found none."""
    transport: RegisterTransport
    if greeting.functions:
        function = PlacedFunction(qtest, *greeting.functions[0])
        transport = QtestPciTransport(qtest, function, window=0, memory=greeting.ring)
    elif greeting.register_files:
        transport = VirtioMmioTransport(qtest, greeting.register_files[0], greeting.ring)
    else:
        raise BackendError("Linux in the guest sees no virtio-mem device, neither on PCI (1af4:1058) nor memory-mapped")
    transport.store = RingWriter(greeting.ring)
    transport.set_status(0)  # virtio_pci, where it was built in, has acknowledged the device before it let go
    return transport
