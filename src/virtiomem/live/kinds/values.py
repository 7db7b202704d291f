"""Values that the reader of a kind returns: sections of a capture, and facts that have no section of their own."""

from collections.abc import Mapping
from typing import NamedTuple

from virtiomem.live.capture import Section

RANGES = "vmcore/ranges"
"""The heading of what a crash dump holds: lines of `START-END`, in physical addresses, ascending; the end is inclusive."""


class Fact(NamedTuple):
    """One thing that is said about a part of the machine; a number is in bytes."""

    of: str
    what: str
    value: int | str


class Brought(NamedTuple):
    """Input as it was read."""

    sections: Mapping[str, Section]
    facts: tuple[Fact, ...] = ()
    remarks: tuple[str, ...] = ()
    """What there is to say as well; a sentence each."""
    at_least: bool = False
    """Whether something may be missing."""
