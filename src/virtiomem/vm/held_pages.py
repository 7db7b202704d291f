"""Explain from the pages of memory blocks why they cannot go: reasons, block by block and use by use."""

from collections import Counter
from collections.abc import Iterable, Iterator

from virtiomem.abi import ZoneType
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.recording.page_blocks import MOVABLE
from virtiomem.recording.page_use import PIECE, BlockPages, UseOfPage, total
from virtiomem.vm.inside import Block, GuestMemoryInfo

SHOWN = 4
"""Memory blocks that are described one by one; the rest is in the sums."""
_KINDS: dict[UseOfPage, ReasonKind] = {
    UseOfPage.SLAB: ReasonKind.HELD_BY_SLAB,
    UseOfPage.PAGE_TABLE: ReasonKind.HELD_BY_PAGE_TABLE,
    UseOfPage.PINNED: ReasonKind.HELD_BY_PINNED,
    UseOfPage.RESERVED: ReasonKind.HELD_BY_RESERVED,
    UseOfPage.KERNEL: ReasonKind.HELD_BY_KERNEL,
    UseOfPage.CACHE: ReasonKind.MOVES_CACHE,
    UseOfPage.SHMEM: ReasonKind.MOVES_SHMEM,
    UseOfPage.ANONYMOUS: ReasonKind.MOVES_ANONYMOUS,
    UseOfPage.MLOCKED: ReasonKind.MOVES_MLOCKED,
    UseOfPage.HUGETLB: ReasonKind.MOVES_HUGETLB,
}


def about_pages(blocks: Iterable[Block], inside: GuestMemoryInfo, device: str) -> Iterator[Reason]:
    """Yield the pages that hold memory blocks of a device, most held first, and those that would only have to move."""
    zones = {block.block: block.zone for block in blocks if block.online}
    if not zones:
        return
    found = [pages for pages in inside.pages if pages.block in zones]
    # Pageblocks are counted by zone, for all blocks: they bound what the pages that were not read may hold. In Movable
    # there is nothing to bound, as the kernel's own pages stay out of it.
    if len(found) < len(zones):
        yield from _about_pageblocks({zone for zone in zones.values() if zone != ZoneType.MOVABLE}, inside, device)
    if not found:
        yield Reason(ReasonKind.PAGES_NOT_READ, device=device, certainty=Certainty.UNKNOWN)
        return
    page_size = inside.architecture.page_size
    used = sorted((one for one in found if one.of(moves=False) or one.of(moves=True)), key=_weight, reverse=True)
    for pages in used[:SHOWN]:
        yield Reason(
            ReasonKind.BLOCK_PAGES,
            {
                "block": pages.block,
                "zone": zones[pages.block] or "zone unknown",
                "pages": _facts(pages, inside.block_size or 0, page_size),
            },
            device,
        )
    for use, count in total(found).most_common():
        if (kind := _KINDS.get(use)) is not None and count:
            blocks_with = sum(1 for pages in found if pages.pages.get(use))
            yield Reason(kind, {"size": count * page_size, "count": blocks_with}, device)
    # The count is of the whole guest, not of these blocks: a hint where little else keeps pages, in Movable.
    if any(zone == ZoneType.MOVABLE for zone in zones.values()) and inside.pinned:
        yield Reason(ReasonKind.PINS_COUNTED, {"count": inside.pinned})
    # A page's flags do not show a pin, and /proc/kpagecount does not either: pages that could move may be pinned.
    if any(pages.of(moves=True) for pages in found):
        yield Reason(ReasonKind.PINS_UNSEEN, certainty=Certainty.UNKNOWN)


def _about_pageblocks(zones: Iterable[str | None], inside: GuestMemoryInfo, device: str) -> Iterator[Reason]:
    """Yield how much of kernel zones may be held, where not all pages were seen."""
    for zone in sorted(filter(None, zones)):
        kinds: Counter[str] = Counter()
        for blocks in inside.pageblocks:
            if blocks.zone == zone:
                kinds.update(
                    {
                        kind: count * blocks.pages * inside.architecture.page_size
                        for kind, count in blocks.counts.items()
                    }
                )
        held = {kind: size for kind, size in kinds.items() if size and kind not in MOVABLE}
        if kinds.total():
            facts = {"zone": zone, "size": kinds.total(), "held": sum(held.values()), "kinds": held}
            yield Reason(ReasonKind.PAGEBLOCKS, facts, device)


def _weight(pages: BlockPages) -> tuple[int, int]:
    return pages.held, sum(pages.of(moves=True).values())


def _facts(pages: BlockPages, block_size: int, page_size: int) -> dict[str, object]:
    """The pages of a block in bytes, by what becomes of them."""

    def sizes(*, moves: bool) -> dict[str, int]:
        return {use.words: count * page_size for use, count in pages.of(moves=moves).items()}

    return {
        "cannot-move": sizes(moves=False),
        "can-move": sizes(moves=True),
        "free": pages.pages.get(UseOfPage.FREE, 0) * page_size,
        "held": pages.held,
        "pieces": block_size // PIECE,
    }
