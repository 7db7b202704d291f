"""What Python allocates for a resource, a memory block with all that the stack keeps of it, and a line of a listing.

    python benchmarks/memory.py [--items N ...]

Bytes an item by tracemalloc, once the work is done: what stays, not what it took on the way.
"""

import argparse
import gc
import tracemalloc
from collections.abc import Callable

import tree
from builds import listing
from stack import MEMORY_BLOCK, guest

from virtiomem import iomem
from virtiomem.releases.linux import DEFAULT
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM


def resources(count: int) -> object:
    """Blocks under a device, not merged."""
    kept, _ = tree.device(count)
    for start in range(0, count * tree.BLOCK, tree.BLOCK):
        kept.request_region(start, tree.BLOCK, tree.NAME, IORESOURCE_SYSTEM_RAM)
    return kept


def blocks(count: int) -> object:
    """A guest that has grown by `count` memory blocks."""
    device, clock = guest(count, DEFAULT.name)
    device.requested_size = count * MEMORY_BLOCK
    clock.run_until_idle()
    return device, clock


def size(make: Callable[[], object]) -> int:
    """Bytes that are allocated and kept."""
    gc.collect()
    tracemalloc.start()
    kept = make()
    gc.collect()
    found, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    args = parser.parse_args()
    print(f"{'items':>9}  {'a resource':>10}  {'a memory block':>14}  {'a line':>6}   bytes")
    for count in args.items:
        text = listing(count)
        makes = (lambda n=count: resources(n), lambda n=count: blocks(n), lambda text=text: iomem.loads(text))
        each = [round(size(make) / count) for make in makes]
        print(f"{count:>9,}  {each[0]:>10}  {each[1]:>14}  {each[2]:>6}")


if __name__ == "__main__":
    main()
