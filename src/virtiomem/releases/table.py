"""A release is the oldest one we know with every change since folded in.

No other module compares versions: code asks for a field, which is named for the behaviour.
"""

import re
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from virtiomem.errors import UsageError

Version = tuple[int, int]
"""Major and minor number."""

# No digit behind it: a longer number is not cut down to a version.
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?![\d])")


class HasName(Protocol):
    """A named tuple whose `name` is its version, such as ``6.12``."""

    @property
    def name(self) -> str:
        """The version."""

    @property
    def _replace(self) -> Callable[..., Self]:
        """Makes the same with other fields."""


Release = TypeVar("Release", bound=HasName)


class Change(NamedTuple):
    """One behaviour that changed: from which release on, the field and its value, where it stands, words for people.

    `commit` is the subject of the commit that changed it, where it was looked up; `since` is then known.
    """

    since: str
    field: str
    value: object
    source: str
    words: str
    commit: str = ""


class Releases(Generic[Release]):
    """The releases of one program; `proven` names those that the real tests run on, oldest first."""

    def __init__(self, oldest: Release, changes: Sequence[Change], proven: Sequence[str]) -> None:
        self.oldest = oldest
        # A field may change more than once, and the last change up to a release counts.
        self.changes = tuple(sorted(changes, key=lambda change: parse(change.since)))
        self.proven = tuple(proven)

    @property
    def newest(self) -> Release:
        """The newest proven release."""
        return self.release(self.proven[-1])

    def release(self, version: str) -> Release:
        """The release of this version (``6.12``, or a whole ``6.12.48-cloud-amd64``).

        A version beyond the newest proven release is modelled as that, one before the oldest as the oldest: `name` says
        which. Raises UsageError when the text does not begin with a version.
        """
        wanted = max(min(parse(version), parse(self.proven[-1])), parse(self.oldest.name))
        fields = {change.field: change.value for change in self.changes if parse(change.since) <= wanted}
        return self.oldest._replace(name=f"{wanted[0]}.{wanted[1]}", **fields)

    def stands_in_for(self, version: str) -> bool:
        """Return whether another release is modelled where this one is asked for; raises UsageError as `release`."""
        return parse(self.release(version).name) != parse(version)


def is_version(text: str) -> bool:
    """Return whether a text begins with major and minor number."""
    return _VERSION.match(text) is not None


def parse(version: str) -> Version:
    """Major and minor number of a version; raises UsageError when the text does not begin with one."""
    match = _VERSION.match(version)
    if match is None:
        raise UsageError(f"a version must begin with two numbers such as 6.12, not {version[:40]!r}")
    return int(match[1]), int(match[2])
