"""Let time pass in a guest at rest; retries that change nothing are not played to the end of the wait."""

from collections.abc import Sequence

from virtiomem import border
from virtiomem.clock import MAX_SECONDS
from virtiomem.driver import retry
from virtiomem.guest.embedded.kernel import Kernel
from virtiomem.recording.values import Request


def wait(kernel: Kernel, requests: Sequence[Request], seconds: float) -> None:
    """Let time pass; `requests` grows with each that is sent. Raises ArgumentError for an impossible time.

    Once every device's driver has tried again and has changed nothing, it never will: the retries that are left are passed
    over, and only their times are worked out.
    """
    clock = kernel.clock
    border.real("seconds", seconds, 0, MAX_SECONDS - clock.now)
    end = min(clock.now + seconds, MAX_SECONDS)
    # What is due now belongs to the time before the wait.
    clock.run_until_idle()
    seen, since = _state(kernel, requests), clock.now
    while (due := clock.next_due) is not None and due <= end:
        # The longest interval has passed without a change, so that every device has tried at least once.
        if due > since + retry.LAST:
            for device in kernel.devices:
                device.work.pass_over(end)
            break
        clock.advance_to(due)
        if (now := _state(kernel, requests)) != seen:
            seen, since = now, due
    clock.advance_to(end)


def _state(kernel: Kernel, requests: Sequence[Request]) -> list[object]:
    """Return what differs after a retry that did anything."""
    return [len(requests), len(kernel.log), kernel.memory.pages_state()]
