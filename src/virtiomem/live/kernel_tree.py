"""The resource tree as the kernel itself has it, in a vmcore or in the running kernel: ranges, names, flags and descriptors.

drgn reads the structures; it is an extra, `virtiomem[drgn]`, and needs the kernel's debug information: a vmlinux with DWARF. (A
listing shows neither flags nor descriptors, and nothing at all of a kernel that has crashed.)

Reads: iomem_resource, struct resource in include/linux/ioport.h (v6.1 to v7.3).
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from virtiomem.errors import UsageError
from virtiomem.resource.flags import Desc
from virtiomem.resource.node import Resource, ResourceConflict, Trusted
from virtiomem.resource.tree import ResourceTree
from virtiomem.text import shown

MAX_RESOURCES = 1 << 20
"""Limit for memory blocks: a machine has hundreds, or some ten thousand."""
_NOT_HERE = "--core needs drgn (in the checkout: pip install -e '.[drgn]')"


def load(core: str | Path, debug: str | Path | None = None) -> ResourceTree:
    """Read the tree out of a vmcore, or /proc/kcore; `debug` is the kernel's vmlinux, else drgn looks where
    distributions put it.

    Raises UsageError without drgn, without debug information, and for what is not a vmcore of that kernel, or has a
    damaged tree.
    """
    try:
        import drgn
    except ImportError:
        raise UsageError(_NOT_HERE) from None
    logging.getLogger("drgn").addHandler(logging.NullHandler())  # what it warns of is said here, once
    try:
        program = drgn.Program()
        program.set_core_dump(str(core))
        _load_debug_info(drgn, program, core, debug)
        return _tree(program["iomem_resource"], str(core))
    except (drgn.FaultError, drgn.ObjectAbsentError, LookupError, AttributeError, TypeError) as error:
        raise UsageError(f"{shown(core)}: no resource tree can be read in it: {shown(error)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown(core)}: {shown(getattr(error, 'strerror', None) or error)}") from None


def _load_debug_info(drgn: Any, program: Any, core: str | Path, debug: str | Path | None) -> None:
    if not program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        raise UsageError(
            f"{shown(core)}: not a Linux vmcore: it has no VMCOREINFO note (QEMU's dump-guest-memory writes one for a machine with"
            " -device vmcoreinfo)"
        )
    # What is missing is said below, together with the package that has it.
    with suppress(drgn.MissingDebugInfoError):
        program.load_debug_info([str(debug)] if debug else [], main=True)
    if not program.main_module().wants_debug_file():
        return
    release = _release(program)
    lacking = "--debug is of another kernel" if debug else "none is found (see --debug)"
    raise UsageError(
        f"{shown(core)}: debug information of Linux {release} is needed, and {lacking}: on Debian it is"
        f" /usr/lib/debug/boot/vmlinux-{release}, of linux-image-{release}-dbg"
    )


def _release(program: Any) -> str:
    said = bytes(program["VMCOREINFO"].string_()).decode("ascii", "replace")
    return shown(said.partition("OSRELEASE=")[2].partition("\n")[0])


def _tree(root: Any, source: str) -> ResourceTree:
    """The tree below the kernel's own root, node by node."""
    tree = ResourceTree()
    for number, (parent, found) in enumerate(_walk(tree, root)):
        # A damaged list may run in a circle.
        if number == MAX_RESOURCES:
            raise UsageError(f"{shown(source)}: more than {MAX_RESOURCES} resources: the tree is damaged")
        try:
            tree.insert_resource(parent, found)
        except ResourceConflict as conflict:
            raise UsageError(f"{shown(source)}: the tree is damaged: {shown(conflict)}") from None
    return tree


def _walk(tree: Resource, root: Any) -> Iterator[tuple[Resource, Resource]]:
    """Every resource below the root with its parent, depth first: each is in the tree when the next is asked for."""
    # Not recursive: a damaged list may be deeper than Python's stack.
    stack = [(tree, root.child)]
    while stack:
        parent, found = stack.pop()
        if found:
            made = _resource(found)
            yield parent, made
            # Read only now: what follows a resource that the tree refused is not looked at.
            stack += [(parent, found.sibling), (made, found.child)]


def _resource(found: Any) -> Resource:
    """One resource; one without a name is shown as the kernel shows it."""
    start, end, flags, desc = (getattr(found, field).value_() for field in ("start", "end", "flags", "desc"))
    name = found.name.string_().decode("utf-8", "surrogateescape") if found.name else "<BAD>"
    if end < start or "\n" in name:
        raise ValueError(f"the tree is damaged: {start:#x}-{end:#x} {shown(name)}")
    return Trusted(start, end, name, flags, Desc(desc))
