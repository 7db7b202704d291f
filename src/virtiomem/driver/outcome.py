"""Two tables for the answers of the device: what each means, and what the driver does next.

Models: virtio_mem_send_plug_request() and its siblings, and the end of virtio_mem_run_wq()
(drivers/virtio/virtio_mem.c, v6.1).
"""

from enum import Enum, auto

from virtiomem.errors import Errno
from virtiomem.reasons import ReasonKind
from virtiomem.wire.mem import RequestType, ResponseType

_ANSWERS: dict[RequestType, dict[int, Errno]] = {
    RequestType.PLUG: {
        ResponseType.ACK: Errno.OK,
        ResponseType.NACK: Errno.EAGAIN,
        ResponseType.BUSY: Errno.ETXTBSY,
        ResponseType.ERROR: Errno.EINVAL,
    },
    # NACK means more than is requested: giving back is never that, so no other request expects it.
    RequestType.UNPLUG: {
        ResponseType.ACK: Errno.OK,
        ResponseType.BUSY: Errno.ETXTBSY,
        ResponseType.ERROR: Errno.EINVAL,
    },
    RequestType.UNPLUG_ALL: {
        ResponseType.ACK: Errno.OK,
        ResponseType.BUSY: Errno.ETXTBSY,
    },
    RequestType.STATE: {
        ResponseType.ACK: Errno.OK,
        ResponseType.ERROR: Errno.EINVAL,
    },
}
# Linux starts with this errno and keeps it for an answer that it has no case for; so the driver tries again later.
_UNEXPECTED = Errno.ENOMEM
"""What any answer means that the driver does not expect."""


def errno_of(request: RequestType, response: int) -> Errno:
    """The errno for an answer."""
    return _ANSWERS[request].get(response, _UNEXPECTED)


class Next(Enum):
    """Next step of the work function after a pass."""

    DONE = auto()
    """Rest; the retry interval starts over."""
    REST = auto()
    """Rest until the configuration, or what is online, changes."""
    RETRY_LATER = auto()
    """Start the retry timer."""
    RETRY_NOW = auto()
    """Begin the next pass at once."""
    BROKEN = auto()
    """Never send a request again."""


_AFTER = {
    Errno.OK: (Next.DONE, ReasonKind.BELOW_UNIT),
    Errno.ENOSPC: (Next.REST, ReasonKind.NO_ROOM),  # or too much memory is offline: `rest` looks
    Errno.ETXTBSY: (Next.RETRY_LATER, ReasonKind.DEVICE_BUSY),
    Errno.EBUSY: (Next.RETRY_LATER, ReasonKind.MEMORY_BUSY),
    Errno.ENOMEM: (Next.RETRY_LATER, ReasonKind.NO_MEMORY),
    Errno.EAGAIN: (
        Next.RETRY_NOW,
        ReasonKind.NEVER_ALLOWED,
    ),  # again and again: one change of the configuration does not count as rest
}
_UNKNOWN = Next.BROKEN, ReasonKind.GAVE_UP


def what_next(rc: Errno) -> Next:
    """Return the next step after a pass that ended with `rc`."""
    return _AFTER.get(rc, _UNKNOWN)[0]


def why(rc: Errno) -> ReasonKind:
    """Why a driver is short of the requested size after a pass that ended with `rc`."""
    return _AFTER.get(rc, _UNKNOWN)[1]
