"""The resource tree: claiming, inserting, releasing and moving ranges of addresses.

`ResourceTree` is the kernel's `iomem_resource`, itself a `Resource` with everything else inside. The operations keep the
kernel's rules exactly; their cost does not grow with the number of siblings, where the kernel walks a list.

**Busy means: stop here.** There are two ways into the tree. *Inserting* is for those who describe what is there
(firmware, buses): a resource goes inside what contains it and around what it contains, busy or not. *Requesting* is for
drivers, who claim: a request descends through resources that are not busy to the deepest one that holds the whole
range, becomes a busy child of that, and fails at the first busy resource in the way. So no request gets into `System
RAM` (its `Kernel code` was inserted), and memory can be added inside a device's region only because the virtio-mem
driver makes that region not busy after it has claimed it. Flags come from the last parent tried: its type and SYSRAM,
nothing else.

**What virtio-mem does,** as /proc/iomem shows it. The driver claims its region and adds three blocks of 128M:

    140000000-23fffffff : virtio0
      140000000-147ffffff : System RAM (virtio_mem)
      148000000-14fffffff : System RAM (virtio_mem)
      150000000-157ffffff : System RAM (virtio_mem)

Each is merged with its neighbours once it has been added (`merge_system_ram_resource`):

    140000000-23fffffff : virtio0
      140000000-157ffffff : System RAM (virtio_mem)

When the middle one is removed (`release_mem_region_adjustable`), what was merged is split again:

    140000000-23fffffff : virtio0
      140000000-147ffffff : System RAM (virtio_mem)
      150000000-157ffffff : System RAM (virtio_mem)

A block that is added in the gap merges with both. See `resource.merge`.

Models: kernel/resource.c (v6.1).
Differs: nothing sleeps, so a request for a MUXED region that is taken fails like any other.
"""

from typing import NoReturn

from virtiomem import border
from virtiomem.errors import ArgumentKeyError, ArgumentTypeError, Errno, KernelError
from virtiomem.resource.allocate import AlignFunction, allocate_resource
from virtiomem.resource.children import Children
from virtiomem.resource.flags import IORESOURCE_BUSY, IORESOURCE_INHERITED, IORESOURCE_MEM
from virtiomem.resource.merge import merge_adjacent_system_ram, merge_system_ram_resource, release_mem_region_adjustable
from virtiomem.resource.node import Resource, ResourceConflict, Trusted, check_label
from virtiomem.resource.printed import listing
from virtiomem.units import U64_MAX

__all__ = ["Resource", "ResourceConflict", "ResourceTree"]


class ResourceTree(Resource):
    """All of physical memory, `iomem_resource`: the root that /proc/iomem does not show.

    `end` is the highest physical address, which x86 sets from the CPU's address bits early in boot.
    """

    __slots__ = ("_flags", "_given", "_label", "_recent")

    def __init__(self, end: int = U64_MAX) -> None:
        super().__init__(0, end, "PCI mem", IORESOURCE_MEM)
        self._label, self._flags = self.name, -1
        """A checked name and checked flags: mostly the next region has the same. -1 stands for 0 and 1, which a bool equals."""
        self._given = 0
        """The flags that the last region got: those that are alike share one object, a sixth of what a resource takes."""
        self._recent: Resource = self
        """Where the last region was placed: the next is mostly for the same device, and tries there before it searches."""

    # -- reading --------------------------------------------------------------------------------------------------------

    def __getitem__(self, address: int) -> Resource:
        """Return the deepest resource that holds `address`. Raises ArgumentKeyError, a KeyError, where no resource does."""
        border.integer("address", address)
        found: Resource = self
        while (inside := found.lookup(address)) is not None:
            found = inside
        if found is self:
            raise ArgumentKeyError(f"nothing is at {address:#x}")
        return found

    def __contains__(self, address: int) -> bool:
        """Return whether `tree[address]` would find a resource. Raises ArgumentError for what is not an address."""
        border.integer("address", address)
        return self.lookup(address) is not None

    def __iter__(self) -> NoReturn:
        """Refuse: without this, Python would look for tree[0], tree[1] and so on."""
        raise ArgumentTypeError("a tree is not iterable: its walk() visits every resource")

    def __str__(self) -> str:
        return listing(self).removesuffix("\n")

    def __repr__(self) -> str:
        return f"<ResourceTree {self.start:08x}-{self.end:08x} : {self.name}>"

    # -- regions: a range and a name, found from the root ---------------------------------------------------------------

    def request_region(self, start: int, size: int, name: str, flags: int = 0) -> Resource:
        """Claim `size` bytes from `start`, as deep as the resources in the way are not busy.

        The new resource is busy, has the type of the resource it landed in, and `flags` as well.
        Raises ResourceConflict (EBUSY) when a busy resource is in the way, or the range is not inside what it descended to;
        ArgumentError for what can be no region. Models: __request_region().
        """
        # Nearly every call passes this test. Only integers have an integer for their sum, and no bool is 2 or more; the name and
        # flags are those of the region before, which were checked.
        try:
            are_integers = type(start + size + flags) is int
        except TypeError:
            are_integers = False
        if not are_integers or start < 2 or size < 2 or name is not self._label or flags != self._flags:
            self._look_at(start, size, name, flags)
        end = start + size - 1
        new = Trusted(start, end, name)
        place = self._recent
        # The place of the last region may have been released, claimed or moved since: all that makes it right is tested.
        if place.start <= start <= end <= place.end and place.parent is self and not place.flags & IORESOURCE_BUSY:
            conflict = place._put(new)
        else:
            place = self
            conflict = self._link(new)
        while conflict is not None:
            # Looked at only now: sound regions, nearly all, need not be looked at twice.
            if conflict is place or conflict.flags & IORESOURCE_BUSY:
                border.span(start, size)
                raise ResourceConflict(new, conflict)
            place = conflict
            conflict = place._link(new)
        given = place.flags & IORESOURCE_INHERITED | IORESOURCE_BUSY | flags
        if given != self._given:
            self._given = given
        new.flags = self._given
        new.desc = place.desc
        self._recent = place
        return new

    def _look_at(self, start: int, size: int, name: str, flags: int) -> None:
        """Check all arguments, then remember the name and the flags. Raises ArgumentError."""
        border.span(start, size)
        check_label(name, flags)
        self._label, self._flags = name, flags if flags > 1 else -1

    def release_region(self, start: int, size: int) -> bool:
        """Release the busy resource with exactly this range; False if there is no such resource (the kernel would warn).

        What is inside the claimed resource goes with it. Raises ArgumentError. Models: __release_region().
        """
        border.span(start, size)
        end = start + size - 1
        child = self.lookup(start)
        # Down through what is not busy: the first busy resource has to be the range itself.
        while child is not None and child.end >= end and not child.busy:
            child = child.lookup(start)
        if child is None or (child.start, child.end) != (start, end):
            return False
        child._unlink()
        return True

    def release_mem_region_adjustable(self, start: int, size: int) -> None:
        """Take a range out of the busy resource that holds it, which is trimmed or split: see `resource.merge`."""
        release_mem_region_adjustable(self, start, size)

    @staticmethod
    def merge_system_ram_resource(res: Resource) -> Resource:
        """Merge a resource with its neighbours and return the survivor: see `resource.merge`."""
        return merge_system_ram_resource(res)

    def merge_adjacent_system_ram(self) -> int:
        """Merge every run of touching System RAM blocks there is; return how many went: see `resource.merge`."""
        return merge_adjacent_system_ram(self)

    # -- resources: nodes that the caller made --------------------------------------------------------------------------

    @staticmethod
    def request_resource(parent: Resource, new: Resource) -> None:
        """Put `new` directly under `parent`.

        Raises ResourceConflict (EBUSY) when any child is in the way, busy or not. Models: request_resource().
        """
        _require_unlinked(parent, new)
        if (conflict := parent._link(new)) is not None:
            raise ResourceConflict(new, conflict)

    @staticmethod
    def insert_resource(parent: Resource, new: Resource) -> None:
        """Put `new` somewhere under `parent`: inside what contains it, around what it contains.

        On equal ranges the newcomer becomes the parent. Busy or not does not matter.
        Raises ResourceConflict (EBUSY) for what it overlaps in part. Models: insert_resource().
        """
        if (conflict := _insert(parent, new)) is not None:
            raise ResourceConflict(new, conflict)

    @staticmethod
    def insert_resource_expand_to_fit(parent: Resource, new: Resource) -> None:
        """Insert `new`, grown over whatever it overlaps in part; nothing happens when it is in a tree already.

        Raises ResourceConflict (EBUSY) when it is not inside `parent`. Models: insert_resource_expand_to_fit().
        """
        border.instance("new", new, Resource)
        if new.parent is not None:
            return
        while (conflict := _insert(parent, new)) is not None:
            if conflict is parent:
                raise ResourceConflict(new, conflict)
            # Set directly: `new` is in no tree yet, so no container has a copy of its start.
            new.start = min(new.start, conflict.start)
            new.end = max(new.end, conflict.end)

    @staticmethod
    def release_resource(old: Resource) -> None:
        """Take `old` out with all that is inside.

        Raises KernelError (EINVAL) when it is in no tree. Models: release_resource().
        """
        _require_linked(old)
        old._unlink()

    @staticmethod
    def remove_resource(old: Resource) -> None:
        """Take `old` out and leave what is inside in its place.

        Raises KernelError (EINVAL) when it is in no tree. Models: remove_resource().
        """
        parent = _require_linked(old)
        # A copy: linking them again changes the container that is read.
        inside = list(old.children)
        old._children = None
        old._unlink()
        for child in inside:
            assert parent._link(child) is None, "children fit where their parent was"

    @staticmethod
    def release_child_resources(res: Resource) -> None:
        """Take everything inside `res` apart; each node becomes [0, size - 1] in no tree.

        Models: release_child_resources().
        """
        border.instance("res", res, Resource)
        # A list first: the walk would not find on through what was taken apart.
        for inside in [inside for _, inside in res.walk()]:
            inside.start, inside.end = 0, inside.size - 1
            inside.parent = inside._children = None
        res._children = None

    @staticmethod
    def adjust_resource(res: Resource, start: int, size: int) -> None:
        """Make `res` the `size` bytes from `start`.

        Raises ResourceConflict (EBUSY) when it would leave its parent, reach a sibling or uncover a child; KernelError
        (EINVAL) for a range that is empty or ends beyond 64 bits, which the kernel does not check.
        Models: adjust_resource().
        """
        border.instance("res", res, Resource)
        border.span(start, size)
        end = start + size - 1
        if size < 1 or end > U64_MAX:
            raise KernelError(Errno.EINVAL, f"cannot adjust {res.title} to {size:#x} bytes from {start:#x}")
        if (obstacle := res._resize(start, end)) is not None:
            raise ResourceConflict(Trusted(start, end, res.name), obstacle)

    @staticmethod
    def allocate_resource(
        root: Resource,
        new: Resource,
        size: int,
        *,
        min: int = 0,
        max: int = U64_MAX,
        align: int = 1,
        alignf: AlignFunction | None = None,
    ) -> None:
        """Put `new`, `size` bytes long, into the lowest gap between the children of `root`: see `resource.allocate`."""
        for what, number in (("size", size), ("min", min), ("max", max)):
            border.integer(what, number)
        border.power_of_two("align", align)
        if alignf is not None:
            border.function("alignf", alignf)
        border.instance("new", new, Resource)
        if new.parent is not root:
            _require_unlinked(root, new)
        allocate_resource(root, new, size, min, max, align, alignf)


def _insert(parent: Resource, new: Resource) -> Resource | None:
    """Insert `new` under `parent`; return what it cannot be inserted for. Models: __insert_resource()."""
    _require_unlinked(parent, new)
    while (conflict := parent._link(new)) is not None:
        if conflict is parent:
            return conflict
        if not conflict.contains(new.start, new.end) or (conflict.start, conflict.end) == (new.start, new.end):
            return _wrap(parent, new)
        parent = conflict
    return None


def _wrap(parent: Resource, new: Resource) -> Resource | None:
    """Put `new` around the children of `parent` that it overlaps; return the first that it does not contain."""
    siblings = parent._children
    assert siblings is not None
    wrapped = list(siblings.overlapping(new.start, new.end))
    for child in wrapped:
        if not new.contains(child.start, child.end):
            return child
    # Its own children and those that it would take in need not be in order.
    if new._children is not None:
        raise KernelError(Errno.EINVAL, f"{new.title} has children and cannot be put around {wrapped[0]}")
    siblings.replace(wrapped, new)
    new.parent = parent
    new._children = Children(wrapped)
    for child in wrapped:
        child.parent = new
    return None


def _require_linked(res: Resource) -> Resource:
    border.instance("old", res, Resource)
    if res.parent is None:
        raise KernelError(Errno.EINVAL, f"{res.title} is in no resource tree")
    return res.parent


def _require_unlinked(parent: Resource, new: Resource) -> None:
    """Refuse a newcomer that is in a tree, or has the place it is to go to inside it."""
    border.instance("parent", parent, Resource)
    border.instance("new", new, Resource)
    if new.parent is not None:
        raise KernelError(Errno.EINVAL, f"{new.title} is in a resource tree already, under {new.parent.title}")
    # Up to the root: if `new` is the root that `parent` is in, it would become its own descendant.
    while parent.parent is not None:
        parent = parent.parent
    if parent is new:
        raise KernelError(Errno.EINVAL, f"{new.title} cannot be put inside itself")
