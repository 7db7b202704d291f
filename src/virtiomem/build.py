"""Name this build: pure Python, or the same sources with the heart compiled (`make wheel-compiled`)."""

from importlib.util import find_spec


def is_compiled() -> bool:
    """True where the resource tree, and with it the whole heart, is machine code."""
    tree = find_spec("virtiomem.resource.tree")
    return tree is not None and not str(tree.origin).endswith(".py")
