"""The lines of a listing in whatever spelling they were pasted, and what was wrong with each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from virtiomem.resource.iomem import plain_name


class Damage(Enum):
    """What can be wrong with a line."""

    NOT_A_LINE = "not a resource line"
    SPELLING = "not written as the kernel writes"
    INDENT = "not indented by two spaces a level"
    INDENT_JUMP = "indented by more than one level"
    INDENT_LOST = "no line is indented"
    OUTSIDE_PARENT = "outside its parent"
    OVERLAP = "overlaps or precedes its sibling"
    REVERSED = "ends before it starts"
    DUPLICATE = "the same line again"


@dataclass(frozen=True, slots=True)
class Repair:
    """One line that was put right; `line` counts from 1."""

    line: int
    damage: Damage
    what: str
    """The damage in words, with the values."""
    remedy: str
    """What was made of it."""

    def __str__(self) -> str:
        return f"{self.line}: {self.what}: {self.remedy}"


@dataclass(slots=True)
class Line:
    """A resource line, spelled right."""

    number: int
    indent: int
    start: int
    end: int
    name: str

    @property
    def range(self) -> str:
        """The addresses as the kernel writes them."""
        return f"{self.start:08x}-{self.end:08x}"

    def __str__(self) -> str:
        return f"{self.range} : {self.name}"


_LOOSE = re.compile(
    r"(?P<indent>[\s\udca0]*)(?:0x)?(?P<start>[0-9a-f]{1,16})[\s\udca0]*-[\s\udca0]*(?:0x)?(?P<end>[0-9a-f]{1,16})[\s\udca0]*:[\s\udca0]?(?P<name>.*)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTE = re.compile(r"(?:[>|][ \xa0\udca0]?)+")
_ELISION = re.compile(r"\W*(?:\.{2,}|…|(?:snip|cut|skipped))\W*", re.IGNORECASE)
_WRAPPED_AT = 66
"""Mailers wrap lines that would become longer than this, or more."""
_TAB = 8


def resource_lines(text: str, repairs: list[Repair]) -> list[Line]:
    """The resource lines, spelled right; what is none is left out or joined to the name it continues."""
    raw = text.removesuffix("\n").split("\n")
    raw = _without_returns(raw, repairs)
    found: list[Line] = []
    names: list[list[str]] = []
    """The parts of each name: more than one when it was wrapped."""
    margin = _margin(raw)
    before = ""
    for number, whole in enumerate(raw, 1):
        line = _parse(number, whole, margin, repairs)
        if line is not None:
            found.append(line)
            names.append([line.name])
        elif found and before and _is_continuation(before, whole):
            names[-1].append(whole.strip())
            repairs.append(
                Repair(
                    number,
                    Damage.NOT_A_LINE,
                    f"not a resource line: {whole[:60]!r}",
                    "joined to the name above, which was wrapped",
                )
            )
        else:
            repairs.append(Repair(number, Damage.NOT_A_LINE, _stray(whole), "left out"))
            before = ""
            continue
        before = whole
    if before and not text.endswith("\n"):
        repairs.append(Repair(len(raw), Damage.SPELLING, "no newline at the end: it may be cut short", "one is added"))
    for line, parts in zip(found, names, strict=True):
        line.name = " ".join(parts)
    if margin:
        repairs.append(Repair(found[0].number, Damage.INDENT, f"every line is indented by {margin} more", "taken away"))
    return found


def _parse(number: int, whole: str, margin: int, repairs: list[Repair]) -> Line | None:
    """A resource line in any spelling that can be understood."""
    match = _LOOSE.fullmatch(_bare(whole))
    if match is None:
        return None
    indent = match["indent"].expandtabs(_TAB)
    name = plain_name(match["name"])
    line = Line(number, max(len(indent) - margin, 0), int(match["start"], 16), int(match["end"], 16), name)
    if f"{' ' * (line.indent + margin)}{line}" != whole:
        read_as = line.range if whole.endswith(name) else str(line)
        repairs.append(Repair(number, Damage.SPELLING, f"written {whole[:60]!r}", f"read as {read_as}"))
    return line


def _bare(line: str) -> str:
    """A line without what mail and editors put around it: quote marks, a carriage return, a byte order mark."""
    line = line.removesuffix("\r").removeprefix("\ufeff")
    quote = _QUOTE.match(line)
    return line[quote.end() :] if quote else line


def _without_returns(raw: list[str], repairs: list[Repair]) -> list[str]:
    """The lines without their carriage returns, if every line has one: that is one damage, not one a line."""
    if len(raw) < 2 or not all(line.endswith("\r") for line in raw):
        return raw
    repairs.append(Repair(1, Damage.SPELLING, "every line ends in a carriage return", "taken away"))
    return [line[:-1] for line in raw]


def _margin(raw: Iterable[str]) -> int:
    """By how many spaces all resource lines are indented."""
    matches = (_LOOSE.fullmatch(_bare(line)) for line in raw)
    return min((len(match["indent"].expandtabs(_TAB)) for match in matches if match), default=0)


def _is_continuation(before: str, line: str) -> bool:
    """True when a mailer would have broken the line above at this one's first word."""
    words = line.split()
    return bool(words) and not _ELISION.fullmatch(line) and len(before) + 1 + len(words[0]) > _WRAPPED_AT


def _stray(line: str) -> str:
    if not line.strip():
        return "an empty line"
    return "a mark that lines are missing here" if _ELISION.fullmatch(line) else f"not a resource line: {line[:60]!r}"
