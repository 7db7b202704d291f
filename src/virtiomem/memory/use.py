"""Users of pages: which whole pageblocks each of them has."""

from dataclasses import dataclass, field

from virtiomem.memory.zone import Zone


@dataclass(slots=True, eq=False)
class PageUse:
    """Memory of one user: whole pageblocks, in hotplugged blocks or in boot memory."""

    id: str
    movable: bool
    places: set[tuple[int, int]] = field(default_factory=set)
    """Ids of hotplugged blocks, and the pageblocks used in them."""
    boot: dict[Zone, int] = field(default_factory=dict)
    """Pageblocks used in each zone's boot memory."""

    @property
    def pageblocks(self) -> int:
        """Number of pageblocks used."""
        return len(self.places) + sum(self.boot.values())
