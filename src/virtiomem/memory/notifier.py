"""The memory notifier chain: who hears of blocks going online and offline, and may say no.

Models: memory_notify() and blocking notifiers (drivers/base/memory.c, kernel/notifier.c, v6.1).
"""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from virtiomem import border
from virtiomem.errors import OK, Errno


class MemoryEvent(IntEnum):
    """Actions on a range of memory (include/linux/memory.h)."""

    ONLINE = 1
    GOING_OFFLINE = 2
    OFFLINE = 4
    GOING_ONLINE = 8
    CANCEL_ONLINE = 16
    CANCEL_OFFLINE = 32
    PREPARE_ONLINE = 64
    FINISH_OFFLINE = 128


class MemoryNotify(NamedTuple):
    """The range concerned, in bytes, and its node."""

    start: int
    size: int
    nid: int


Notifier = Callable[[MemoryEvent, MemoryNotify], Errno]
"""Hears of an event; anything but OK vetoes PREPARE_ONLINE, GOING_ONLINE and GOING_OFFLINE and is ignored otherwise."""


class NotifierChain:
    """Notifiers, highest priority first; equal priorities in order of registration."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, Notifier]] = []

    def register(self, notifier: Notifier, priority: int = 0) -> None:
        """Add a notifier (register_memory_notifier()). Raises ArgumentError."""
        border.function("notifier", notifier)
        border.integer("priority", priority, -(1 << 31), (1 << 31) - 1)
        at = next((i for i, (other, _) in enumerate(self._entries) if other < priority), len(self._entries))
        self._entries.insert(at, (priority, notifier))

    def unregister(self, notifier: Notifier) -> None:
        """Take a notifier out; harmless when it is not in."""
        # By equality, for a bound method is another object each time it is looked up; and a new list, for a round that
        # is under way goes on over the old one.
        self._entries = [entry for entry in self._entries if entry[1] != notifier]

    def notify(self, event: MemoryEvent, notify: MemoryNotify) -> Errno:
        """Tell everyone; the first veto ends the round and is returned."""
        for _, notifier in self._entries:
            if rc := notifier(event, notify):
                return rc
        return OK

    def cancel(self, event: MemoryEvent, notify: MemoryNotify) -> None:
        """Tell everyone that it came to nothing, also those who were never asked."""
        for _, notifier in self._entries:
            notifier(event, notify)

    def check(self) -> None:
        """Assert the order of priorities."""
        priorities = [priority for priority, _ in self._entries]
        assert priorities == sorted(priorities, reverse=True), "notifiers are out of order"
