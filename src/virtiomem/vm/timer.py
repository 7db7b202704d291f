"""The Linux driver's retry timer, as seen from outside.

After a pass that could not finish (memory busy, no memory, device busy) the driver tries again in 50 s, then after 100,
200 and 300 s, forever. Only a pass that reaches the requested size sets the interval back to 50 s; a new requested-size
starts a pass at once but leaves the interval alone.

Models: virtio_mem_run_wq() and virtio_mem_timer_expired() in drivers/virtio/virtio_mem.c (v6.1).
"""

from dataclasses import dataclass, field

from virtiomem.driver.retry import LAST, interval


@dataclass(slots=True)
class RetryTimer:
    """Estimate of when the driver tries again, from when memory was last seen moving.

    `certain` is false when the device was not settled at the start: then the driver may have doubled its interval before
    we came, and only the 300 s hold.
    """

    since: float
    """When the last pass is taken to have ended."""
    certain: bool
    expiries: int = field(default=0)

    def passed(self, now: float) -> None:
        """Note that a pass of the driver ended or goes on now: memory moved, or a size was set."""
        self._expire(now)
        self.since = now

    def due(self, now: float) -> float:
        """Return the latest time after `now` at which the driver tries again."""
        self._expire(now)
        # Uncertain, only the longest interval can be promised: the driver may have doubled its own before we came.
        return self.since + (interval(self.expiries) if self.certain else LAST)

    def _expire(self, now: float) -> None:
        """Account for the retries that have come and gone without moving anything."""
        # An expiry doubles the interval and queues a pass; a pass that moves nothing does not show from outside.
        while self.since + interval(self.expiries) <= now:
            self.since += interval(self.expiries)
            self.expiries += 1
