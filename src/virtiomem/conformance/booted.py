"""The device of any VMM that boots Linux: our hands are in its guest, and its console is our way to them.

The VMM is a command of the user's, in which placeholders stand for what we bring: a kernel, an initramfs, the kernel's command
line; and, where the command can make devices of any shape, for that shape. What a guest cannot do to its device (change the
requested size, start a migration) is done by a hook, or not at all: rules that need it are not applicable then.

One guest serves all checks that want the same device, as far as a driver can bring the device back to what it was. After
whatever went wrong the VMM is killed, with its children, and a new one is started.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Protocol

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.conformance.consoles import open_console
from virtiomem.conformance.testbench import SPEC, DeviceUnderTest
from virtiomem.device.board import BOARDS, Q35, MachineKind
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError, UsageError
from virtiomem.guest.hands import command_line, initramfs
from virtiomem.qemu.qtest import ByteChannel, QTest
from virtiomem.releases.qemu import QEMU, QemuRelease
from virtiomem.text import one_line, quoted, shown
from virtiomem.transport import hands
from virtiomem.transport.register_transport import RegisterTransport
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import Chain, Ring, initialize
from virtiomem.units import MiB, format_size
from virtiomem.wire.mem import Config, Feature, Request, RequestType, Response, ResponseType
from virtiomem.wire.virtio import VirtioFeature

ANSWER_SECONDS = 30.0
HOOK_SECONDS = 60.0

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


class Hook(Protocol):
    """The user's way to the VMM's side of the device."""

    def set_requested_size(self, size: int) -> None:
        """Set it, in bytes; raises DeviceError when the VMM refuses."""

    def size(self) -> int:
        """The plugged size that the VMM reports; NotImplementedError when it does not."""

    def close(self) -> None:
        """Let go of the VMM, which is about to be killed; harmless when repeated."""


class CommandHook:
    """A command that sets the requested size: ``{size}`` in it stands for the bytes. Its failure is a refusal."""

    def __init__(self, text: str) -> None:
        """Raises UsageError for a command that has no ``{size}``, or cannot be split."""
        self._words = _split(text, "--resize-command", ("size",))

    def set_requested_size(self, size: int) -> None:
        """Run it; raises DeviceError with the last line that it said when it fails."""
        words = [word.replace("{size}", str(size)) for word in self._words]
        try:
            done = subprocess.run(  # noqa: S603 - an argument list, no shell
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=HOOK_SECONDS, check=False
            )
        except OSError as error:
            raise BackendError(f"--resize-command: {shown(words[0])}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise BackendTimeout(f"--resize-command: {shown(words[0])} did not end within {HOOK_SECONDS:g} s") from None
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise DeviceError(one_line(said[-1] if said else f"{shown(words[0])} exited with code {done.returncode}"))

    def size(self) -> int:
        """Nobody tells."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing stays open."""


@dataclass(frozen=True, slots=True)
class Vmm:
    """How a guest with hands is started."""

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
        """Which placeholders for the device the command has."""
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
        return [_PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), word) for word in self.command]


def read_command(text: str) -> tuple[str, ...]:
    """The words of a --boot command, split as a shell does; raises UsageError for one that cannot boot what we bring."""
    return _split(text, "--boot", ("kernel", "initrd", "append"), tuple(_SHAPE))


def expected_release(command: Sequence[str]) -> QemuRelease:
    """The QEMU whose answers to expect of a command's device: of one that is a QEMU its own, else the oldest known.

    What differs between QEMU's releases, the specification leaves open.
    """
    if "qemu-system" not in Path(command[0]).name:
        return QEMU.oldest
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            [command[0], "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HOOK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return QEMU.oldest
    found = re.search(r"version (\d{1,3}\.\d{1,3}\.\d{1,3})", done.stdout)
    return QEMU.release(found[1]) if found else QEMU.oldest


def _split(text: str, option: str, needed: Sequence[str], others: Sequence[str] = ()) -> tuple[str, ...]:
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
            raise UsageError(f"{option}: {{{name}}} is no placeholder (there are {known})")
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
        self._said = TemporaryFile()  # noqa: SIM115 - closed with the guest
        self._tail: deque[str] = deque(maxlen=3)
        self._process: subprocess.Popen[bytes] | None = None
        self._console: ByteChannel | None = None
        try:
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
        return self._process is not None and self._process.poll() is None

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
            raise NotImplementedError from None

    def close(self) -> None:
        """Kill the VMM and its children; harmless when repeated."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its session is its own
            self._process.wait()
        if self._console is not None:
            self._console.close()
        self._said.close()
        self._folder.cleanup()

    def _start(self, words: list[str]) -> None:
        theirs: socket.socket | None = None
        if self._vmm.console is None:
            self._console, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                words,
                stdin=subprocess.DEVNULL if theirs is None else theirs.fileno(),
                stdout=self._said if theirs is None else theirs.fileno(),
                stderr=self._said,
                start_new_session=True,  # a Ctrl-C is ours to answer
            )
        except OSError as error:
            raise BackendError(f"{shown(words[0])}: {error.strerror}") from None
        finally:
            if theirs is not None:
                theirs.close()
        if self._vmm.console is not None:
            self._console = self._reach(*self._vmm.console)

    def _reach(self, kind: str, path: str) -> ByteChannel:
        """Open the console once the VMM has made it."""
        until = time.monotonic() + self._vmm.seconds
        while True:
            try:
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
            heard = heard[-_LONGEST_LINE:]
            for raw in lines:
                line = raw.decode("ascii", "backslashreplace").strip()
                if line.startswith(hands.GREETING):
                    return line
                if line:
                    self._tail.append(one_line(line))
                if _PANIC in line:
                    raise BackendError(f"Linux in the guest panicked: {one_line(line)}")
            self._check_patience(until, heard)

    def _check_patience(self, until: float, heard: bytes) -> None:
        if time.monotonic() > until:
            last = one_line(heard.decode("ascii", "backslashreplace")) or (self._tail[-1] if self._tail else "")
            said = f"its console said last {quoted(last)}" if last else "its console said nothing"
            raise BackendTimeout(f"no word from the hands in the guest within {self._vmm.seconds:g} s: {said}")

    def _ended_early(self) -> BackendError | DeviceError:
        """The VMM ended, or closed the console: for a device that it refuses, or for anything else."""
        lost = self._lost("booting its guest")
        assert self._process is not None
        refused = (self._process.returncode or 0) > 0 and not self._tail
        return DeviceError(self._words()) if refused else lost

    def _lost(self, doing: str) -> BackendError:
        """The error for a VMM that is gone, with its last words."""
        name = shown(self._vmm.command[0])
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_MOMENTS)
        code = self._process.returncode
        if code is None:
            how = "closed the guest's console, yet runs,"
        elif code < 0:
            how = f"died of signal {-code}"
        else:
            how = f"exited with code {code}"
        return BackendError(f"{name} {how} while {doing}: {self._words()}")

    def _words(self) -> str:
        """What the VMM, else its guest, said last."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(self._said.tell() - MiB, 0))
        said = self._said.read().decode(errors="replace").strip().splitlines() or list(self._tail)
        return one_line(said[-1]) if said else "it said nothing"


class GuestOwner:
    """The VMM's side of the device, as far as there is a way to it."""

    def __init__(self, guest: BootedGuest, hook: Hook | None) -> None:
        self._guest = guest
        self._hook = hook

    def set_requested_size(self, size: int) -> None:
        """Let the hook do it; NotImplementedError without one."""
        if self._hook is None:
            raise NotImplementedError
        self._hook.set_requested_size(size)

    def requested_size(self) -> int:
        """What the configuration says."""
        return Config.unpack(self._guest.transport.config()).requested_size

    def size(self) -> int:
        """What the hook says."""
        if self._hook is None:
            raise NotImplementedError
        return self._hook.size()

    def system_reset(self) -> None:
        """Reboot from inside."""
        self._guest.reboot()

    def set_busy(self, busy: bool) -> None:
        """A guest cannot, and nothing else can here."""
        raise NotImplementedError


class BootTarget:
    """The devices that a VMM gives its guests; a `conformance.testbench.Target`."""

    has_contents = True
    has_virtio = True

    def __init__(self, vmm: Vmm, hook: Hook | None = None, release: QemuRelease = QEMU.oldest) -> None:
        """Boot it once; `release` is the QEMU whose answers are expected. Raises BackendError where no device is reached."""
        self._vmm = vmm
        self._hook = hook
        self.release = release
        self.name = f"the device of {shown(Path(vmm.command[0]).name)}, from inside a guest"
        board = next(one for one in BOARDS.values() if vmm.architecture in one.architectures)
        self.machine: MachineKind | None = None if board is Q35 else board.name
        self._spec: DeviceSpec = SPEC
        try:
            self._guest: BootedGuest | None = BootedGuest(vmm, SPEC)
        except DeviceError as error:
            raise BackendError(f"{shown(vmm.command[0])} does not start: {error}") from None
        self._made = self._seen(self._guest)

    def nearest(self, spec: DeviceSpec) -> DeviceSpec:
        """A device that the command makes: the one that is asked for, as far as the command takes a shape."""
        if not self._vmm.shapes >= {"size", "block-size", "requested-size"}:
            return self._made
        free = {field.name for field in fields(DeviceSpec) if field.name.replace("_", "-") in self._vmm.shapes}
        return replace(self._made, **{name: getattr(spec, name) for name in free})

    @contextmanager
    def open(self, spec: DeviceSpec) -> Iterator[DeviceUnderTest]:
        """The device as after a power-on; raises DeviceError for one that the command does not make."""
        guest = self._guest_for(spec)
        try:
            yield DeviceUnderTest(guest.transport, GuestOwner(guest, self._hook))
        except BaseException:
            self.close()  # whatever state it is in, nobody else shall meet it
            raise
        try:
            self._restore(guest, spec)
        except (BackendError, DeviceError, ProtocolError, NotImplementedError):
            self.close()

    def close(self) -> None:
        """Kill the VMM."""
        if self._hook is not None:
            self._hook.close()
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    def _guest_for(self, spec: DeviceSpec) -> BootedGuest:
        spec = self._filled(spec)
        if self._guest is not None and self._spec == spec and self._guest.running:
            return self._guest
        self.close()
        self._guest, self._spec = BootedGuest(self._vmm, spec), spec
        if (difference := _differs(spec, seen := self._seen(self._guest))) is not None:
            self.close()
            raise DeviceError(f"the command made {difference} = {_value(getattr(seen, difference))}, not as asked for")
        return self._guest

    def _filled(self, spec: DeviceSpec) -> DeviceSpec:
        """What the command will make of it; raises DeviceError where a part is fixed, and otherwise."""
        for field in fields(DeviceSpec):
            name = field.name
            wanted, made = getattr(spec, name), getattr(self._made, name)
            if name.replace("_", "-") in self._vmm.shapes or wanted in {None, "auto", made}:
                continue
            raise DeviceError(f"the command makes {name.replace('_', '-')} = {_value(made)}, not {_value(wanted)}")
        return spec

    def _seen(self, guest: BootedGuest) -> DeviceSpec:
        """The device that is there."""
        config = Config.unpack(guest.transport.config())
        inaccessible = guest.transport.offered() & Feature.UNPLUGGED_INACCESSIBLE
        return DeviceSpec(
            SPEC.id,
            config.region_size,
            block_size=config.block_size,
            requested_size=config.requested_size,
            memaddr=config.addr,
            node=config.node_id,
            unplugged_inaccessible="on" if inaccessible else "off",
        )

    def _restore(self, guest: BootedGuest, spec: DeviceSpec) -> None:
        """Bring the device back to what it was: nothing plugged, the requested size as it was, reset."""
        transport = guest.transport
        ring = Ring(transport)
        initialize(transport, ring, transport.offered() & (sum(Feature) | VirtioFeature.VERSION_1))
        if self._hook is not None and Config.unpack(transport.config()).requested_size != spec.requested_size:
            self._hook.set_requested_size(spec.requested_size)
        answered = ring.submit([Chain((Request(RequestType.UNPLUG_ALL).pack(),))])
        transport.set_status(0)
        config = Config.unpack(transport.config())
        same = (config.plugged_size, config.requested_size) == (0, spec.requested_size)
        if not same or Response.unpack(answered.data[0]).type is not ResponseType.ACK:
            raise DeviceError("the device does not come back to what it was")
        transport.take_interrupt()


def _differs(spec: DeviceSpec, seen: DeviceSpec) -> str | None:
    """The first field of which another value was asked for than is there; ``auto`` is whatever is there."""
    wanted = replace(spec, unplugged_inaccessible=None) if spec.unplugged_inaccessible == "auto" else spec
    for field in fields(DeviceSpec):
        value = getattr(wanted, field.name)
        if value is not None and value != getattr(seen, field.name):
            return field.name.replace("_", "-")
    return None


def _value(value: object) -> str:
    return format_size(value) if isinstance(value, int) else str(value)
