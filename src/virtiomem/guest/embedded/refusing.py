"""Another memory notifier of the kernel, which refuses chosen actions.

Models: lib/memory-notifier-error-inject.c (v6.1), loaded with ``priority=1``: it is asked before the driver.
"""

from virtiomem.errors import Errno
from virtiomem.memory import Memory, MemoryEvent, MemoryNotify
from virtiomem.recording.values import RefusedEvent

_EVENTS: dict[RefusedEvent, MemoryEvent] = {"online": MemoryEvent.GOING_ONLINE, "offline": MemoryEvent.GOING_OFFLINE}


class RefusingNotifier:
    """Notifier of one kernel that refuses chosen actions with a chosen errno; registered when the first is set."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._errnos: dict[MemoryEvent, Errno] = {}

    def refuse(self, event: RefusedEvent, errno: Errno) -> None:
        """Answer an event with an errno from now on; OK lets it pass."""
        if not self._errnos:
            # The priority puts it before the driver, whichever was registered first.
            self._memory.notifiers.register(self._notified, priority=1)
        self._errnos[_EVENTS[event]] = errno

    def _notified(self, event: MemoryEvent, _notify: MemoryNotify) -> Errno:
        return self._errnos.get(event, Errno.OK)
