"""Boot memory: whose it is, and which zone its blocks are in."""

from virtiomem.memory import Memory, ZoneType, sysfs
from virtiomem.resource import iomem
from virtiomem.units import GiB, MiB, Span

MB = 128 * MiB


def boot(*nodes: list[Span], ram: str) -> Memory:
    memory = Memory(iomem.loads(ram), block_size=MB, nodes=dict(enumerate(nodes)))
    memory.check()
    return memory


def zones(memory: Memory, *gibibytes: float) -> list[str]:
    return [sysfs.valid_zones(memory, memory.blocks[int(at * GiB) // MB]) for at in gibibytes]


def nodes(memory: Memory, *gibibytes: float) -> list[list[int]]:
    return [sysfs.nodes_of(memory, memory.blocks[int(at * GiB) // MB]) for at in gibibytes]


def test_block_between_the_memory_of_another_node_is_in_its_own_nodes_zone() -> None:
    """Node 0's Normal spans node 1's memory, which is not memory of node 0."""
    low, middle, high = Span(4 * GiB, 5 * GiB), Span(5 * GiB, 6 * GiB), Span(6 * GiB, 7 * GiB)
    memory = boot([low, high], [middle], ram="100000000-1bfffffff : System RAM\n")
    assert zones(memory, 4, 5, 6) == ["Normal"] * 3
    assert nodes(memory, 4, 5, 6) == [[0], [1], [0]]
    assert memory.blocks[40].zone is memory.nodes[1].zones[ZoneType.NORMAL]


def test_block_of_two_nodes_is_linked_to_both_and_in_no_single_zone() -> None:
    edge = 5 * GiB + 64 * MiB
    memory = boot([Span(4 * GiB, edge)], [Span(edge, 6 * GiB)], ram="100000000-17fffffff : System RAM\n")
    assert zones(memory, 4, 5, 5.125) == ["Normal", "none", "Normal"]
    assert nodes(memory, 4, 5, 5.125) == [[0], [0, 1], [1]]


def test_node_that_firmware_gives_only_a_hole_of_a_block_has_no_part_in_it() -> None:
    memory = boot([Span(4 * GiB, 5 * GiB)], [Span(5 * GiB, 6 * GiB)], ram="100000000-13bffffff : System RAM\n")
    assert nodes(memory, 4.9) == [[0]]
    assert zones(memory, 4.9) == ["Normal"]


def test_first_block_lies_in_two_zones() -> None:
    memory = boot([Span(0, 2 * GiB)], ram="00001000-0009fbff : System RAM\n00100000-7ffdffff : System RAM\n")
    assert zones(memory, 0, 0.125, 1.875) == ["none", "DMA32", "DMA32"]
