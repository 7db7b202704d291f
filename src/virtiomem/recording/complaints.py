"""Lines of the kernel log in which a kernel complains of itself: warnings, bugs, what its sanitizers and lockdep find.

What a busy host alone brings about (stalls, lockups, hung tasks) is none of them.
"""

import re
from collections.abc import Iterator

from virtiomem.recording.describe import describe
from virtiomem.recording.values import Recording

BOOT_LOG = "boot-log"
"""Where a recording's `guest` has those of its boot."""

_COMPLAINT = re.compile(r"WARNING: |BUG: |UBSAN: |kernel BUG at |Oops: |[^[]{0,120}: [0-9a-f]{4} \[#\d{1,9}\]")
"""kernel/panic.c (__warn), lib/bug.c, kernel/locking/lockdep.c, mm/kasan/report.c, lib/ubsan.c,
arch/x86/kernel/dumpstack.c (v6.1)."""


def is_complaint(line: str) -> bool:
    """True for the first line of a complaint, without its time."""
    return _COMPLAINT.match(line) is not None


def complaints(recording: Recording) -> Iterator[str]:
    """Yield every complaint in a recording, with its step: ``step 2 (resize vm0 to 1G): WARNING: CPU: 0 PID: 1 at …``."""
    yield from (f"boot: {line}" for line in recording.guest.get(BOOT_LOG, ()))
    for number, record in enumerate(recording.steps, start=1):
        for line in filter(is_complaint, record.log or ()):
            yield f"step {number} ({describe(record.step)}): {line}"
