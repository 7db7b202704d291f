"""A look at the pages of memory blocks: what /proc/kpageflags says about them, strictly read."""

import binascii
import re
from array import array
from collections.abc import Iterator

from virtiomem.abi import PageFlag
from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.errors import ProtocolError, UsageError
from virtiomem.packed import unpack
from virtiomem.recording.pages import FREE, KERNEL, MOVABLE, WITHHELD

_LINE = re.compile(r"(\d{1,9}) ([A-Za-z0-9+/=]{1,65536})")
_FLAGS = 8
"""Bytes of a page's flags."""

_OF_KERNEL = PageFlag.SLAB | PageFlag.PGTABLE
_OF_USER = PageFlag.LRU | PageFlag.MMAP | PageFlag.ANON | PageFlag.SWAPBACKED
_OF_NOBODY = PageFlag.BUDDY | PageFlag.OFFLINE | PageFlag.HWPOISON


def flags_size(block_size: int, architecture: Architecture = DEFAULT) -> int:
    """Bytes of the flags of a memory block's pages."""
    return architecture.pages(block_size) * _FLAGS


def parse(text: str, block_size: int, architecture: Architecture = DEFAULT) -> dict[int, str]:
    """Read the agent's answer to `pages`: letters by memory block; see `recording.pages`. Raises ProtocolError.

    Empty for a kernel that does not show the flags of pages.
    """
    per_letter = architecture.pages(architecture.pageblock_size)
    blocks = _blocks(text, flags_size(block_size, architecture))
    return {number: "".join(_letters(flags, per_letter)) for number, flags in blocks}


def _blocks(text: str, size: int) -> Iterator[tuple[int, bytes]]:
    """Each memory block, and the flags of all its pages."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        try:
            # At most as much as the block's flags have: packed, a guest could send anything.
            flags = unpack(binascii.a2b_base64(match[2]), source="pages", limit=size) if match else b""
        except (UsageError, binascii.Error):
            flags = b""
        if match is None or len(flags) != size:
            raise ProtocolError(f"the guest's pages: {line[:80]!r}")
        yield int(match[1]), flags


def _letters(flags: bytes, per_letter: int) -> Iterator[str]:
    """A letter for every pageblock."""
    pages = array("Q", flags)
    for at in range(0, len(pages), per_letter):
        # A set, for most pages of a pageblock are alike and there are millions.
        yield _letter(set(pages[at : at + per_letter]))


def _letter(kinds: set[int]) -> str:
    """Classify a pageblock by the flags that occur in it.

    A page without any flag is the kernel's, without further marks (a memmap, a buffer), or on its way back to the
    allocator: next to a user's pages, which the kernel keeps apart from its own, it is that.
    """
    used = [flags for flags in kinds if not flags & _OF_NOBODY]
    if any(flags & _OF_KERNEL for flags in used):
        return KERNEL
    if any(flags & _OF_USER for flags in used):
        return MOVABLE
    if used:
        return KERNEL
    return WITHHELD if any(flags & PageFlag.OFFLINE for flags in kinds) else FREE
