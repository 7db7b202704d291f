"""A map that is watched: what changed since it was last read, each time the kernel says that something did.

Linux tells user space of memory blocks that come and go (uevents of the subsystem `memory`); a virtio-mem device's merged
resource grows a moment later. Where there are no uevents (a file, a container), reading again from time to time will do.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator

from virtiomem import border
from virtiomem.errors import UsageError
from virtiomem.listing.diff import ResourceChange, diff
from virtiomem.resource.node import Resource

NETLINK_KOBJECT_UEVENT = 15
"""include/uapi/linux/netlink.h"""
KERNEL_GROUP = 1
"""The kernel's own uevents; 2 is udev's."""
LOST_AFTER = 2
"""Readings that fail in a row."""
SETTLE = 0.2
"""Seconds: a resize sends a burst of uevents, and a block is announced before its resource is merged."""


def watch(
    read: Callable[[], Resource], wait: Callable[[], bool], lost: Callable[[UsageError], None] = lambda _: None
) -> Iterator[list[ResourceChange]]:
    """Yield the changes after each `wait` that says to go on; nothing for a wait that nothing changed in.

    The kernel prints a map in pieces, so one that changes meanwhile may not fit together: then the next reading tells.
    A map that cannot be read twice in a row is `lost`, and read again all the same.
    """
    # Not caught: if the first reading fails, the caller has nothing to watch.
    before, failures = read(), 0
    while wait():
        try:
            after, failures = read(), 0
        except UsageError as error:
            failures += 1
            if failures == LOST_AFTER:
                lost(error)
            continue
        if changes := diff(before, after):
            yield changes
        before = after


class MemoryEvents:
    """Waits for the kernel to say that memory came or went, or for some time to pass."""

    def __init__(self, interval: float, *, uevents: bool = True) -> None:
        """Wait for `interval` seconds at most. Raises ArgumentError for what is not from a millisecond to a year."""
        border.real("interval", interval, 0.001, 365 * 24 * 3600.0)
        self._interval = interval
        self._socket = _uevent_socket() if uevents else None

    def wait(self) -> bool:
        """Wait; always True: there is more to come."""
        if self._socket is None:
            time.sleep(self._interval)
        elif self._memory_event(time.monotonic() + self._interval):
            time.sleep(SETTLE)
        return True

    def _memory_event(self, deadline: float) -> bool:
        """True when one came; False when time is up."""
        assert self._socket is not None
        # What is left of the interval: uevents of other subsystems must not begin it again.
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return False
            try:
                message = self._socket.recv(1 << 16)
            except OSError:  # the event queue overflowed: surely something happened
                return True
            if b"\0SUBSYSTEM=memory\0" in message:
                return True
        return False

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()


def _uevent_socket() -> socket.socket | None:
    """A socket that hears the kernel's uevents, or None where there is no such thing."""
    try:
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT)
        # 0: the kernel chooses, for the process's own number is taken by its first socket.
        heard.bind((0, KERNEL_GROUP))
    except OSError:
        return None
    return heard
