"""What an answer means, and what follows from it: two tables.

Models: virtio_mem_send_plug_request() and its siblings, and the end of virtio_mem_run_wq()
(drivers/virtio/virtio_mem.c, v6.1).
"""

from enum import Enum, auto

from virtiomem.errors import Errno
from virtiomem.wire.mem import RequestType, ResponseType

_ANSWERS: dict[RequestType, dict[int, Errno]] = {
    RequestType.PLUG: {
        ResponseType.ACK: Errno.OK,
        ResponseType.NACK: Errno.EAGAIN,
        ResponseType.BUSY: Errno.ETXTBSY,
        ResponseType.ERROR: Errno.EINVAL,
    },
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


def errno_of(request: RequestType, response: int) -> Errno:
    """The errno for an answer; whatever the driver does not expect is ENOMEM."""
    return _ANSWERS[request].get(response, Errno.ENOMEM)


class Next(Enum):
    """What the work function does when a pass is over."""

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


_NEXT = {
    Errno.OK: Next.DONE,
    Errno.ENOSPC: Next.REST,  # no room in the region, or too much memory is offline
    Errno.ETXTBSY: Next.RETRY_LATER,  # the device cannot do it now
    Errno.EBUSY: Next.RETRY_LATER,  # the memory to unplug is in use
    Errno.ENOMEM: Next.RETRY_LATER,
    Errno.EAGAIN: Next.RETRY_NOW,  # the configuration changed under the request
}


def what_next(rc: Errno) -> Next:
    """What follows from a pass that ended with `rc`."""
    return _NEXT.get(rc, Next.BROKEN)
