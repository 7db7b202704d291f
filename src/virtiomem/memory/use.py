"""Users of pages: which whole pageblocks each of them has."""

from virtiomem.memory.zone import Zone


class PageUse:
    """Memory of one user: whole pageblocks, in hotplugged blocks or in boot memory."""

    __slots__ = ("boot", "id", "movable", "places")

    def __init__(self, id: str, movable: bool) -> None:
        self.id = id
        self.movable = movable
        self.places: set[tuple[int, int]] = set()
        """Ids of hotplugged blocks, and the pageblocks used in them."""
        self.boot: dict[Zone, int] = {}
        """Pageblocks used in each zone's boot memory."""

    @property
    def pageblocks(self) -> int:
        """Number of pageblocks used."""
        return len(self.places) + sum(self.boot.values())
