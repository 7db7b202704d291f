"""A resource: one inclusive range of addresses with a name, and the resources inside it.

Models: struct resource in include/linux/ioport.h (v6.1).
"""

from bisect import bisect_right
from collections.abc import Iterator

from virtiomem import border
from virtiomem.errors import ArgumentValueError, Errno, KernelError
from virtiomem.resource.children import Children, Ranged
from virtiomem.resource.flags import IORESOURCE_BUSY, IORESOURCE_MEM, Desc

# Every childless resource shares it: nothing may be put in.
_NO_CHILDREN: "Children[Resource]" = Children()


class Resource(Ranged):
    """One node of the tree: [`start`, `end`], both inclusive, in bytes.

    `name` is compared by identity, as the kernel compares pointers: two names that only read alike do not merge.
    `start`, `end` and `parent` are there to be read; the tree's operations change them.
    """

    __slots__ = ("_children", "desc", "flags", "name", "parent")

    def __init__(self, start: int, end: int, name: str, flags: int = IORESOURCE_MEM, desc: Desc = Desc.NONE) -> None:
        """Make a resource that is in no tree; raises ArgumentError for what cannot be one."""
        border.integer("start", start)
        border.integer("end", end)
        if end < start:
            raise ArgumentValueError(f"end must not be below start, {start:#x}, and is {end:#x}")
        check_label(name, flags)
        border.instance("desc", desc, Desc)
        super().__init__(start, end)
        self.name = name
        self.flags = flags
        self.desc = desc
        self.parent: Resource | None = None
        self._children: Children[Resource] | None = None

    # -- reading --------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start + 1

    @property
    def busy(self) -> bool:
        """True when a driver claimed it, so that no request descends into it."""
        return self.flags & IORESOURCE_BUSY != 0

    @property
    def children(self) -> "Children[Resource]":
        """The resources directly inside this one, in address order."""
        return _NO_CHILDREN if self._children is None else self._children

    # These two are the whole point of the chunks: they spell out Children.at_or_below() rather than pay for the call.

    def lookup(self, address: int) -> "Resource | None":
        """The child that holds `address`, or None."""
        if (children := self._children) is None or (c := bisect_right(children._firsts, address)) == 0:
            return None
        child = children._nodes[c - 1][bisect_right(children._starts[c - 1], address) - 1]
        return child if address <= child.end else None

    def intersects(self, start: int, size: int) -> bool:
        """True when a child shares an address with the `size` bytes from `start`."""
        end = start + size - 1
        if (children := self._children) is None or (c := bisect_right(children._firsts, end)) == 0:
            return False
        return start <= children._nodes[c - 1][bisect_right(children._starts[c - 1], end) - 1].end

    def contains(self, start: int, end: int) -> bool:
        """True when [`start`, `end`] lies inside."""
        return self.start <= start and end <= self.end

    def walk(self) -> Iterator[tuple[int, "Resource"]]:
        """All resources inside, depth first in address order, each with its depth (0 for the direct children)."""
        stack = [iter(self.children)]
        while stack:
            for node in stack[-1]:
                yield len(stack) - 1, node
                if node._children is not None:
                    stack.append(iter(node._children))
                    break
            else:
                stack.pop()

    @property
    def title(self) -> str:
        """Range and name, as messages show them."""
        return f"{self.start:#x}-{self.end:#x} {self.name!r}"

    def __str__(self) -> str:
        return self.title

    def __repr__(self) -> str:
        return f"<Resource {self.start:08x}-{self.end:08x} : {self.name}>"

    # -- changing -------------------------------------------------------------------------------------------------------

    def set_busy(self, busy: bool) -> None:
        """Claim it or open it for requests to descend into."""
        self.flags = self.flags | IORESOURCE_BUSY if busy else self.flags & ~IORESOURCE_BUSY

    def _link(self, new: "Resource") -> "Resource | None":
        """Put `new` directly under this node; return what is in the way, which is this node when `new` is not inside.

        Models: __request_resource().
        """
        if new.end < new.start or new.start < self.start or new.end > self.end:
            return self
        return self._put(new)

    def _put(self, new: "Resource") -> "Resource | None":
        """Put `new`, which lies inside, directly under this node; return the child that is in the way."""
        if self._children is None:
            self._children = Children((new,))
        elif (conflict := self._children.add(new)) is not None:
            return conflict
        new.parent = self
        return None

    def _unlink(self) -> None:
        """Leave the parent, with all that is inside."""
        parent = self.parent
        assert parent is not None
        siblings = parent._children
        assert siblings is not None
        siblings.remove(self)
        # Most resources have no child: those have no container either, which takes more memory than the resource.
        if not siblings._nodes:
            parent._children = None
        self.parent = None

    def _resize(self, start: int, end: int) -> "Resource | None":
        """Become [start, end]; return what is in the way: the parent, a sibling, or a child that would be left outside.

        Models: __adjust_resource().
        """
        if self.parent is not None:
            if not self.parent.contains(start, end):
                return self.parent
            # Above before below and children last, as in Linux: the order decides which one is named as in the way.
            below, above = self.parent.children.around(self)
            if above is not None and above.start <= end:
                return above
            if below is not None and start <= below.end:
                return below
        return self._set_range(start, end)

    def _set_range(self, start: int, end: int) -> "Resource | None":
        """Become [start, end], where no sibling is; return a child that would be left outside."""
        if self._children is not None:
            # Children are sorted and do not overlap: where the first and the last stay inside, all do.
            for child in (self._children[0], self._children[-1]):
                if child.start < start or child.end > end:
                    return child
        # The container finds a child by its start and keeps a copy of it; the end is in the node alone.
        if self.start != start and self.parent is not None and self.parent._children is not None:
            self.parent._children.restart(self, start)
        self.start, self.end = start, end
        return None

    # -- the invariants -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert every invariant of the subtree."""
        assert 0 <= self.start <= self.end, f"{self.title}: a range is not empty"
        for _, node in self.walk():
            assert node.start <= node.end, f"{node.title}: a range is not empty"
            node._check_children()
        self._check_children()

    def _check_children(self) -> None:
        if self._children is None:
            return
        assert self._children, f"{self.title}: a childless resource has no container"
        self._children.check()
        before = None
        for child in self._children:
            assert child.parent is self, f"{child}: a child knows its parent {self.title}"
            assert self.contains(child.start, child.end), f"{child}: a child lies inside its parent {self.title}"
            assert before is None or before.end < child.start, (
                f"{child}: siblings are sorted and do not overlap ({before})"
            )
            before = child


class Trusted(Resource):
    """A resource of values that have been looked at, as the tree makes them by the million."""

    __slots__ = ()

    def __init__(
        self,
        start: int,
        end: int,
        name: str,
        flags: int = IORESOURCE_MEM,
        desc: Desc = Desc.NONE,
        parent: Resource | None = None,
    ) -> None:
        # Spelled out rather than left to super(): the tree makes resources by the million, and a call costs more.
        self.start = start
        self.end = end
        self.name = name
        self.flags = flags
        self.desc = desc
        self.parent = parent
        self._children = None


def overlapping_descendants(root: Resource, start: int, end: int) -> Iterator[Resource]:
    """All resources below `root` that overlap [start, end], depth first."""
    stack = [root.children.overlapping(start, end)]
    while stack:
        for node in stack[-1]:
            yield node
            if node._children is not None:
                stack.append(node._children.overlapping(start, end))
                break
        else:
            stack.pop()


def check_label(name: object, flags: object) -> None:
    """Refuse what cannot be the name or the flags of a resource."""
    border.name("name", name)
    border.integer("flags", flags)


class ResourceConflict(KernelError):  # noqa: N818 - named for what the kernel's own code calls it
    """The range overlaps `conflict`, or is not inside `conflict`, under which it was to go.

    The kernel's callers see EBUSY.
    """

    def __init__(self, wanted: Resource, conflict: Resource) -> None:
        self.wanted = wanted
        self.conflict = conflict
        super().__init__(Errno.EBUSY, f"{wanted.title} conflicts with {conflict.title}")
