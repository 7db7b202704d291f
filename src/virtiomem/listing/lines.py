"""The lines of a listing in whatever spelling they were pasted, and what was wrong with each."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from virtiomem.errors import ListingError
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
    """One line that was put right, or a run of lines that are alike; `line` counts from 1."""

    line: int
    damage: Damage
    what: str
    """The damage in words, with the values."""
    remedy: str
    """What was made of it."""
    times: int = 1
    """How many lines, from `line` on."""

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
_WORD = re.compile(r"\w+")
_ELISION = re.compile(r"snip|cut|skipped", re.IGNORECASE)
"""The words of a mark that lines are missing."""
_WRAPPED_AT = 66
"""Mailers wrap lines that would become longer than this, or more; what is narrower is wrapped if the name is known."""
_WRAPPED_NAME = re.compile(
    r"""\s? ( System\sRAM ( \s\((virtio_mem|kmem)\) )?
        | Kernel\s(code|rodata|data|bss) | Crash\skernel | RAM\sbuffer
        | (Soft\s)?Reserved | Persistent\sMemory ( \s\(legacy\) )?
        | ACPI\s(Tables|Non-volatile\sStorage) | Local\sAPIC | IOAPIC\s[0-9]+
        | PCI\s(Bus\s[0-9a-f]{4}:[0-9a-f]{2} | (MMCONFIG|ECAM)\s[0-9a-f]{4}\s\[bus\s\S+\]) | CXL\sWindow\s[0-9]+
        | (System|Video|Adapter|Option)\sROM | Video\sRAM\sarea )""",
    re.VERBOSE,
)
"""The kernel's own names, most of several words: wrapped between any two of them, they are known again."""
_TAB = 8


def resource_lines(text: str, repairs: Repairs) -> list[Line]:
    """The resource lines, spelled right; what is none is left out or joined to the name it continues."""
    raw = _without_returns(text.removesuffix("\n").split("\n"), repairs)
    found: list[Line] = []
    names: list[list[str]] = []
    """The parts of each name: more than one when it was wrapped."""
    margin = _margin(raw)
    before = ""
    for number, times, whole in _runs(raw):
        line = _parse(number, whole, margin, repairs)
        if line is not None:
            found.append(line)
            names.append([line.name])
            before = whole
        elif before and _continues(before, names[-1], part := _bare(whole).strip()):
            names[-1].append(part)
            remedy = "joined to the name above, which was wrapped"
            repairs.append(Repair(number, Damage.NOT_A_LINE, _stray(whole), remedy))
            before = whole
        else:
            repairs.append(Repair(number, Damage.NOT_A_LINE, _stray(whole), "left out", times))
            before = ""
    if before and not text.endswith("\n"):
        repairs.append(Repair(len(raw), Damage.SPELLING, "no newline at the end: it may be cut short", "one is added"))
    for line, parts in zip(found, names, strict=True):
        line.name = plain_name(" ".join(filter(None, parts)))
    if margin:
        repairs.append(Repair(found[0].number, Damage.INDENT, f"every line is indented by {margin} more", "taken away"))
    return found


def _runs(raw: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Every line with its number and how often it comes, where what comes again and again are empty lines."""
    number = 1
    for empty, group in groupby(raw, _is_empty):
        lines = list(group)
        if empty:
            yield number, len(lines), ""
        else:
            yield from ((at, 1, line) for at, line in enumerate(lines, number))
        number += len(lines)


def _is_empty(line: str) -> bool:
    return not line or line.isspace()


def _parse(number: int, whole: str, margin: int, repairs: Repairs) -> Line | None:
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


def _without_returns(raw: list[str], repairs: Repairs) -> list[str]:
    """The lines without their carriage returns, if every line has one: that is one damage, not one a line."""
    if len(raw) < 2 or not all(line.endswith("\r") for line in raw):
        return raw
    repairs.append(Repair(1, Damage.SPELLING, "every line ends in a carriage return", "taken away"))
    return [line[:-1] for line in raw]


def _margin(raw: Iterable[str]) -> int:
    """By how many spaces all resource lines are indented."""
    matches = (_LOOSE.fullmatch(_bare(line)) for line in raw if not _is_empty(line))
    return min((len(match["indent"].expandtabs(_TAB)) for match in matches if match), default=0)


def _continues(before: str, name: list[str], part: str) -> bool:
    """True when `part` goes on with the name in the line above: a mailer would have wrapped there, or it makes a name whole."""
    if not part or _is_elision(part):
        return False
    return len(before) + 1 + len(part.split(maxsplit=1)[0]) > _WRAPPED_AT or (
        len(name) == 1 and _WRAPPED_NAME.fullmatch(f"{name[0]}\n{part}") is not None
    )


def _is_elision(line: str) -> bool:
    """True for a mark that lines are missing here: dots, or one such word, with nothing but signs around it."""
    words = _WORD.findall(line)
    return (".." in line or "…" in line) if not words else len(words) == 1 and bool(_ELISION.fullmatch(words[0]))


def _stray(line: str) -> str:
    if not line.strip():
        return "an empty line"
    return "a mark that lines are missing here" if _is_elision(line) else f"not a resource line: {line[:60]!r}"
