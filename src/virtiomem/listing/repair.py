"""Read a damaged /proc/iomem listing, as people paste them, and say what was put right.

Mailers wrap names, quote and indent, turn spaces into no-break spaces and tabs; posters cut lines out or filter them,
and annotate; some kernels print a child that is not inside its parent. What is certain is put right; where something
may be missing from the map the reading is *at least*, and so is every sum of it. The reading has two halves. The
diagnosis follows the indentation, line by line, as a strict reader would. The tree follows the ranges, which are
copied, not typed: a resource goes into the smallest that holds it, and where two overlap in part the damaged one gives
way. RAM that others overlap is left out: what is left is surely there. A listing without damage gives the strict
reader's tree.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from virtiomem.errors import ListingError, MaskedListingError
from virtiomem.listing.damage import MAX_REPAIRS, Repair
from virtiomem.resource import iomem
from virtiomem.resource.names import CRASH_KERNEL, SYSTEM_RAM
from virtiomem.resource.spoiled import ELIDED, REMARK, may_elide
from virtiomem.resource.tree import ResourceTree


class Reading(NamedTuple):
    """Result of reading a damaged listing."""

    tree: ResourceTree
    repairs: list[Repair]
    """In line order; empty for a sound listing."""
    masked: bool
    """All addresses are zero, as an unprivileged reader sees them: the tree has the names alone."""
    unnamed: int = 0
    """How many ranges have no name: Linux prints such, and so does who lost it."""
    remarked: tuple[int, int] = (0, 0)
    """How many names that no sum goes by seem to have a remark behind them, which is kept; and the line of the first."""
    elided: tuple[int, ...] = ()
    """Lines whose names, that no sum goes by, seem to have a mark behind them that lines are missing, which is kept."""

    @property
    def at_least(self) -> bool:
        """True if something may be missing, so that every sum is *at least* what it is."""
        return self.unnamed > 0 or len(self.elided) > 0 or any(repair.lost for repair in self.repairs)

    @property
    def damaged_lines(self) -> int:
        """Number of lines repaired."""
        return len({repair.line for repair in self.repairs}) + sum(repair.times - 1 for repair in self.repairs)

    def told(self, source: str) -> Iterator[str]:
        """The repairs for people: a line for all that are alike, and the number of those that are too many."""
        alike: dict[tuple[str, str], list[Repair]] = {}
        for one in self.repairs:
            alike.setdefault((one.what, one.remedy), []).append(one)
        for first, *others in islice(alike.values(), _MAX_TOLD):
            lines = sum(one.times for one in others)
            yield f"{source}:{first}{f' (and in {lines} more lines)' if lines else ''}"
        if (more := len(alike) - _MAX_TOLD) > 0:
            yield f"{source}: {more} more repairs"
        if count := self.remarked[0]:
            names = (
                "what looks like a remark behind a name"
                if count == 1
                else f"and {count - 1} more: remarks behind names"
            )
            yield f"{source}:{self.remarked[1]}: {names}, kept as part of it: no total goes by it"
        for line in self.elided[:1]:
            yield f"{source}:{line}: what looks like a mark behind a name that lines are missing, kept as part of it"
        if self.unnamed:
            ranges = "a range has" if self.unnamed == 1 else f"{self.unnamed} ranges have"
            yield f"{source}: {ranges} no name: whether it is RAM is not known"
        if self.at_least:
            yield f"{source}: something of the map may be missing: it has at least what was read"


_MAX_TOLD = 100


def read(text: str, *, source: str, lenient: bool, allow_masked: bool = False) -> Reading:
    """Read a listing strictly or, if `lenient`, whatever its damage; `source` names it in errors.

    Raises ListingError for damage, with a hint at the option, or if nothing at all can be read; MaskedListingError when all
    addresses are hidden, damaged or not, unless it is read leniently and `allow_masked`.
    """
    if lenient:
        reading = loads(text, source=source)
        if reading.repairs and not reading.tree.children:
            raise _not_a_listing(reading.repairs, source)
        if reading.masked and not allow_masked:
            raise MaskedListingError(source=source)
        return reading
    try:
        return _sound(text, source)
    # Not damage: root sees the addresses, and --lenient does not.
    except MaskedListingError:
        raise
    except ListingError as error:
        # Imported here: a sound listing, the usual one, is read without it.
        from virtiomem.listing.rebuild import with_cure

        raise ListingError(with_cure(error, text), line=error.line, source=source) from None


def _sound(text: str, source: str) -> Reading:
    """Read a sound listing: returns or raises what the strict reader does."""
    return Reading(iomem.loads(text, source=source), [], False, text.count(" : \n"), remarked(text), _elided(text))


def remarked(text: str) -> tuple[int, int]:
    """Count the names outside all sums that seem to have a remark behind them, and find the line of the first."""
    # A cheap pattern first: most listings have no such sign, and the other looks at every name.
    found = list(islice(re.finditer(_REMARKED, text), MAX_REPAIRS)) if _MAY_REMARK.search(text) else []
    return len(found), text.count("\n", 0, found[0].start()) + 1 if found else 0


def _elided(text: str) -> tuple[int, ...]:
    if not may_elide(text):
        return ()
    lines = enumerate(text.splitlines(), 1)
    return tuple(islice((number for number, line in lines if _seems_elided(line.partition(" : ")[2])), MAX_REPAIRS))


@lru_cache(maxsize=4096)
def _seems_elided(name: str) -> bool:
    return re.search(ELIDED, name) is not None


_REMARKED = rf" : (?:(?!{SYSTEM_RAM}|{CRASH_KERNEL})\S.*?){REMARK}"
_MAY_REMARK = re.compile(r"[ \t][#/<\u2190\u21d0\u27f5]")


def _not_a_listing(repairs: list[Repair], source: str) -> ListingError:
    """Something else altogether: one error in place of a repair per line."""
    first = repairs[0]
    rest = "" if len(repairs) == 1 else ", and so on: no line can be read as /proc/iomem"
    return ListingError(f"{first.what}{rest}", line=first.line, source=source)


def loads(text: str | bytes, *, source: str = "iomem") -> Reading:
    """Read a listing whatever its damage; every repair is reported.

    Raises ListingError, which names `source`, for a text with more than `MAX_REPAIRS` lines to put right.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    try:
        return _sound(text, source)
    except ListingError:
        pass
    try:
        from virtiomem.listing.rebuild import rebuilt

        return rebuilt(text)
    except ListingError as error:
        raise ListingError(error.reason, line=error.line, source=source) from None
