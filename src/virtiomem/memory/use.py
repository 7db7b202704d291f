"""Who uses pages, and which: one user's whole pageblocks."""

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
        """How many pageblocks are used in all."""
        return len(self.places) + sum(self.boot.values())
