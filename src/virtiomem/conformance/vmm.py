"""A VMM started by the user's command that boots a guest with our program in it (the hands), and the connection to it.

The command has placeholders for what we bring: a kernel, an initramfs, the kernel's command line; and, where it can
make devices of any shape, for that shape. It runs in a session of its own and is killed with its children.
"""

import re
import shlex
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.conformance.child import Child
from virtiomem.conformance.consoles import open_console
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, UsageError
from virtiomem.guest.hands import command_line, initramfs
from virtiomem.qemu.qtest import ByteChannel, QTest
from virtiomem.text import one_line, quoted, shown
from virtiomem.transport import hands
from virtiomem.transport.register_transport import RegisterTransport
from virtiomem.transport.virtio_transport import DeviceSpec

ANSWER_SECONDS = 30.0

_LONGEST_LINE = 4096
_LOOK = 0.2
"""Seconds between two looks whether a silent VMM still runs."""
_LAST_MOMENTS = 30.0
"""Seconds for the end of a VMM that has closed the console."""
_PANIC = "Kernel panic"

_PLACEHOLDER = re.compile(r"\{([a-z-]+)\}")
_BROUGHT = ("kernel", "initrd", "append")
_SHAPE: Mapping[str, Callable[[DeviceSpec, Architecture], object]] = {
    "size": lambda spec, _: spec.size,
    "block-size": lambda spec, row: spec.block_size or row.transparent_huge_page,
    "requested-size": lambda spec, _: spec.requested_size,
    "memaddr": lambda spec, _: spec.memaddr or 0,
    "node": lambda spec, _: spec.node,
    "unplugged-inaccessible": lambda spec, _: spec.unplugged_inaccessible or "auto",
}
"""Placeholders for the device, in bytes; 0 leaves the address to the VMM."""


@dataclass(frozen=True, slots=True)
class Vmm:
    """Command that starts a guest with hands."""

    command: tuple[str, ...]
    """The words of the user's command, with placeholders."""
    kernel: Path
    program: bytes
    """The hands, compiled for the kernel's architecture."""
    architecture: Architecture = DEFAULT
    append: str = ""
    console: tuple[str, str] | None = None
    """Where the guest's first serial port is (`consoles.read_console`); None for the command's own input and output."""
    seconds: float = 120.0
    """What the guest has from the VMM's start, or its own reboot, to the first word of the hands."""

    @property
    def shapes(self) -> frozenset[str]:
        """Placeholders for the device in the command."""
        return frozenset(_placeholders(self.command)) - set(_BROUGHT)

    def words(self, spec: DeviceSpec, initrd: Path) -> list[str]:
        """The command for a device, each placeholder filled in within its word."""
        brought = {
            "kernel": self.kernel,
            "initrd": initrd,
            "append": command_line(self.architecture, self.append),
        }
        values = {name: str(value(spec, self.architecture)) for name, value in _SHAPE.items()}
        values |= {name: str(value) for name, value in brought.items()}
        # Within the words that the shell's rules have made: a value with blanks stays one word.
        return [_PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), word) for word in self.command]


def read_command(text: str) -> tuple[str, ...]:
    """The words of a --boot command, split as a shell does; raises UsageError for one that cannot boot what we bring."""
    return split(text, "--boot", ("kernel", "initrd", "append"), tuple(_SHAPE))


def split(text: str, option: str, needed: Sequence[str], others: Sequence[str] = ()) -> tuple[str, ...]:
    """The words of a command, as a shell splits them; raises UsageError where a placeholder is missing or unknown."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{option}: {quoted(text)}: {error}") from None
    if not words:
        raise UsageError(f"{option}: an empty command")
    found = _placeholders(words)
    for name in needed:
        if name not in found:
            raise UsageError(f"{option}: {{{name}}} must stand where the command takes it: {quoted(text)}")
    for name in found:
        if name not in (*needed, *others):
            known = ", ".join(f"{{{one}}}" for one in (*needed, *others))
            raise UsageError(f"{option}: {{{name}}} is not a placeholder (there are {known})")
    return words


def _placeholders(words: Sequence[str]) -> list[str]:
    return [match[1] for word in words for match in _PLACEHOLDER.finditer(word)]


class BootedGuest:
    """A running VMM and the hands in its guest."""

    def __init__(self, vmm: Vmm, spec: DeviceSpec) -> None:
        """Start it and wait for the hands.

        Raises BackendError when it cannot be started, ends, hangs or shows no device; DeviceError when it ends by itself, with
        a failure, before its guest has said anything: it refused the device.
        """
        self._vmm = vmm
        self._folder = TemporaryDirectory(prefix="virtiomem-hands-")
        self._tail: deque[str] = deque(maxlen=3)
        self._child: Child | None = None
        self._console: ByteChannel | None = None
        try:
            # A file with a path: what a command line can name.
            initrd = Path(self._folder.name, "initrd")
            initrd.write_bytes(initramfs(vmm.program))
            self._start(vmm.words(spec, initrd))
            self.transport = self._meet()
        except BaseException:
            self.close()
            raise

    @property
    def running(self) -> bool:
        """The VMM has not ended."""
        return self._child is not None and self._child.running

    def reboot(self) -> None:
        """Have the guest reset the machine, and meet the hands again; NotImplementedError where the VMM ends with its guest."""
        assert self._console is not None
        self._tail.clear()
        self._console.sendall(hands.REBOOT)
        try:
            self.transport.move(self._meet())
        except BackendError:
            if self.running:
                raise
            # Firecracker ends when its guest reboots: rules about resets then do not apply.
            raise NotImplementedError from None

    def close(self) -> None:
        """Kill the VMM and its children; harmless when repeated."""
        if self._child is not None:
            self._child.close()
        if self._console is not None:
            self._console.close()
        self._folder.cleanup()

    def _start(self, words: list[str]) -> None:
        if self._vmm.console is not None:
            self._child = Child(words, stdin=subprocess.DEVNULL, stdout=None)
            self._console = self._reach(*self._vmm.console)
            return
        # One socket for both directions, as a console is one line.
        self._console, theirs = socket.socketpair()
        with theirs:
            self._child = Child(words, stdin=theirs.fileno(), stdout=theirs.fileno())

    def _reach(self, kind: str, path: str) -> ByteChannel:
        """Open the console once the VMM has made it."""
        until = time.monotonic() + self._vmm.seconds
        while True:
            try:
                # The VMM makes the socket or terminal only once it runs.
                return open_console(kind, path)
            except OSError as error:
                if not self.running:
                    raise self._lost("its console was awaited") from None
                if time.monotonic() > until:
                    where = shown(f"{kind}:{path}")
                    raise BackendTimeout(f"--console {where}: {error.strerror} after {self._vmm.seconds:g} s") from None
            time.sleep(_LOOK)

    def _meet(self) -> RegisterTransport:
        greeting = hands.read_greeting(self._hear_greeting())
        assert self._console is not None
        qtest = QTest(self._console, timeout=ANSWER_SECONDS, lost=self._lost, who="the hands in the guest")
        return hands.open_device(qtest, greeting)

    def _hear_greeting(self) -> str:
        """Read the console until the hands speak, whatever firmware and kernel say before."""
        assert self._console is not None
        until = time.monotonic() + self._vmm.seconds
        heard = b""
        while True:
            # Short looks, for a VMM that ends may leave the console open in a child of its own.
            self._console.settimeout(_LOOK)
            try:
                chunk = self._console.recv(1 << 16)
            except TimeoutError:
                chunk = b""
                if self.running:
                    self._check_patience(until, heard)
                    continue
            except OSError:
                chunk = b""
            if not chunk:
                raise self._ended_early()
            *lines, heard = (heard + chunk).split(b"\n")
            # A boot loader may draw for minutes without an end of line.
            heard = heard[-_LONGEST_LINE:]
            for raw in lines:
                line = raw.decode("ascii", "backslashreplace").strip()
                if line.startswith(hands.GREETING):
                    return line
                if line:
                    self._tail.append(one_line(line))
                if _PANIC in line:
                    raise BackendError(f"Linux in the guest panicked: {one_line(line)}")
            # A guest that prints all the time is never silent, and never ready either.
            self._check_patience(until, heard)

    def _check_patience(self, until: float, heard: bytes) -> None:
        if time.monotonic() > until:
            last = one_line(heard.decode("ascii", "backslashreplace")) or (self._tail[-1] if self._tail else "")
            said = f"its console said last {quoted(last)}" if last else "its console said nothing"
            raise BackendTimeout(f"no word from the hands in the guest within {self._vmm.seconds:g} s: {said}")

    def _ended_early(self) -> BackendError | DeviceError:
        """The VMM ended, or closed the console: for a device that it refuses, or for anything else."""
        lost = self._lost("booting its guest")
        assert self._child is not None
        # A guest that has said anything was started: then it is not the device that was refused.
        refused = (self._child.returncode or 0) > 0 and not self._tail
        return DeviceError(self._words()) if refused else lost

    def _lost(self, doing: str) -> BackendError:
        """The error for a VMM that is gone, with its last words."""
        assert self._child is not None
        how = self._child.end(_LAST_MOMENTS) or "closed the guest's console, yet runs,"
        return BackendError(f"{self._child.name} {how} while {doing}: {self._words()}")

    def _words(self) -> str:
        """Return the last output of the VMM, else of its guest."""
        assert self._child is not None
        return self._child.last_words() or (self._tail[-1] if self._tail else "it said nothing")
