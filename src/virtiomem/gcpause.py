"""Python's cyclic garbage collector, and the one moment at which it is in the way."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Make many objects without being searched for cycles meanwhile: on a million, the search costs what making them does.

    Collection goes on afterwards, if it was on; nothing is lost, for what became garbage is found then.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
