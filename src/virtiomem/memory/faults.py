"""Failures on request: make the next calls at a chosen point fail, as an allocation failure or a veto would."""

from collections import deque
from enum import StrEnum

from virtiomem import border
from virtiomem.errors import OK, Errno

MAX_TIMES = 10_000
"""Limit for failures in a row; larger counts are treated as typos."""


class FaultPoint(StrEnum):
    """Points where the core can be made to fail, in the order in which a block meets them."""

    REGISTER_RESOURCE = "register_memory_resource"
    ONLINE_NODE = "__try_online_node"
    ARCH_ADD = "arch_add_memory"
    CREATE_BLOCKS = "create_memory_block_devices"
    GOING_ONLINE = "MEM_GOING_ONLINE"
    ISOLATE = "start_isolate_page_range"
    GOING_OFFLINE = "MEM_GOING_OFFLINE"
    MIGRATE = "do_migrate_range"
    CONTIG = "alloc_contig_range"
    OFFLINE_AND_REMOVE = "offline_and_remove_memory"


class Faults:
    """Failures still to come, by point."""

    def __init__(self) -> None:
        self._pending: dict[FaultPoint, deque[Errno]] = {}

    def pending(self) -> dict[FaultPoint, list[Errno]]:
        """Return the failures still to come."""
        return {point: list(errnos) for point, errnos in self._pending.items()}

    def inject(self, point: FaultPoint, errno: Errno, times: int = 1) -> None:
        """Let the next `times` calls at `point` fail with `errno`; OK lets them pass.

        Raises ArgumentError; `times` is at most `MAX_TIMES`.
        """
        border.instance("point", point, FaultPoint)
        border.instance("errno", errno, Errno)
        border.integer("times", times, 1, MAX_TIMES)
        self._pending.setdefault(point, deque()).extend([errno] * times)

    def clear(self) -> None:
        """Forget all failures still to come."""
        self._pending.clear()

    def take(self, point: FaultPoint) -> Errno:
        """Pop the next injected failure for `point`; `OK` if none is pending."""
        if not self._pending:
            return OK
        pending = self._pending.get(point)
        if not pending:
            return OK
        errno = pending.popleft()
        if not pending:
            # Emptied queues go: `take` is called at every point of every block, and tests for an empty dict first.
            del self._pending[point]
        return errno
