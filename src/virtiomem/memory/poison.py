"""Pages that the hardware has lost: they are never allocated again, and a memory block that has one may not go online.

What became of a page's user is not followed: the user goes on as before.
"""

from virtiomem import border
from virtiomem.abi import BlockState
from virtiomem.errors import OK, Errno
from virtiomem.memory.block import MemoryBlock
from virtiomem.memory.core import Memory
from virtiomem.units import align_down


def memory_failure(memory: Memory, address: int) -> Errno:
    """Poison the page at an address: ENXIO where no memory is online, EHWPOISON when it is poisoned already.

    Raises ArgumentError. Models: memory_failure() as hard_offline_page_store() calls it (v6.1).
    """
    border.instance("memory", memory, Memory)
    border.integer("address", address)
    block = memory.blocks.get(address // memory.block_size)
    if block is None or block.state is not BlockState.ONLINE:
        return Errno.ENXIO
    page = align_down(address, memory.page_size)
    if page in block.poisoned:
        return Errno.EHWPOISON
    # A set of its own each time: blocks without a poisoned page share the empty one.
    block.poisoned |= {page}
    return OK


def going_online(memory: Memory, block: MemoryBlock) -> Errno:
    """Refuse a block with a poisoned page; an older kernel makes its memmap again and forgets. Since: 6.2 (refuses_poison)."""
    if block.poisoned and memory.release.refuses_poison:
        return Errno.EHWPOISON
    block.poisoned = frozenset()
    return OK
