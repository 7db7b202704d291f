"""Settings of memory hotplug: the kernel's parameters and those of the memory_hotplug module."""

from dataclasses import dataclass

from virtiomem import border
from virtiomem.abi import AUTO_MOVABLE_RATIO, MemmapOnMemory, OnlinePolicy, OnlineType


@dataclass(slots=True)
class Policy:
    """Settings of the administrator; any may change at any time, for blocks that go online later.

    Raises ArgumentError for a value that cannot be set.
    """

    default_state: OnlineType = OnlineType.OFFLINE
    """memhp_default_state=, auto_online_blocks."""
    online_policy: OnlinePolicy = OnlinePolicy.CONTIG_ZONES
    auto_movable_ratio: int = AUTO_MOVABLE_RATIO
    """Movable pages allowed for each kernel page, in percent."""
    auto_movable_numa_aware: bool = True
    memmap_on_memory: MemmapOnMemory = MemmapOnMemory.NO
    movable_node: bool = False
    """The kernel's parameter of that name: plain `online` prefers Movable where neither zone, or both, reach."""

    def __setattr__(self, name: str, value: object) -> None:
        if kind := _KINDS.get(name):
            border.instance(name, value, kind)
        else:
            border.integer(name, value, 0, (1 << 31) - 1)
        object.__setattr__(self, name, value)


_KINDS = {
    "default_state": OnlineType,
    "online_policy": OnlinePolicy,
    "auto_movable_numa_aware": bool,
    "memmap_on_memory": MemmapOnMemory,
    "movable_node": bool,
}
