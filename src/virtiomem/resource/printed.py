"""A resource tree as the text of /proc/iomem: see `resource.iomem` for the form."""

from virtiomem.resource.node import Resource

MAX_SHOWN_DEPTH = 5
"""Deeper levels are indented like this one."""


def listing(tree: Resource, *, masked: bool = False) -> str:
    """Return one line for each resource inside `tree`; `masked` is what a reader without CAP_SYS_ADMIN gets."""
    digits = 4 if tree.end < 0x10000 else 8
    # Python takes twice as long to fill a number up with zeros, which few of a long listing's need.
    filled, full = f"%0{digits}x-%0{digits}x : %s\n", "%x-%x : %s\n"
    full_from = 16 ** (digits - 1)
    forms: list[str] = []
    values: list[int | str] = []
    levels = [iter(tree.children)]
    while levels:
        # The kernel indents no deeper than this, though resources may nest deeper.
        indent = "  " * min(len(levels) - 1, MAX_SHOWN_DEPTH)
        forms_here = indent + filled, indent + full
        for node in levels[-1]:
            start, end = (0, 0) if masked else (node.start, node.end)
            forms.append(forms_here[start >= full_from])
            values += (start, end, node.name)
            if node._children is not None:
                # Its children first, then the rest of this level: the iterator remembers where it was.
                levels.append(iter(node._children))
                break
        else:
            levels.pop()
    # One % for all lines: a % for each line takes 1.4 times as long.
    return "".join(forms) % tuple(values)
