"""Predict how far memory can grow before its struct pages do not fit any more, from sizes alone.

What goes online to a kernel zone pays for what comes after it; what stays offline, or is movable, is paid by what was there.
"""

from dataclasses import dataclass

from virtiomem.abi import OnlinePolicy, OnlineType
from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.memory.core import Memory
from virtiomem.memory.settings import Policy
from virtiomem.memory.vmemmap import BLOCK_OVERHEAD, memmap_size
from virtiomem.reasons import Reason, ReasonKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Free memory that a guest can pay with, in bytes, and where added memory goes."""

    free: int
    """What struct pages can be taken from, beyond what the zones keep."""
    block_size: int
    policy: Policy
    kernel: int = 0
    """What is online in kernel zones; what policy auto-movable goes by."""
    movable: int = 0
    architecture: Architecture = DEFAULT

    @classmethod
    def of(cls, memory: Memory, nid: int) -> "Means | None":
        """Those of a kernel here, for memory of a node; None where its free memory is not counted."""
        if not memory.vmemmap.counted:
            return None
        zones = [zone for node in memory.nodes.values() for zone in node]
        return cls(
            free=memory.vmemmap.available(nid) * memory.page_size,
            block_size=memory.block_size,
            policy=memory.policy,
            kernel=sum(zone.present for zone in zones if zone.is_kernel) * memory.page_size,
            movable=sum(zone.present for zone in zones if not zone.is_kernel) * memory.page_size,
            architecture=memory.architecture,
        )

    @property
    def cost(self) -> int:
        """Cost of one memory block."""
        return memmap_size(self.block_size, self.architecture) + BLOCK_OVERHEAD


@dataclass(frozen=True, slots=True)
class Forecast:
    """Cost of a growth, and how far it can go, in bytes."""

    growth: int
    need: int
    """For struct pages."""
    free: int
    fits: int
    """So much of the growth."""

    @property
    def is_enough(self) -> bool:
        """True if all of it fits."""
        return self.fits >= self.growth

    @property
    def reason(self) -> Reason:
        """The same in words."""
        facts = {"growth": self.growth, "need": self.need, "free": self.free, "fits": self.fits}
        if not self.is_enough:
            return Reason(ReasonKind.NO_ROOM_FOR_MEMMAP, facts)
        return Reason(ReasonKind.MEMMAP_FITS if self.need <= self.free else ReasonKind.MEMMAP_PAYS, facts)


def foresee(means: Means, growth: int, *, begun: int = 0, at_once: bool = False) -> Forecast:
    """What `growth` more bytes of one device will cost; `begun` bytes of it have their memory block already.

    `at_once`: none of it is online before all is there, as with a DIMM.
    """
    blocks = max(-(-(growth - begun) // means.block_size), 0)
    fitting = _fitting(means, blocks)
    # A DIMM comes whole or not at all, and none of it is online in time to pay for the rest.
    if at_once:
        fitting = blocks if blocks * means.cost <= means.free else 0
    fits = growth if fitting == blocks else min(growth, begun + fitting * means.block_size)
    return Forecast(growth, memmap_size(blocks * means.block_size, means.architecture), means.free, fits)


def _fitting(means: Means, blocks: int) -> int:
    """Return how many of `blocks` memory blocks can be added."""
    if blocks * means.cost <= means.free:
        return blocks
    movable, all_kernel = _movable_share(means)
    # What goes online in a kernel zone pays for the next block: one block's price is enough to begin with.
    if all_kernel:
        return blocks if means.free >= means.cost else 0
    if movable is None:
        return means.free // means.cost
    free, kernel, in_movable = means.free, means.kernel, means.movable
    for block in range(blocks):
        if free < means.cost:
            return block
        free -= means.cost
        if in_movable + means.block_size <= movable * kernel // 100:
            in_movable += means.block_size
        else:
            kernel += means.block_size
            # Only in a kernel zone can it hold the next block's struct pages.
            free += means.block_size
    return blocks


def _movable_share(means: Means) -> tuple[int | None, bool]:
    """Percent of movable memory that policy auto-movable allows, None where it does not choose; whether all goes to a
    kernel zone.
    """
    state = means.policy.default_state
    if state in (OnlineType.OFFLINE, OnlineType.ONLINE_MOVABLE):
        return None, False
    chooses = state is OnlineType.ONLINE and means.policy.online_policy is OnlinePolicy.AUTO_MOVABLE
    return (means.policy.auto_movable_ratio, False) if chooses else (None, True)
