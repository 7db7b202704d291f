"""How tests wait: for what should happen, never for a time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which a thing is taken not to happen; a machine that is merely busy does it long before."""


def wait_until(happened: Callable[[], T], what: Callable[[], str] | str) -> T:
    """Return what `happened` gives, as soon as that is true; `what` says what did not."""
    limit = time.monotonic() + PATIENCE
    while not (seen := happened()):
        assert time.monotonic() < limit, what if isinstance(what, str) else what()
        time.sleep(0.01)
    return seen
