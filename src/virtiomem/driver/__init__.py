"""The guest's side. Models drivers/virtio/virtio_mem.c (Linux 6.1).

A driver plugs and unplugs a device's memory until what is plugged equals what is requested, in one of two modes:

*Sub-block mode* (SBM), when several device blocks fit a Linux memory block. Memory is added to Linux one memory block
(MB) at a time, with any set of its sub-blocks (SB) plugged; the pages of unplugged ones are withheld from the
page allocator (*fake-offline*). A sub-block is the unit of plugging: a device block, but at least a pageblock.

*Big-block mode* (BBM), when a device block is a Linux memory block or more. Memory is added one big block (BB), one or
several memory blocks, at a time, and is plugged as a whole or not at all.

*When does it work?* When requested-size is set, when memory goes online or leaves Linux, after a sleep, and when the retry
timer expires. A pass that ended because memory was in use, the device was busy or memory ran out starts the timer (`work`,
`outcome`).

*What if a block cannot be emptied?* A page that does not move keeps its sub-block (or its big block) plugged, and the driver
takes the missing amount from other blocks. If they yield enough, the pass is done; if not, it ends with EBUSY, and the driver
tries again in 50 s, then 100, 200, and every 300 s (`sbm`, `retry`). Only EBUSY is passed over: ENOMEM ends the pass at once.
A block whose sub-blocks are all unplugged but which Linux will not take offline stays as a partial block with nothing in it.
It is filled again as partial blocks are, and the next unplug that comes by tries to remove it; since 6.5 a pass does so even
when nothing is to be unplugged, and the timer runs until it is gone. `shortfall` says which block refused, and what is in it.

*What does a second device change?* Each device has its own mode, states, work item, timer, memory group and offline
threshold; a pass that is stuck does not hold up the other device's. They share the module's parameters, Linux's zones and
free memory, and one online-page callback; it finds the owner by address. Each hears of every memory block that goes online
or offline, ignores those outside its region, and refuses those that reach across its edge. Their blocks never merge: in
/proc/iomem each device's blocks lie below an entry for that device's region. The guest sleeps only if every device's driver
lets it.

    parameters.py   the module's parameters, as values and as Linux writes them
    module.py       the kernel module: loading and unloading, the online-page callback that devices share
    virtio_mem.py   one device: probe, what a pass does, requests, notifications, removal
    retry.py        how long it waits before it tries again
    messages.py     what it writes to the kernel log
    work.py         when it works: the work function, its queue entry, the retry timer
    added.py        what it has in Linux: adding, withholding and removing memory
    link.py         the wire: requests out, errnos back, the configuration space
    sizes.py        which of the two modes: what is moved at a time, how much may stay offline
    mode.py         what the driver asks of either mode, and a mode of its driver
    sbm.py, bbm.py  the modes
    order.py        the states of memory blocks, and the order of plugging and unplugging
    states.py       the state of every unit, with a counter for each state
    outcome.py      answers to errnos, errnos to what happens next and to reasons
    at_rest.py      why it rests without a timer, from sizes and parameters
    shortfall.py    why a device is not at its requested size, as the driver and its kernel know it
    vmcore.py       the driver in a crash kernel: which pages may be read
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtiomem.driver.module import VirtioMemModule
    from virtiomem.driver.parameters import Parameters
    from virtiomem.driver.virtio_mem import VirtioMem
    from virtiomem.driver.vmcore import VmcoreDriver

__all__ = ["Parameters", "VirtioMem", "VirtioMemModule", "VmcoreDriver"]

# Imported when they are first used: orders, sizes and intervals are read without importing the whole driver.
_HOMES = {"Parameters": "parameters", "VirtioMem": "virtio_mem", "VirtioMemModule": "module", "VmcoreDriver": "vmcore"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'virtiomem.driver' has no attribute {name!r}")
    return getattr(import_module(f"virtiomem.driver.{_HOMES[name]}"), name)
