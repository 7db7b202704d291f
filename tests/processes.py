"""Processes that tests start, watch and kill; any of them may end between two looks at it."""

from contextlib import suppress

import psutil


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended: a zombie has."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def children(pid: int, *, recursive: bool = False, called: str = "", worked: float = 0.0) -> list[int]:
    """The running children of a process, by number.

    `recursive`: and theirs; `called`: words of the command line; `worked`: seconds of processor time, at least.
    """
    found = []
    for child in psutil.Process(pid).children(recursive=recursive):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            if runs(child.pid) and called in " ".join(child.cmdline()) and times.user + times.system >= worked:
                found.append(child.pid)
    return sorted(found)
