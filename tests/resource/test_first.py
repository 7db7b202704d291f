"""The worked example at the level of the tree."""

from virtiomem import ResourceTree, iomem
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.units import GiB, MiB

BOOT = "100000000-13fffffff : System RAM\n"
REGION = 0x1_4000_0000
BLOCK = 128 * MiB


def _grow(tree: ResourceTree, *, merge: bool) -> None:
    device = tree.request_region(REGION, 8 * GiB, "virtio0", IORESOURCE_SYSTEM_RAM)
    device.set_busy(False)
    for start in range(REGION, REGION + 2 * GiB, BLOCK):
        block = tree.request_region(start, BLOCK, "System RAM (virtio_mem)", IORESOURCE_SYSTEM_RAM)
        if merge:
            tree.merge_system_ram_resource(block)
    tree.check()


def test_unmerged_blocks_are_a_line_each() -> None:
    tree = iomem.loads(BOOT)
    _grow(tree, merge=False)
    lines = iomem.dumps(tree).splitlines()
    assert lines[:3] == [
        "100000000-13fffffff : System RAM",
        "140000000-33fffffff : virtio0",
        "  140000000-147ffffff : System RAM (virtio_mem)",
    ]
    assert lines[-1] == "  1b8000000-1bfffffff : System RAM (virtio_mem)"
    assert len(lines) == 18


def test_merged_blocks_are_one_line_and_removal_splits_it() -> None:
    tree = iomem.loads(BOOT)
    _grow(tree, merge=True)
    merged = BOOT + "140000000-33fffffff : virtio0\n  140000000-1bfffffff : System RAM (virtio_mem)\n"
    assert iomem.dumps(tree) == merged
    tree.release_mem_region_adjustable(REGION + BLOCK, BLOCK)
    assert iomem.dumps(tree).splitlines()[2:] == [
        "  140000000-147ffffff : System RAM (virtio_mem)",
        "  150000000-1bfffffff : System RAM (virtio_mem)",
    ]
    tree.check()
