"""The memory hot(un)plug core. Models mm/memory_hotplug.c and drivers/base/memory.c (Linux 6.1).

core.py       Memory: nodes, zones, blocks, groups, listeners, and check()
memmap.py     struct pages inside the memory that they describe
vmemmap.py    struct pages elsewhere: what new memory takes from free memory
forecast.py   how far memory can grow before its struct pages do not fit
refusal.py    why Linux does not add memory, in words
hotplug.py    add_memory(), add_memory_driver_managed(), remove_memory(), offline_and_remove_memory()
onlining.py   online_pages(), offline_pages(), a write to a block's `state`
poison.py     pages that the hardware has lost
contig.py     alloc_contig_range() and pages that a driver withholds
settings.py   what the administrator set: default state, policy, ratio
policy.py     which zone a block goes to: contig-zones, auto-movable
zone.py, block.py, group.py, use.py, pages.py, notifier.py, faults.py   what the core is made of
sysfs.py      /sys/devices/system/memory as text
"""

from virtiomem.abi import BlockState, OnlinePolicy, OnlineType, ZoneType
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.memory.faults import FaultPoint
from virtiomem.memory.hotplug import (
    MHP_MEMMAP_ON_MEMORY,
    MHP_MERGE_RESOURCE,
    MHP_NID_IS_MGID,
    MHP_NONE,
    add_memory,
    add_memory_driver_managed,
    add_memory_resource,
    offline_and_remove_memory,
    remove_memory,
)
from virtiomem.memory.notifier import MemoryEvent, MemoryNotify
from virtiomem.memory.onlining import device_offline, device_online, store_state
from virtiomem.memory.poison import memory_failure
from virtiomem.memory.settings import Policy
from virtiomem.memory.zone import Node, Zone

__all__ = [
    "MHP_MEMMAP_ON_MEMORY",
    "MHP_MERGE_RESOURCE",
    "MHP_NID_IS_MGID",
    "MHP_NONE",
    "BlockState",
    "FaultPoint",
    "Memory",
    "MemoryBlock",
    "MemoryEvent",
    "MemoryNotify",
    "Node",
    "OnlinePolicy",
    "OnlineType",
    "Policy",
    "Zone",
    "ZoneType",
    "add_memory",
    "add_memory_driver_managed",
    "add_memory_resource",
    "device_offline",
    "device_online",
    "memory_failure",
    "offline_and_remove_memory",
    "remove_memory",
    "store_state",
]
