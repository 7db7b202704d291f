"""Interface that both modes implement, and the services that a mode needs from its driver."""

from typing import Protocol

from virtiomem.driver.added import AddedMemory
from virtiomem.driver.parameters import Parameters
from virtiomem.errors import Errno
from virtiomem.memory.core import Memory
from virtiomem.memory.notifier import MemoryNotify
from virtiomem.wire.mem import Config


class ModeHost(Protocol):
    """Services that a mode needs from the driver of its device. Sizes and addresses are bytes."""

    addr: int
    """Where the device's region starts."""
    added: AddedMemory
    memory: Memory
    parameters: Parameters

    def usable_end(self, config: Config) -> int:
        """The exclusive end of what can be plugged: of the usable region, cut at the highest address that can be hotplugged."""

    def contains(self, start: int, size: int) -> bool:
        """True when the range lies in the device's region."""

    def send_plug(self, addr: int, size: int) -> Errno:
        """Ask the device to plug."""

    def send_unplug(self, addr: int, size: int) -> Errno:
        """Ask the device to unplug."""

    def log(self, level: str, text: str) -> None:
        """Write a kernel log line."""


class Mode(Protocol):
    """Sub-block or big-block mode of one device. Sizes and addresses are bytes."""

    name: str
    """``sbm`` or ``bbm``."""
    plug_size: int
    """Bytes plugged and unplugged at a time: a sub-block or a big block."""
    unit_size: int
    """Bytes added to Linux at a time: a memory block or a big block."""
    emptied_remain: bool
    """Units with nothing plugged are still in Linux and are to be tried again."""

    def refresh(self, config: Config) -> None:
        """Take in a changed usable region."""

    def unplug_pending(self) -> Errno:
        """Unplug what is plugged but not in Linux, left over from errors."""

    def plug(self, diff: int) -> Errno:
        """Plug and add `diff` more bytes."""

    def unplug(self, diff: int) -> Errno:
        """Remove and unplug `diff` bytes."""

    def adopt(self, addr: int, plugged: int) -> Errno:
        """Plug the first `plugged` bytes of the unit that `addr` is in, and add it, out of turn."""

    def expects(self, notify: MemoryNotify) -> bool:
        """True when memory goes online or offline in the grain in which this mode added it."""

    def going_online(self, notify: MemoryNotify) -> Errno:
        """May it go online? EPERM when not."""

    def online(self, notify: MemoryNotify) -> None:
        """It is online."""

    def going_offline(self, notify: MemoryNotify) -> None:
        """Let go of the pages that are withheld, so that offlining can skip them."""

    def offline(self, notify: MemoryNotify) -> None:
        """It is offline."""

    def cancel_offline(self, notify: MemoryNotify) -> None:
        """It stays online: withhold again what `going_offline` let go of."""

    def online_page(self, start: int, size: int) -> None:
        """Hand memory that goes online to the page allocator, but withhold what is not plugged."""

    def remove(self) -> None:
        """The driver leaves: take back what must not be left behind."""

    def counts(self) -> dict[str, int]:
        """Return the number of units in each state, by name."""

    def plugged_bytes(self) -> int:
        """Return the bytes that are plugged according to this mode's own records."""

    def check(self) -> None:
        """Assert the mode's invariants, and that it agrees with the core."""
