"""Kinds of damage that a listing can have, and the repair of each."""

from enum import Enum
from typing import NamedTuple

from virtiomem.errors import ListingError


class Damage(Enum):
    """A kind of damage."""

    NOT_A_LINE = "not a resource line"
    SPELLING = "not written as the kernel writes"
    REMARK = "a remark behind a name"
    NAME = "not quite a name that Linux gives"
    NO_NAME = "a range without a name"
    DIGITS = "digits are lost"
    COLOURS = "colour escapes"
    QUOTED = "quoted"
    NUMBERS = "numbers before lines"
    JOINED = "lines joined in one"
    BROKEN = "a line broken in two"
    CUT = "cut short"
    INDENT = "not indented by two spaces a level"
    INDENT_JUMP = "indented by more than one level"
    INDENT_LOST = "no line is indented"
    OUTSIDE_PARENT = "outside its parent"
    OVERLAP = "overlaps or precedes its sibling"
    REVERSED = "ends before it starts"
    DUPLICATE = "the same line again"


class Repair(NamedTuple):
    """One line that was put right, or a run of lines that are alike; `line` counts from 1."""

    line: int
    damage: Damage
    what: str
    """The damage in words, with the values."""
    remedy: str
    """What was made of it."""
    times: int = 1
    """How many lines, from `line` on."""
    lost: bool = False
    """Whether something of the map may be missing now, so that every total is *at least* what is shown."""

    def __str__(self) -> str:
        lines = f"{self.line}" if self.times == 1 else f"{self.line}-{self.line + self.times - 1}"
        return f"{lines}: {self.what}: {self.remedy}"


MAX_REPAIRS = 100_000
"""A text with more than this to put right is something else with, perhaps, a listing in it."""


class Repairs(list[Repair]):
    """Repairs in the making: ListingError when there are too many."""

    def append(self, repair: Repair) -> None:
        """Add a repair."""
        if len(self) == MAX_REPAIRS:
            reason = f"more than {MAX_REPAIRS} lines need repair: cut the listing out of the file"
            raise ListingError(reason, line=repair.line)
        super().append(repair)
