"""Memory groups: which blocks a driver adds as one, so that the online policy can treat them alike.

Models: memory_group_register_static(), memory_group_register_dynamic() (drivers/base/memory.c, v6.1).
"""

from collections.abc import Iterator

from virtiomem import border
from virtiomem.errors import OK, Errno, KernelError
from virtiomem.units import is_power_of_two


class MemoryGroup:
    """One group; every count is in pages. `max_pages` of a static group or `unit_pages` of a dynamic one is set."""

    __slots__ = ("blocks", "id", "max_pages", "nid", "present_kernel", "present_movable", "unit_pages")

    def __init__(self, id: int, nid: int, max_pages: int = 0, unit_pages: int = 0) -> None:
        self.id = id
        self.nid = nid
        self.max_pages = max_pages
        self.unit_pages = unit_pages
        self.present_kernel = 0
        self.present_movable = 0
        self.blocks = 0
        """Memory blocks in the group, online or not."""

    @property
    def is_dynamic(self) -> bool:
        """True for a group that grows and shrinks in units (virtio-mem), false for a DIMM or dax device."""
        return self.unit_pages > 0


class MemoryGroups:
    """All groups by id; ids count from 0, the lowest free one first."""

    def __init__(self, pages_per_block: int) -> None:
        self._pages_per_block = pages_per_block
        self._groups: dict[int, MemoryGroup] = {}

    def __iter__(self) -> Iterator[MemoryGroup]:
        return iter(self._groups.values())

    def get(self, mgid: int) -> MemoryGroup | None:
        """The group with that id; None if no group has it."""
        return self._groups.get(mgid)

    def register_static(self, nid: int, max_pages: int) -> int:
        """Make a group of at most `max_pages`; returns its id. Raises KernelError (EINVAL) for no pages."""
        _check(nid, max_pages)
        if max_pages <= 0:
            raise KernelError(Errno.EINVAL, f"static memory group of {max_pages} pages")
        return self._register(MemoryGroup(self._free_id(), nid, max_pages=max_pages))

    def register_dynamic(self, nid: int, unit_pages: int) -> int:
        """Make a group that changes in units; returns its id.

        Raises KernelError (EINVAL) unless the unit is a power of two and at least a memory block.
        """
        _check(nid, unit_pages)
        if not is_power_of_two(unit_pages) or unit_pages < self._pages_per_block:
            raise KernelError(Errno.EINVAL, f"dynamic memory group with a unit of {unit_pages} pages")
        return self._register(MemoryGroup(self._free_id(), nid, unit_pages=unit_pages))

    def unregister(self, mgid: int) -> Errno:
        """Drop a group: EINVAL when unknown, EBUSY while it has memory blocks."""
        border.integer("mgid", mgid, -1)
        group = self._groups.get(mgid)
        if group is None:
            return Errno.EINVAL
        if group.blocks:
            return Errno.EBUSY
        del self._groups[mgid]
        return OK

    def _register(self, group: MemoryGroup) -> int:
        self._groups[group.id] = group
        return group.id

    def _free_id(self) -> int:
        return next(id_ for id_ in range(len(self._groups) + 1) if id_ not in self._groups)


def _check(nid: object, pages: object) -> None:
    border.integer("nid", nid)
    border.integer("pages", pages)
