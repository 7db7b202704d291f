"""Memory that a driver added to Linux: how much of it is offline, and what would not leave.

**How much may be offline.** Memory that is added but not online is of no use and has its price: Linux takes the struct
pages of a new block (1/64 of it) from memory that is in use. In a guest whose user space never puts blocks online, a driver
that went on adding would eat up all free memory. So it adds no more when that would bring `offline_size` above the threshold
of `Units.offline_threshold` (1G, or two units if that is more). The pass then ends with ENOSPC, without a timer.

`add` counts the new memory as offline *before* it adds it. Adding may put it online at once, and then the notifier runs
inside the call and takes it off the count: with auto-online the count is back at its old value when `add` returns, and the
threshold never stops the driver. Counting afterwards would make it negative meanwhile.

Memory that goes online makes the driver go on only when no more than half the threshold is offline (`Units.resume_size`),
and not from inside a pass, which goes on by itself. With a threshold of 1G and blocks of 128M the driver adds eight; the
first three that go online change nothing, the fourth brings the next four. A pass for each block would be a look at the
configuration and two log lines for 128M.

**What leaves.** `remove` is for memory that is offline, which cannot fail. `offline_and_remove` may: then Linux has put back
online what it had taken offline, and `failures` says what refused. Either way memory that left makes room below the
threshold, so the work is queued; that is why a shrink that met nothing busy ends with a pass that sends nothing.

Models: what both modes of drivers/virtio/virtio_mem.c (v6.1) do to add, withhold and remove memory.
"""

from collections.abc import Callable
from typing import NamedTuple

from virtiomem.driver.messages import ADDING_FAILED
from virtiomem.driver.sizes import Units
from virtiomem.errors import OK, Errno
from virtiomem.memory import contig, hotplug
from virtiomem.memory.core import Memory
from virtiomem.memory.hotplug import MHP_MERGE_RESOURCE, MHP_NID_IS_MGID
from virtiomem.memory.zone import Zone
from virtiomem.resource.names import VIRTIO_MEM_RAM
from virtiomem.units import Span, align_down, align_up


class UnplugFailure(NamedTuple):
    """Memory that should have been unplugged in the last pass and was not."""

    span: Span
    errno: Errno
    zone: Zone | None


class AddedMemory:
    """The memory that one device's driver has added to Linux. Sizes and addresses are bytes."""

    def __init__(
        self,
        memory: Memory,
        region: Span,
        mgid: int,
        units: Units,
        *,
        merge: bool,
        queue_work: Callable[[], None],
        config_changed: Callable[[], bool],
        log: Callable[[str, str], None],
    ) -> None:
        """`region` is the device's; `queue_work` is called when some was removed.

        `config_changed` says whether the device's configuration has changed meanwhile.
        """
        self.offline_size = 0
        """What of it is not online."""
        self.units = units
        """What is plugged and added at a time."""
        self.resume_size = units.resume_size
        """See `Units.resume_size`; looked up here, since it is asked for each time a block goes online."""
        self.failures: list[UnplugFailure] = []
        """What the last pass could not unplug."""
        self._most_offline = units.most_offline
        self._memory = memory
        self._region = region
        self._mgid = mgid
        self._flags = MHP_NID_IS_MGID | MHP_MERGE_RESOURCE if merge else MHP_NID_IS_MGID
        self._queue_work = queue_work
        self._config_changed = config_changed
        self._log = log

    def could_add(self) -> bool:
        """False when too much of what was added is still offline. Models: virtio_mem_could_add_memory()."""
        return self.offline_size <= self._most_offline

    def went_online(self, size: int) -> None:
        """Some of it is online now."""
        self.offline_size -= size

    def went_offline(self, size: int) -> None:
        """Some of it is offline now."""
        self.offline_size += size

    def add(self, addr: int, size: int) -> Errno:
        """Add plugged memory to Linux, which may put it online at once. Models: virtio_mem_add_memory()."""
        self.offline_size += size
        rc = hotplug.add_named(self._memory, self._mgid, addr, size, VIRTIO_MEM_RAM, self._flags)
        if rc:
            self.offline_size -= size
            self._log("warning", f"{ADDING_FAILED}: {-rc}")
        return rc

    def remove(self, addr: int, size: int) -> None:
        """Remove offline memory from Linux, which cannot fail. Models: virtio_mem_remove_memory()."""
        rc = hotplug.remove_blocks(self._memory, addr, size)
        assert not rc, f"{Span.sized(addr, size)} was to be offline"
        self._left(size)

    def offline_and_remove(self, addr: int, size: int) -> Errno:
        """Take memory from Linux. Models: virtio_mem_offline_and_remove_memory(). Since: 6.5 (folds_removal_errnos)."""
        # Looked up before the attempt: the reason for a failure names it, and memory that went offline is in no zone.
        zone = self._memory.zone_of(addr)
        rc = hotplug.offline_and_remove(self._memory, addr, size)
        if rc:
            self.failures.append(UnplugFailure(Span.sized(addr, size), rc, zone))
            return _folded(rc) if self._memory.release.folds_removal_errnos else rc
        self._left(size)
        return OK

    def _left(self, size: int) -> None:
        """Offline memory left Linux: there may be room to add other memory."""
        # It counted as offline: it was added so, or the notifier has heard that it went. Now it is gone.
        self.offline_size -= size
        self._queue_work()

    def fake_offline(self, addr: int, size: int) -> Errno:
        """Take exactly this memory from the page allocator: ENOMEM, or EBUSY for every other reason.

        In Movable it is worth trying five times: pages there are mostly pinned for a moment only. What is in the way in
        a kernel zone mostly stays. EAGAIN when the configuration has changed. Models: virtio_mem_fake_offline(). Since:
        6.5 (fake_offline_heeds_config).
        """
        heeds_config = self._memory.release.fake_offline_heeds_config
        zone = self._memory.zone_of(addr)
        tries = 1 if zone is None or zone.is_kernel else 5
        for _ in range(tries):
            if heeds_config and self._config_changed():
                return Errno.EAGAIN
            rc = contig.alloc_contig_range(self._memory, addr, size)
            if not rc:
                contig.set_fake_offline(self._memory, addr, size, onlined=True)
                return OK
            # Not busy but out of room, and no room comes from trying at once.
            if rc is Errno.ENOMEM:
                break
        rc = _folded(rc)
        self.failures.append(UnplugFailure(Span.sized(addr, size), rc, zone))
        return rc

    def check(self) -> None:
        """Assert that what counts as offline is what the core has offline in the region."""
        size = self._memory.block_size
        start, stop = align_up(self._region.start, size), align_down(self._region.stop, size)
        offline = sum(size for block in self._memory.blocks_in(start, stop - start) if block.zone is None)
        assert self.offline_size == offline, "offline_size is not what is offline"


def _folded(rc: Errno) -> Errno:
    """ENOMEM, or EBUSY for every other failure."""
    return Errno.ENOMEM if rc is Errno.ENOMEM else Errno.EBUSY
