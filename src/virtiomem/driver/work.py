"""When a device's driver works: at once, later, or never again.

Each device has one work item. Queued twice before it runs, it runs once; queued while it runs, it runs once more. What
queues it: a changed configuration (every write of requested-size, and the end of the probe), waking from sleep, memory that
went online once no more than half the threshold is still offline (`added`), memory that was removed from Linux, and the retry
timer; with unplug_online off, memory that went offline, too.

One run makes passes until one of them ends in something other than RETRY_NOW:

    DONE          nothing left that a pass could do. The interval starts over at 50 s.
    REST          no room, or too much is offline. No timer: only an event can change that, and it queues the work.
    RETRY_LATER   memory that could not be emptied, a device that is busy, no memory. The timer starts.
    RETRY_NOW     the configuration changed under the pass, whose requests are then refused before they are sent, or the
                  device said NACK because it did: the next pass begins with the new one.
    BROKEN        an errno that the driver does not know, such as the device's ERROR. It sends nothing ever again.

The timer runs only between a RETRY_LATER and the next run, whatever starts that: a pass that removed one block and found
another busy has queued the work too, so the busy one is tried once more at once. When it expires the interval doubles,
up to 300 s. A device that stays stuck after a pass at second 0 is tried again at:

    0 -- 50 --- 150 ------- 350 ----------- 650 ----------- 950 ...

Only DONE sets the interval back. A new requested-size runs at once, but if that pass fails too, the next retry is as far
away as the interval has grown to, up to 300 s: a second attempt soon after a long stall can look dead for five minutes.

Two ends have no way back while the driver is loaded. `broken` is Linux's: see BROKEN. `hung` is ours for a device that
takes a request and never answers: Linux's work function waits for the answer forever; here the run ends and no other
begins.

Models: virtio_mem_run_wq(), virtio_mem_retry(), virtio_mem_timer_expired() (drivers/virtio/virtio_mem.c, v6.1). What a pass
does: see `virtio_mem`.
"""

from collections.abc import Callable

from virtiomem.clock import Clock, Timer
from virtiomem.driver import retry
from virtiomem.driver.link import DeviceHungError
from virtiomem.driver.messages import BROKEN
from virtiomem.driver.outcome import Next, what_next
from virtiomem.errors import OK, Errno

RETRY_NOW_LIMIT = 1000
"""Passes in a row that may ask for another at once without getting anywhere.

Differs: Linux has no limit; a device that always answers NACK keeps a CPU busy forever."""


class Work:
    """The work function of one device, its queue entry and its retry timer."""

    def __init__(
        self, clock: Clock, attempt: Callable[[], Errno], progress: Callable[[], int], log: Callable[[str, str], None]
    ) -> None:
        """`attempt` makes one pass, `progress` is a number that changes when passes get somewhere."""
        self.active = False
        """A pass is being made."""
        self.broken = False
        """An error that the driver does not know: nothing is ever tried again."""
        self.hung = False
        """The device did not answer: the driver waits forever."""
        self.last_rc = OK
        """How the last pass ended."""
        self._clock = clock
        self._attempt = attempt
        self._progress = progress
        self._log = log
        self._queued = False
        self._stopped = False
        self._interval = retry.FIRST
        self._timer: Timer | None = None

    @property
    def retry_due(self) -> float | None:
        """When the driver tries again, in the clock's seconds; None when no timer runs."""
        return self._timer.due if self._timer is not None else None

    def queue(self) -> None:
        """Queue the work function; do nothing if it is queued already or has been stopped."""
        if not self._stopped and not self._queued:
            self._queued = True
            self._clock.queue(self._run)

    def stop(self) -> None:
        """Never run again."""
        self._stopped = True
        self._stop_timer()

    def _run(self) -> None:
        # First: what queues the work during this run asks for another run.
        self._queued = False
        if self._stopped or self.hung:
            return
        self._stop_timer()  # whatever started this run: the pass decides whether there is anything to wait for
        if self.broken:
            return
        self.active = True
        try:
            self._run_passes()
        except DeviceHungError:
            self.hung = True
            self._log("warning", "the device does not answer")
        self.active = False

    def _run_passes(self) -> None:
        fruitless = 0
        while True:
            before = self._progress()
            self.last_rc = self._attempt()
            match what_next(self.last_rc):
                case Next.DONE:
                    self._interval = retry.FIRST
                case Next.REST:
                    pass
                case Next.RETRY_LATER:
                    self._timer = self._clock.after(self._interval, self._expired)
                case Next.RETRY_NOW:
                    # A pass that plugged something may ask again without end: it really met a change.
                    fruitless = fruitless + 1 if before == self._progress() else 0
                    if fruitless < RETRY_NOW_LIMIT:
                        continue
                    self._log("warning", "the device refuses what its configuration allows")
                case Next.BROKEN:
                    self._log("err", f"{BROKEN}: {-self.last_rc}")
                    self.broken = True
            return

    def _expired(self) -> None:
        self._timer = None
        self.queue()
        self._interval = retry.after(self._interval)  # before the pass, which starts over from 50 s if it is DONE

    def pass_over(self, end: float) -> None:
        """Let the retries until `end` go by, as though each had been made and had changed nothing."""
        if self._timer is None or self._timer.due > end:
            return
        due = self._timer.due
        while due <= end and self._interval < retry.LAST:
            self._interval = retry.after(self._interval)
            due += self._interval
        # From here on the interval is the longest: whole ones are skipped in one step, however far away the end is.
        if due <= end:
            due += ((end - due) // retry.LAST + 1) * retry.LAST
        self._stop_timer()
        self._timer = self._clock.at(due, self._expired)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._clock.cancel(self._timer)
            self._timer = None
