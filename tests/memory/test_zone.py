import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from virtiomem.architecture import X86_64
from virtiomem.memory import Node, Zone, ZoneType
from virtiomem.memory.zone import populate_boot_zones
from virtiomem.units import GiB, MiB, Span

BLOCK = 32768


def test_boot_zones_count_whole_pages_and_span_holes() -> None:
    """The figures a real kernel showed for q35 with 4G (recordings, boot)."""
    node = Node(0)
    node.ram = (Span(0x1000, 0x9FC00), Span(0x100000, 0x7FFE0000), Span(4 * GiB, 6 * GiB))
    populate_boot_zones(node, X86_64)
    counters = {str(zone.type): (zone.spanned, zone.present) for zone in node if zone.spanned}
    assert counters == {"DMA": (4095, 3998), "DMA32": (1044480, 520160), "Normal": (524288, 524288)}


def test_kernel_zone_is_the_lowest_that_reaches_the_range() -> None:
    node = Node(0)
    node.ram = (Span(0x100000, 2 * GiB),)
    populate_boot_zones(node, X86_64)
    assert node.kernel_zone_for(GiB // X86_64.page_size, 512).type is ZoneType.DMA32
    assert node.kernel_zone_for(5 * GiB // X86_64.page_size, 512).type is ZoneType.NORMAL


def test_span_that_shrinks_back_to_boot_memory_ends_with_a_whole_subsection() -> None:
    """What a real kernel showed for q35 with 3073M: a block came to Normal above, and went again."""
    zone = Zone(0, ZoneType.NORMAL)
    boot = Span.sized(4 * GiB // X86_64.page_size, 1025 * MiB // X86_64.page_size)
    zone.add_boot_memory(boot, boot.size, boot.size, 512)
    assert zone.spanned == 262400
    zone.grow(6 * GiB // X86_64.page_size, BLOCK)
    zone.shrink(6 * GiB // X86_64.page_size, BLOCK)
    assert zone.spanned == 262656
    zone.check()


@pytest.mark.parametrize("toggled", [0, BLOCK])
def test_edges_are_forgotten_whichever_end_comes_and_goes(toggled: int) -> None:
    zone = Zone(0, ZoneType.NORMAL)
    zone.grow(0, 2 * BLOCK)
    zone.add_online(0, BLOCK)
    zone.add_online(BLOCK, BLOCK)
    for _ in range(1000):
        zone.remove_online(toggled)
        zone.shrink(toggled, BLOCK)
        zone.grow(toggled, BLOCK)
        zone.add_online(toggled, BLOCK)
    assert max(len(zone._lowest), len(zone._highest)) < 100


class ZoneMachine(RuleBasedStateMachine):
    """Blocks come and go; the span is that of the blocks there, as counting them one by one says."""

    @initialize(boot=st.sampled_from([None, (0, 3), (10, 12)]))
    def start(self, boot: tuple[int, int] | None) -> None:
        self.zone = Zone(0, ZoneType.NORMAL)
        self.boot = set(range(*boot)) if boot else set[int]()
        if boot:
            span = Span(boot[0] * BLOCK, boot[1] * BLOCK)
            self.zone.add_boot_memory(span, span.size, span.size, 512)
        self.online: set[int] = set()

    @rule(block=st.integers(0, 24))
    def add(self, block: int) -> None:
        if block not in self.online | self.boot:
            self.zone.grow(block * BLOCK, BLOCK)
            self.zone.add_online(block * BLOCK, BLOCK)
            self.zone.present += BLOCK
            self.zone.managed += BLOCK
            self.online.add(block)

    @rule(block=st.integers(0, 24))
    def add_and_cancel(self, block: int) -> None:
        if block not in self.online | self.boot:
            self.zone.grow(block * BLOCK, BLOCK)
            self.zone.shrink(block * BLOCK, BLOCK)

    @precondition(lambda self: self.online)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.online)))
        self.online.remove(block)
        self.zone.remove_online(block * BLOCK)
        self.zone.present -= BLOCK
        self.zone.managed -= BLOCK
        self.zone.shrink(block * BLOCK, BLOCK)

    @invariant()
    def span_is_from_first_to_last(self) -> None:
        if not hasattr(self, "zone"):
            return
        self.zone.check()
        there = self.online | self.boot
        expected = (min(there) * BLOCK, (max(there) + 1 - min(there)) * BLOCK) if there else (0, 0)
        assert (self.zone.start_pfn, self.zone.spanned) == expected


TestZoneMachine = ZoneMachine.TestCase
TestZoneMachine.settings = settings(stateful_step_count=30)


@pytest.mark.parametrize("kind", list(ZoneType))
def test_zone_without_memory_is_sound(kind: ZoneType) -> None:
    Zone(0, kind).check()
