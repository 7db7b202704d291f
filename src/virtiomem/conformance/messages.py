"""Devices that receive messages instead of having registers: a Python object, or a child process with JSON lines.

The virtio device around it (registers, ring, interrupts) is ours, so that a virtio-mem device is tested before it has any
of that; rules about the virtio device itself are then not applicable. `CommandDevice` is a device in a process of its own,
in any language: docs/device-protocol.md has its protocol.
"""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from virtiomem.conformance.child import Child
from virtiomem.conformance.testbench import DeviceUnderTest
from virtiomem.device.board import MachineKind
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError
from virtiomem.notation import NotationError, json_values
from virtiomem.releases.qemu import QEMU, QemuRelease
from virtiomem.text import one_line, quoted, shown
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.units import U64_MAX, MiB
from virtiomem.wire.mem import RESPONSE_SIZE, Config, Feature

if TYPE_CHECKING:
    from virtiomem.device.mem import MemDevice

ANSWER_SECONDS = 10.0
"""Seconds that a child has for each answer."""
MAX_ANSWER = MiB
"""Bytes of an answer."""
_FLUSH = "; an answer must be flushed (in C: setvbuf(stdout, NULL, _IOLBF, 0))"

_CONFIG_KEYS = {
    "block_size": "block-size",
    "node_id": "node",
    "addr": "addr",
    "region_size": "region-size",
    "usable_region_size": "usable-region-size",
    "plugged_size": "plugged-size",
    "requested_size": "requested-size",
}
"""Fields of the configuration and their names in an answer."""


class MessageDevice(Protocol):
    """A virtio-mem device without the virtio around it; raises BackendError when it cannot be reached any more."""

    features: int
    """The bits of its own that it offers (`wire.mem.Feature`)."""

    def config(self) -> Config:
        """The configuration space."""

    def request(self, data: bytes) -> bytes:
        """Answer a request of 24 bytes with 10; raises ProtocolError for one that breaks the device until it is reset."""

    def set_requested_size(self, size: int) -> None:
        """Set requested-size, in bytes; raises DeviceError, in the VMM's words, when it is refused."""

    def set_busy(self, busy: bool) -> None:
        """Make it unable to change blocks, or able again; raises NotImplementedError where that cannot be done."""

    def reset(self) -> None:
        """Reset the virtio device; plugged memory stays plugged."""

    def system_reset(self) -> None:
        """Reset the machine."""

    def take_notification(self) -> bool:
        """Return whether the configuration change was notified since the last call."""

    def close(self) -> None:
        """End it."""


class MessageTarget:
    """A make of devices that are given messages; a `conformance.testbench.Target`."""

    has_contents = False
    has_virtio = False
    machine: MachineKind | None = None
    release: QemuRelease = QEMU.oldest

    def __init__(self, name: str, make: Callable[[DeviceSpec], MessageDevice]) -> None:
        """`make` makes one as after a power-on; it raises DeviceError, in the VMM's words, when there is no such device."""
        self.name = name
        self._make = make

    @contextmanager
    def open(self, spec: DeviceSpec) -> Iterator[DeviceUnderTest]:
        """Make a device, and end it afterwards."""
        device = self._make(spec)
        try:
            transport = MessageTransport(device, self.release)
            yield DeviceUnderTest(transport, transport)
        finally:
            device.close()

    def close(self) -> None:
        """Nothing stays open."""


class MessageTransport(EmbeddedTransport):
    """Our virtio device around a device that is given messages."""

    def __init__(self, device: MessageDevice, release: QemuRelease) -> None:
        # A cast: VirtioDevice uses no more of a MemDevice than `_Mem` has, and is left out of the compiled build for
        # it.
        super().__init__(cast("MemDevice", _Mem(device, release)))
        self._given = device

    def set_status(self, status: int) -> None:
        """Write the device status byte; the device hears of a reset."""
        super().set_status(status)
        if not status:
            self._given.reset()


class _Mem:
    """Stands in for a `device.mem.MemDevice`: all that `VirtioDevice` and `EmbeddedOwner` ask of one."""

    refusal = None

    def __init__(self, device: MessageDevice, release: QemuRelease) -> None:
        self.features = Feature(device.features)
        self.release = release
        self._device = device
        self._listeners: list[Callable[[], None]] = []

    @property
    def config(self) -> Config:
        # Any answer may carry a notification, this one too: it is passed on after the value was taken.
        config = self._device.config()
        self._tell()
        return config

    @property
    def plugged_size(self) -> int:
        return self._device.config().plugged_size

    @property
    def requested_size(self) -> int:
        return self._device.config().requested_size

    @requested_size.setter
    def requested_size(self, size: int) -> None:
        try:
            self._device.set_requested_size(size)
        finally:
            self._tell()

    @property
    def busy(self) -> NoReturn:
        raise NotImplementedError

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._device.set_busy(busy)

    def handle(self, data: bytes) -> bytes:
        try:
            answer = self._device.request(data)
        finally:
            self._tell()
        if len(answer) != RESPONSE_SIZE:
            raise BackendError(
                f"the answer to request must be {RESPONSE_SIZE} bytes, not {len(answer)}: {shown(answer.hex())}"
            )
        return answer

    def on_config_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def system_reset(self) -> None:
        self._device.system_reset()
        self._device.take_notification()  # the driver that would have heard of it is gone

    def check(self) -> None:
        """Do nothing: the caller owns the device."""

    def _tell(self) -> None:
        if self._device.take_notification():
            for listener in self._listeners:
                listener()


class CommandDevice:
    """A `MessageDevice` in a child process, which reads a JSON line and answers with one."""

    def __init__(self, command: list[str], spec: DeviceSpec, *, seconds: float = ANSWER_SECONDS) -> None:
        """Start the program and have it make the device.

        Raises BackendError when it cannot be started, dies, is silent or talks nonsense; DeviceError when it refuses the
        device.
        """
        self._seconds = seconds
        self._notified = self._answered = False
        self._child = Child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._name = self._child.name
        process = self._child.process
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self._pending = b""
        try:
            answer = self._ask(
                "open",
                {
                    "size": spec.size,
                    "block-size": spec.block_size,
                    "requested-size": spec.requested_size,
                    "addr": spec.memaddr,
                    "node": spec.node,
                    "unplugged-inaccessible": spec.unplugged_inaccessible,
                },
            )
            self._refused(answer)
            self.features = self._number("open", answer, "features")
        except BaseException:
            self.close()
            raise

    def config(self) -> Config:
        """The configuration space."""
        answer = self._ask("config")
        fields = {field: self._number("config", answer, key) for field, key in _CONFIG_KEYS.items()}
        return Config(**fields)

    def request(self, data: bytes) -> bytes:
        """Answer a request; raises ProtocolError when the child says that it broke the device."""
        answer = self._ask("request", {"bytes": data.hex()})
        if isinstance(words := answer.get("broken"), str):
            raise ProtocolError(one_line(words))
        text = answer.get("bytes")
        try:
            return bytes.fromhex(text) if isinstance(text, str) else self._lacks("request", answer, "bytes")
        except ValueError:
            raise self._failed(
                f"the answer to request has bytes that are not hexadecimal: {quoted(str(text))}"
            ) from None

    def set_requested_size(self, size: int) -> None:
        """Set requested-size."""
        self._refused(self._ask("set-requested-size", {"size": size}))

    def set_busy(self, busy: bool) -> None:
        """Make it busy, or let it be."""
        if self._ask("set-busy", {"busy": busy}).get("unsupported") is True:
            raise NotImplementedError

    def reset(self) -> None:
        """Reset the virtio device."""
        self._ask("reset")

    def system_reset(self) -> None:
        """Reset the machine."""
        self._ask("system-reset")

    def take_notification(self) -> bool:
        """Return whether any answer since the last call said ``"notified": true``."""
        notified, self._notified = self._notified, False
        return notified

    def close(self) -> None:
        """Kill the child."""
        self._child.close()

    def _ask(self, what: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a line, and read the answer."""
        line = json.dumps({"do": what, **(arguments or {})}).encode() + b"\n"
        try:
            self._to.write(line)
            self._to.flush()
        except OSError:
            raise self._lost(what) from None
        raw = self._line(what)
        try:
            answer = json_values(raw)
        except NotationError:
            answer = None
        if not isinstance(answer, dict):
            raise self._failed(f"the answer to {what} is not a JSON object: {quoted(raw.decode(errors='replace'))}")
        self._answered = True
        self._notified |= answer.get("notified") is True
        return answer

    def _line(self, what: str) -> bytes:
        """The next line that the child writes."""
        until = time.monotonic() + self._seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(until - time.monotonic(), 0)):
                    raise self._silent(what)
                # Not readline(), which waits for the end of a line without a limit of time or size.
                chunk = os.read(self._from.fileno(), MAX_ANSWER)
                if not chunk:
                    raise self._lost(what)
                self._pending += chunk
                if len(self._pending) > MAX_ANSWER:
                    raise self._failed(f"more than {MAX_ANSWER} bytes in answer to {what}")
        # What was said too much is kept: it answers the next question wrongly, and is found there.
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _lost(self, what: str) -> BackendError:
        """Return the error for a child that has ended, with its last words."""
        # A second, since the pipe closes before the exit code is there.
        how = self._child.end(1) or "closed its output"
        said = self._child.last_words()
        return self._failed(f"{how} at {what}" + (f": {said}" if said else ""))

    def _silent(self, what: str) -> BackendError:
        """Return the error for a child that did not answer in time."""
        flushed = "" if self._answered else _FLUSH
        return self._failed(f"no answer to {what} within {self._seconds:g} s{flushed}", BackendTimeout)

    def _failed(self, how: str, kind: type[BackendError] = BackendError) -> BackendError:
        """An error of the child's, with what it said."""
        return kind(f"{self._name}: {how}", said=self._child.last_lines())

    def _refused(self, answer: dict[str, Any]) -> None:
        if isinstance(words := answer.get("refused"), str):
            raise DeviceError(one_line(words))

    def _number(self, what: str, answer: dict[str, Any], key: str) -> int:
        number = answer[key] if key in answer else self._lacks(what, answer, key)
        # To Python True is a number, to JSON it is not.
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= U64_MAX:
            raise self._failed(f"the answer to {what} needs {key}, a number below 2^64, not {quoted(str(number))}")
        return number

    def _lacks(self, what: str, answer: dict[str, Any], key: str) -> NoReturn:
        raise self._failed(f"the answer to {what} lacks {quoted(key)}: {quoted(json.dumps(answer))}")


def command_target(command: list[str], *, seconds: float | None = None) -> MessageTarget:
    """The devices that a program makes, one a process; `seconds` is what it has for each answer, `ANSWER_SECONDS` by
    default.
    """
    patience = ANSWER_SECONDS if seconds is None else seconds
    return MessageTarget(
        f"the device of {shown(command[0])}", lambda spec: CommandDevice(command, spec, seconds=patience)
    )
