"""Hardware of the machine, whichever kernel runs: virtio-mem devices, DIMMs, and the channels that record their requests.

A reboot leaves all of it in place; only plugged memory goes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from virtiomem.device.board import BOARDS
from virtiomem.device.mem import MemDevice
from virtiomem.device.realize import offered_features
from virtiomem.errors import ProtocolError
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.reasons import Reason
from virtiomem.recording.values import DimmInfo, Request, VirtioMemInfo
from virtiomem.transport.channel import RequestChannel
from virtiomem.transport.loopback import Loopback
from virtiomem.transport.owner import EmbeddedOwner
from virtiomem.units import Span
from virtiomem.wire import mem as wire

if TYPE_CHECKING:
    from virtiomem.transport.virtio_transport import Owner


class Devices(Protocol):
    """All virtio-mem devices of one machine: ours, or those of a QEMU."""

    @property
    def qemu(self) -> str | None:
        """The version of the QEMU whose they are; None for ours."""

    def owner(self, device: str) -> "Owner":
        """The user's side of the device of that id."""

    def channel(self, device: str) -> RequestChannel:
        """The driver's side of it."""

    def refusal(self, device: str) -> Reason | None:
        """Reason for its last refusal; None before the first one, and for a device that gives no reasons."""

    def system_reset(self) -> None:
        """Reset the machine: every device unplugs everything and is ready for the next kernel's driver."""

    def wake_up(self) -> None:
        """Wake the machine up from a suspend to memory: a reset that not every device's memory outlives."""

    def close(self) -> None:
        """Let go of them; harmless when repeated."""


class EmbeddedDevices:
    """Our own devices; see `Devices`."""

    qemu = None

    def __init__(self, configs: Sequence[DeviceConfig], guest: GuestConfig) -> None:
        """Realize them; raises DeviceError in QEMU's words."""
        self.devices = {config.id: _realized(config, guest) for config in configs}

    def owner(self, device: str) -> EmbeddedOwner:
        """The user's side of a device."""
        return EmbeddedOwner(self.devices[device])

    def channel(self, device: str) -> RequestChannel:
        """The driver's side of a device."""
        return Loopback(self.devices[device])

    def refusal(self, device: str) -> Reason | None:
        """Why a device last refused a request."""
        return self.devices[device].refusal

    def system_reset(self) -> None:
        """Unplug everything, one device after another."""
        for device in self.devices.values():
            device.system_reset()

    def wake_up(self) -> None:
        """Unplug everything that does not outlive a suspend."""
        for device in self.devices.values():
            device.wake_up()

    def close(self) -> None:
        """Nothing to let go of."""

    def check(self) -> None:
        """Assert that each is sound."""
        for device in self.devices.values():
            device.check()


def _realized(config: DeviceConfig, guest: GuestConfig) -> MemDevice:
    """Our device of that configuration; DeviceError in QEMU's words for an impossible one."""
    assert config.memaddr is not None, f"{config.id} has no address"
    return MemDevice(
        addr=int(config.memaddr),
        region_size=int(config.max_size),
        block_size=int(config.block_size),
        requested_size=int(config.requested_size),
        node=config.node,
        nodes=max(len(guest.nodes), 1),
        board=BOARDS[guest.machine],
        features=offered_features(guest.qemu_release, board=BOARDS[guest.machine]),
        release=guest.qemu_release,
    )


class AttachedDevice:
    """A device in the machine: `owner` is its user's side, `channel` the driver's, where requests are kept in `sink`."""

    def __init__(self, config: DeviceConfig, devices: Devices, sink: list[Request]) -> None:
        assert config.name is not None, f"{config.id} has no name"
        assert config.memaddr is not None, f"{config.id} has no address"
        self.config = config
        self.id = config.id
        self.name = config.name
        """The guest's name for it, ``virtio0``."""
        self.region = Span.sized(int(config.memaddr), int(config.max_size))
        self.owner = devices.owner(config.id)
        self.channel = RecordingChannel(config.id, devices.channel(config.id), sink)
        self._devices = devices

    @property
    def refusal(self) -> Reason | None:
        """Reason for its last refusal; None before the first one, and when it gives no reasons."""
        return self._devices.refusal(self.id)

    @property
    def info(self) -> VirtioMemInfo:
        """The device as QEMU's query-memory-devices shows it."""
        return VirtioMemInfo(
            id=self.id,
            memaddr=self.region.start,
            max_size=self.region.size,
            requested_size=self.owner.requested_size(),
            size=self.owner.size(),
            block_size=int(self.config.block_size),
            node=self.config.node,
        )


class Dimm(NamedTuple):
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


class RecordingChannel:
    """A channel that records requests and answers, and gives injected answers in place of the device."""

    def __init__(self, device_id: str, channel: RequestChannel, sink: list[Request]) -> None:
        self.features = channel.features
        self.faults: deque[str] = deque()
        """Answers to give instead of the device's, oldest first: keys of REQUEST_FAULTS."""
        self._device_id = device_id
        self._channel = channel
        self._sink = sink

    def send(self, request: bytes) -> bytes:
        """Pass a request on, unless a fault is due, and note both."""
        # In place of the device, which never hears of the request: its state stays what it was.
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


_TYPES = tuple(kind.name for kind in wire.RequestType)


@lru_cache(maxsize=64)
def _response(answer: bytes) -> str:
    """Return the name of an answer; cached, because millions of answers have few different contents."""
    try:
        return wire.Response.unpack(answer).type.name
    except ProtocolError:
        return "garbage" if answer else "silence"


def _decode(device_id: str, request: bytes, answer: bytes) -> Request:
    kind, addr, nb_blocks = wire.unpack_request(request)
    type_, response = _TYPES[kind], _response(answer)
    if type_ == "UNPLUG_ALL":
        return Request(device=device_id, type=type_, response=response)
    return Request(device=device_id, type=type_, response=response, addr=addr, nb_blocks=nb_blocks)
