"""Time that the driver waits before it tries again.

Models: virtio_mem_retry() and virtio_mem_timer_expired() (drivers/virtio/virtio_mem.c, v6.1).
"""

FIRST = 50.0
LAST = 300.0
"""Seconds (VIRTIO_MEM_RETRY_TIMER_MIN_MS, VIRTIO_MEM_RETRY_TIMER_MAX_MS)."""


def after(interval: float) -> float:
    """The interval that follows: twice as long, up to the last."""
    return min(interval * 2, LAST)


def interval(expiries: int) -> float:
    """Seconds the timer runs after that many expiries since the last pass that ended DONE."""
    seconds = FIRST
    while expiries and seconds < LAST:
        seconds, expiries = after(seconds), expiries - 1
    return seconds
