"""How tests wait: for what should happen, never for a time to pass."""

import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds after which a thing is taken not to happen; a machine that is merely busy does it long before."""


def wait_until(happened: Callable[[], object], what: Callable[[], str] | str) -> None:
    """Return as soon as it has happened; `what` says what did not."""
    limit = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < limit, what if isinstance(what, str) else what()
        time.sleep(0.01)
