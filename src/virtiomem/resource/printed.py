"""A resource tree as the text of /proc/iomem: see `resource.iomem` for the form."""

from virtiomem.resource.node import Resource

MAX_SHOWN_DEPTH = 5
"""Deeper levels are indented like this one."""


def listing(tree: Resource, *, masked: bool = False) -> str:
    """Return one line for each resource inside `tree`; `masked` is what a reader without CAP_SYS_ADMIN gets."""
    digits = 4 if tree.end < 0x10000 else 8
    form = f"%0{digits}x-%0{digits}x : %s\n"
    lines: list[str] = []
    levels = [iter(tree.children)]
    while levels:
        # The kernel indents no deeper than this, though resources may nest deeper.
        indented = "  " * min(len(levels) - 1, MAX_SHOWN_DEPTH) + form
        for node in levels[-1]:
            lines.append(indented % ((0, 0, node.name) if masked else (node.start, node.end, node.name)))
            if node._children is not None:
                # Its children first, then the rest of this level: the iterator remembers where it was.
                levels.append(iter(node._children))
                break
        else:
            levels.pop()
    return "".join(lines)
