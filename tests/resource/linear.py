"""The resource tree as plainly as it can be written: lists, walked from end to end, as the kernel walks its siblings.

What the real tree is compared with. It follows the rules one by one and shares no code with it.
"""

from dataclasses import dataclass, field

BUSY, MERGEABLE, SYSRAM, MEM, TYPES, EXT = 0x80000000, 0x04000000, 0x01000000, 0x200, 0x1F00, 0x01000000


@dataclass(eq=False)
class Node:
    start: int
    end: int
    name: str
    flags: int = MEM
    desc: int = 0
    children: list["Node"] = field(default_factory=list)
    parent: "Node | None" = None

    def text(self, depth: int = -1) -> list[str]:
        own = [] if depth < 0 else [f"{depth} {self.start}-{self.end} {self.name} {self.flags:x} {self.desc}"]
        return own + [line for child in self.children for line in child.text(depth + 1)]

    def all(self) -> list["Node"]:
        return [found for child in self.children for found in (child, *child.all())]


def link(parent: Node, new: Node) -> Node | None:
    if new.end < new.start or new.start < parent.start or new.end > parent.end:
        return parent
    for at, child in enumerate(parent.children):
        if child.start > new.end:
            parent.children.insert(at, new)
            break
        if child.end >= new.start:
            return child
    else:
        parent.children.append(new)
    new.parent = parent
    return None


def unlink(node: Node) -> None:
    assert node.parent is not None
    node.parent.children.remove(node)
    node.parent = None


def request(root: Node, start: int, size: int, name: str, flags: int) -> Node | None:
    new, parent = Node(start, start + size - 1, name), root
    while True:
        new.flags = (parent.flags & TYPES) | (parent.flags & EXT) | BUSY | flags
        new.desc = parent.desc
        conflict = link(parent, new)
        if conflict is None:
            return new
        if conflict is parent or conflict.flags & BUSY:
            return None
        parent = conflict


def insert(root: Node, new: Node) -> bool:
    parent = root
    while True:
        first = link(parent, new)
        if first is None:
            return True
        if first is parent:
            return False
        same = first.start == new.start and first.end == new.end
        if first.start > new.start or first.end < new.end or same:
            break
        parent = first
    inside = [child for child in parent.children if child.start <= new.end and child.end >= new.start]
    if any(child.start < new.start or child.end > new.end for child in inside):
        return False
    at = parent.children.index(inside[0])
    parent.children[at : at + len(inside)] = [new]
    new.parent, new.children = parent, inside
    for child in inside:
        child.parent = new
    return True


def remove(node: Node) -> None:
    parent = node.parent
    assert parent is not None
    at = parent.children.index(node)
    parent.children[at : at + 1] = node.children
    for child in node.children:
        child.parent = parent
    node.children, node.parent = [], None


def release_region(root: Node, start: int, size: int) -> bool:
    end, level = start + size - 1, root.children
    while True:
        found = [child for child in level if child.start <= start and child.end >= end]
        if not found:
            return False
        if found[0].flags & BUSY:
            if (found[0].start, found[0].end) != (start, end):
                return False
            unlink(found[0])
            return True
        level = found[0].children


def adjust(node: Node, start: int, end: int) -> bool:
    if node.parent is not None:
        if start < node.parent.start or end > node.parent.end:
            return False
        for other in node.parent.children:
            if other is not node and other.start <= end and other.end >= start:
                return False
            if other is not node and (other.start > node.end) != (other.start > end):
                return False
    if any(child.start < start or child.end > end for child in node.children):
        return False
    node.start, node.end = start, end
    return True


def release_adjustable(root: Node, start: int, size: int) -> None:
    end, level = start + size - 1, root.children
    at = 0
    while at < len(level):
        node = level[at]
        if node.start >= end:
            return
        if node.start > start or node.end < end:
            at += 1
            continue
        if not node.flags & MEM:
            return
        if not node.flags & BUSY:
            level, at = node.children, 0
            continue
        if node.start == start and node.end == end:
            unlink(node)
        elif node.start == start:
            adjust(node, end + 1, node.end)
        elif node.end == end:
            adjust(node, node.start, start - 1)
        else:
            rest = Node(end + 1, node.end, node.name, node.flags, node.desc, [], node.parent)
            if adjust(node, node.start, start - 1):
                level.insert(at + 1, rest)
        return


def merge(node: Node) -> Node:
    needed = SYSRAM | MEM | BUSY
    if node.flags & needed != needed:
        return node
    node.flags |= MERGEABLE
    assert node.parent is not None
    level = node.parent.children
    at = level.index(node)
    if at + 1 < len(level) and _mergeable(node, level[at + 1]):
        node.end = level.pop(at + 1).end
    if at and _mergeable(level[at - 1], node):
        level[at - 1].end = node.end
        level.pop(at).parent = None
        return level[at - 1]
    return node


def _mergeable(low: Node, high: Node) -> bool:
    return (
        (low.flags, low.desc, low.end + 1) == (high.flags, high.desc, high.start)
        and low.name is high.name
        and not low.children
        and not high.children
    )
