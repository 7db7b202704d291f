"""The virtio-mem protocol: features, configuration space, requests and responses (virtio specification 5.15).

Models: include/uapi/linux/virtio_mem.h (v6.1). Bytes that do not form such a value raise ProtocolError; what a
well-formed request *means* is the device's business.
"""

from dataclasses import astuple, dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple, Self

from virtiomem.errors import ProtocolError

DEVICE_ID = 24
"""Virtio device type (virtio specification 5)."""

CONFIG_SIZE = 56
REQUEST_SIZE = 24
RESPONSE_SIZE = 10
"""Bytes on the wire."""

# Modern devices only: little endian whatever the guest's byte order, and the paddings are written as zeros.
_CONFIG = Struct("<QH6xQQQQQ")
_REQUEST = Struct("<H6xQH6x")
_RESPONSE = Struct("<H6xH")


class Feature(IntFlag):
    """Feature bits of the virtio-mem device (virtio specification 5.15.3)."""

    ACPI_PXM = 1 << 0
    """`node_id` is valid: an ACPI proximity domain."""
    UNPLUGGED_INACCESSIBLE = 1 << 1
    """The driver must not touch unplugged memory."""
    PERSISTENT_SUSPEND = 1 << 2
    """Plugged memory survives suspend; newer than QEMU 7.2."""


class RequestType(IntEnum):
    """Types of request."""

    PLUG = 0
    UNPLUG = 1
    UNPLUG_ALL = 2
    STATE = 3


class ResponseType(IntEnum):
    """Types of response."""

    ACK = 0
    NACK = 1
    """Not now: plugging it would exceed requested_size."""
    BUSY = 2
    """Not now: the device cannot change blocks at the moment."""
    ERROR = 3
    """Never: no such blocks, or not in the state that the request wants."""


class State(IntEnum):
    """What STATE says about a range of blocks."""

    PLUGGED = 0
    UNPLUGGED = 1
    MIXED = 2


class Request(NamedTuple):
    """One request; UNPLUG_ALL means nothing by `addr` and `nb_blocks`."""

    type: RequestType
    addr: int = 0
    """Guest-physical address in bytes."""
    nb_blocks: int = 0
    """Device blocks, 16 bits."""

    def pack(self) -> bytes:
        """The 24 bytes on the wire; raises ProtocolError when a field does not fit."""
        try:
            # struct checks every range itself: testing before would cost each of millions of requests.
            return pack_request(*self)
        except Exception as error:
            raise ProtocolError(f"virtio-mem request does not fit its fields: {self}") from error

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the first 24 bytes, as devices do; raises ProtocolError for fewer, or for an unknown type."""
        kind, addr, nb_blocks = unpack_request(data)
        return cls(_REQUEST_TYPES[kind], addr, nb_blocks)


def pack_request(kind: int, addr: int, nb_blocks: int) -> bytes:
    """The bytes of a request whose fields fit, for code that sends millions of them; see `Request.pack`."""
    return _REQUEST.pack(kind, addr, nb_blocks)


def unpack_request(data: bytes) -> tuple[int, int, int]:
    """The three fields of a request as plain numbers, for code that reads millions of them; see `Request.unpack`."""
    if len(data) < REQUEST_SIZE:
        raise ProtocolError(f"virtio-mem request of {len(data)} bytes, needs {REQUEST_SIZE}")
    fields: tuple[int, int, int] = _REQUEST.unpack_from(data)
    # In QEMU's words, for logs of refusals are compared with it.
    if fields[0] > _LAST_REQUEST_TYPE:
        raise ProtocolError(f"virtio-mem protocol violation: unknown request type: {fields[0]}")
    return fields


class Response(NamedTuple):
    """One answer; `state` carries meaning only when STATE was asked and acknowledged, and is 0 otherwise."""

    type: ResponseType
    state: State = State.PLUGGED

    def pack(self) -> bytes:
        """The 10 bytes on the wire."""
        return _RESPONSES[self[0]][self[1]]

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read exactly 10 bytes; raises ProtocolError for any other number and for unknown values."""
        if len(data) != RESPONSE_SIZE:
            raise ProtocolError(f"virtio-mem response of {len(data)} bytes, needs {RESPONSE_SIZE}")
        kind, state = _RESPONSE.unpack(data)
        if kind >= len(_RESPONSE_TYPES):
            raise ProtocolError(f"virtio-mem response of unknown type {kind:#x}")
        if state >= len(_STATES):
            raise ProtocolError(f"virtio-mem response with unknown state {state:#x}")
        return cls(_RESPONSE_TYPES[kind], _STATES[state])


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration space; sizes and addresses in bytes."""

    block_size: int
    node_id: int
    addr: int
    region_size: int
    usable_region_size: int
    plugged_size: int
    requested_size: int

    def pack(self) -> bytes:
        """The 56 bytes on the wire; raises ProtocolError when a field does not fit."""
        try:
            return _CONFIG.pack(*astuple(self))
        except Exception as error:
            raise ProtocolError(f"virtio-mem configuration does not fit its fields: {self}") from error

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read exactly 56 bytes; raises ProtocolError for any other number."""
        if len(data) != CONFIG_SIZE:
            raise ProtocolError(f"virtio-mem configuration of {len(data)} bytes, needs {CONFIG_SIZE}")
        return cls(*_CONFIG.unpack(data))


# Millions of requests pass here: looking up beats calling the enum, and there are only twelve answers to pack.
_REQUEST_TYPES = tuple(RequestType)
_LAST_REQUEST_TYPE = int(max(RequestType))
_RESPONSE_TYPES = tuple(ResponseType)
_STATES = tuple(State)
_RESPONSES = tuple(tuple(_RESPONSE.pack(kind, state) for state in State) for kind in ResponseType)
