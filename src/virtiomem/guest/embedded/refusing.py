"""Another memory notifier of the kernel, which refuses what it is told to.

Models: lib/memory-notifier-error-inject.c (v6.1), loaded with ``priority=1``: it is asked before the driver.
"""

from virtiomem.errors import Errno
from virtiomem.memory import Memory, MemoryEvent, MemoryNotify
from virtiomem.recording.values import RefusedEvent

_EVENTS: dict[RefusedEvent, MemoryEvent] = {"online": MemoryEvent.GOING_ONLINE, "offline": MemoryEvent.GOING_OFFLINE}


class RefusingNotifier:
    """What one kernel's notifier refuses, and with which errno; it is registered when it is first told to."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._errnos: dict[MemoryEvent, Errno] = {}

    def refuse(self, event: RefusedEvent, errno: Errno) -> None:
        """Answer an event with an errno from now on; OK lets it pass."""
        if not self._errnos:
            self._memory.notifiers.register(self._notified, priority=1)
        self._errnos[_EVENTS[event]] = errno

    def _notified(self, event: MemoryEvent, _notify: MemoryNotify) -> Errno:
        return self._errnos.get(event, Errno.OK)
