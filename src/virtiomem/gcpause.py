"""Python's cyclic garbage collector, where it is in the way: paused for a moment, or made rare for a whole command."""

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


def make_rare() -> None:
    """Look for cycles less often, and never among what is there now; for a program that owns its process, not for a library.

    What a command keeps has hardly a cycle, and Python looks at all of it again whenever it has grown by a quarter. A million
    new objects take about 100 MB: that much may wait.
    """
    # Until now only modules and their functions were made, which stay until the end.
    gc.freeze()
    # 100 000 times 5 times 2, for Python counts from 0: the oldest objects are searched once in a million new ones. Few commands
    # make 100 000, so that most search none.
    gc.set_threshold(100_000, 4, 1)


def skip_last_search() -> None:
    """Skip the two full searches for cycles with which Python ends, in a program that ends next.

    They find what the end of the process frees anyway.
    """
    gc.freeze()
