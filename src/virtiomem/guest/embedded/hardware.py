"""What the machine holds, whichever kernel runs: virtio-mem devices, DIMMs, and the taps on the wires between.

A reboot leaves all of it in place; only plugged memory goes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from virtiomem.device.mem import MemDevice
from virtiomem.errors import ProtocolError
from virtiomem.guest.base import DeviceConfig
from virtiomem.reasons import Reason
from virtiomem.recording.values import DimmInfo, Request, VirtioMemInfo
from virtiomem.transport.channel import RequestChannel
from virtiomem.transport.loopback import Loopback
from virtiomem.units import Span
from virtiomem.wire import mem as wire


class DeviceHandle(Protocol):
    """A virtio-mem device as its owner holds it: ours, or QEMU's through a socket."""

    @property
    def channel(self) -> RequestChannel:
        """The channel to it."""

    @property
    def plugged_size(self) -> int:
        """Bytes plugged."""

    @property
    def requested_size(self) -> int:
        """Bytes asked for."""

    @property
    def refusal(self) -> Reason | None:
        """Why it last refused a request; None while it has not, and for a device that does not tell."""

    def resize(self, requested_size: int) -> None:
        """Ask for that many bytes. Raises DeviceError when the device refuses."""


class Devices(Protocol):
    """All virtio-mem devices of one machine: ours, or those of a QEMU."""

    @property
    def qemu(self) -> str | None:
        """The version of the QEMU whose they are; None for ours."""

    def handle(self, device: str) -> DeviceHandle:
        """The device of that id."""

    def system_reset(self) -> None:
        """Reset the machine: every device unplugs everything and is ready for the next kernel's driver."""

    def close(self) -> None:
        """Let go of them; harmless when repeated."""


class EmbeddedDevice:
    """Our own device behind a loopback channel."""

    def __init__(self, config: DeviceConfig, nodes: int) -> None:
        """Realize the device; raises DeviceError in QEMU's words."""
        assert config.memaddr is not None, f"{config.id} has no address"
        self.device = MemDevice(
            addr=config.memaddr,
            region_size=config.max_size,
            block_size=config.block_size,
            requested_size=config.requested_size,
            node=config.node,
            nodes=nodes,
        )
        self.channel = Loopback(self.device)

    @property
    def plugged_size(self) -> int:
        """Bytes plugged."""
        return self.device.plugged_size

    @property
    def requested_size(self) -> int:
        """Bytes asked for."""
        return self.device.requested_size

    @property
    def refusal(self) -> Reason | None:
        """Why it last refused a request."""
        return self.device.refusal

    def resize(self, requested_size: int) -> None:
        """Set requested-size. Raises DeviceError."""
        self.device.requested_size = requested_size


class EmbeddedDevices:
    """Our own devices; see `Devices`."""

    qemu = None

    def __init__(self, configs: Sequence[DeviceConfig], nodes: int) -> None:
        """Realize them; raises DeviceError in QEMU's words."""
        self._devices = {config.id: EmbeddedDevice(config, nodes) for config in configs}

    def handle(self, device: str) -> EmbeddedDevice:
        """The device of that id."""
        return self._devices[device]

    def system_reset(self) -> None:
        """Unplug everything, one device after another."""
        for one in self._devices.values():
            one.device.system_reset()

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(slots=True)
class Slot:
    """A device in the machine, with the tap on its wire."""

    config: DeviceConfig
    handle: DeviceHandle
    tap: "Tap"

    @property
    def name(self) -> str:
        """The guest's name for it, ``virtio0``."""
        assert self.config.name is not None, f"{self.config.id} has no name"
        return self.config.name

    @property
    def region(self) -> Span:
        """Where its memory is."""
        return Span.sized(int(self.config.memaddr or 0), int(self.config.max_size))

    @property
    def settled(self) -> bool:
        """True when what is plugged is what is asked for."""
        return self.handle.plugged_size == self.handle.requested_size

    def info(self) -> VirtioMemInfo:
        """The device as QEMU's query-memory-devices shows it."""
        return VirtioMemInfo(
            id=self.config.id,
            memaddr=int(self.config.memaddr or 0),
            max_size=int(self.config.max_size),
            requested_size=self.handle.requested_size,
            size=self.handle.plugged_size,
            block_size=int(self.config.block_size),
            node=self.config.node,
        )


@dataclass(frozen=True, slots=True)
class Dimm:
    """A DIMM in its slot."""

    id: str
    addr: int
    size: int
    node: int

    def info(self) -> DimmInfo:
        """The DIMM as QEMU's query-memory-devices shows it."""
        return DimmInfo(id=self.id, addr=self.addr, size=self.size, node=self.node)


REQUEST_FAULTS = {
    "BUSY": wire.Response(wire.ResponseType.BUSY).pack(),
    "NACK": wire.Response(wire.ResponseType.NACK).pack(),
    "ERROR": wire.Response(wire.ResponseType.ERROR).pack(),
    "garbage": b"\xff" * wire.RESPONSE_SIZE,
    "silence": b"",
}
"""Answers that can be injected, as the bytes on the wire."""


class Tap:
    """A channel that keeps what goes over the wire, and answers in the device's stead when told to."""

    def __init__(self, device_id: str, channel: RequestChannel, sink: list[Request]) -> None:
        self.features = channel.features
        self.faults: deque[str] = deque()
        """Answers to give instead of the device's, oldest first: keys of REQUEST_FAULTS."""
        self._device_id = device_id
        self._channel = channel
        self._sink = sink

    def send(self, request: bytes) -> bytes:
        """Pass a request on, unless a fault is due, and note both."""
        answer = REQUEST_FAULTS[self.faults.popleft()] if self.faults else self._channel.send(request)
        self._sink.append(_decode(self._device_id, request, answer))
        return answer

    def config(self) -> bytes:
        """The device's configuration space."""
        return self._channel.config()

    def on_config_change(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at each configuration change notification; None stops it."""
        self._channel.on_config_change(callback)

    def reset(self) -> None:
        """Reset the virtio device."""
        self._channel.reset()


def _decode(device_id: str, request: bytes, answer: bytes) -> Request:
    sent = wire.Request.unpack(request)
    try:
        response = wire.Response.unpack(answer).type.name
    except ProtocolError:
        response = "garbage" if answer else "silence"
    if sent.type is wire.RequestType.UNPLUG_ALL:
        return Request(device=device_id, type=sent.type.name, response=response)
    return Request(device=device_id, type=sent.type.name, response=response, addr=sent.addr, nb_blocks=sent.nb_blocks)
