"""The lines of a listing in whatever spelling they were pasted, and what was wrong with each."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from virtiomem.listing.damage import Damage, Repair, Repairs
from virtiomem.listing.undo import HALF, TAB, Raw, raw_lines
from virtiomem.resource.iomem import is_whole
from virtiomem.resource.names import SYSTEM_RAM, is_known
from virtiomem.resource.spoiled import ELIDED, plain_name, what_is_spoiled, without_remark
from virtiomem.text import quoted


@dataclass(slots=True)
class Line:
    """A resource line, spelled right."""

    number: int
    indent: int
    start: int
    end: int
    name: str
    short: bool = False
    """Written with fewer digits than Linux writes, as where leading zeros are left out, or where a digit is lost."""
    narrow: bool = False
    """Whether its start is written with fewer digits than its end. Who loses a digit of the end makes a range smaller,
    or one that ends before it starts; only a start that lost one makes a range larger, and then it is shorter than the
    end."""

    @property
    def range(self) -> str:
        """The addresses as the kernel writes them."""
        return f"{self.start:08x}-{self.end:08x}"

    def __str__(self) -> str:
        return f"{self.range} : {self.name}"


class _Manner(NamedTuple):
    """Format of a whole listing."""

    margin: int
    """By how many spaces all resource lines are indented."""
    digits: dict[str, int]
    """To how many digits addresses are filled up with zeros, so that one of fewer has lost some: Linux's 8, unless most
    have more; 0 where zeros were left out, which is sure only where some addresses are really short. Those behind a
    `0x` by themselves."""
    trailed: bool
    """Whether spaces stand behind names that Linux gives without: then those behind other names are not part of them either."""


_LOOSE = re.compile(
    r"(?P<indent>[\s\udca0]*+)(?P<start>(?:0x)?[0-9a-f]{1,16})[\s\udca0]*-[\s\udca0]*(?P<end>(?:0x)?[0-9a-f]{1,16})"
    r"[\s\udca0]*(?::[\s\udca0]?(?P<name>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r"\w+")
_ELISION = re.compile(r"snip\w*|cut|skipped|omitted|elided|truncated|removed", re.IGNORECASE)
_BESIDE = re.compile(r"lines?|more|and|many|some|[0-9]+", re.IGNORECASE)
"""The words of a mark that lines are missing, and those that stand next to one."""
_BEGINNING = re.compile(r"\s*+(?:(?:\#|//).*)?", re.DOTALL)
"""What may be the beginning of any line: blanks, and a remark that may go on."""
_CHATTER = re.compile(r"\s*+(?:\#.*|//.*|`{3}.*|~{3}.*)", re.DOTALL)
_COMMAND = re.compile(r"\bcat\s")
"""What people write above and below a listing, and the command that printed it."""
_SOME_RANGE = re.compile(r"(?<![0-9a-f])[0-9a-f]{3,}+\s*(?:-|\u2013)\s*(?:0x)?[0-9a-f]{3,}", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?<![0-9a-f])[0-9a-f]{{8,}}+ ?- ?[0-9a-f]{{1,16}}+(?![0-9a-f-])|[0-9a-f]{{1,16}}-[0-9a-f]{{3,16}} : |: {SYSTEM_RAM}"
)
"""Another line in a name, though it was broken before it was joined. (A UUID is a name.)"""
_RAGGED = re.compile(r"\s*[0-9a-f]{8,}+[0-9a-f-]* :", re.IGNORECASE)
"""What was a resource line until its range lost something."""
_FILLED_UP = 8
"""Digits that Linux fills an address up to."""
_SHORT = 5
"""Digits of an address that is really short: others may be high addresses that lost some."""
_WRAPPED_AT = 66
"""Mailers wrap lines that would become longer than this, or more; what is narrower is wrapped if the name is known."""


def resource_lines(text: str, repairs: Repairs) -> list[Line]:
    """The resource lines, spelled right; other text is left out or joined to the name it continues."""
    raw = raw_lines(text, repairs)
    # Of the whole text first: a margin, or a number that is too short, shows only against the other lines.
    manner = _manner(raw)
    found: list[Line] = []
    before: Raw | None = None
    """The line above, if it is a resource line or goes on with one."""
    stray = False
    """Whether the line above was left out, and may be the beginning of this one."""
    for here in raw:
        line = _parse(here, manner, repairs, half=stray) if here.text else None
        if line is not None:
            found.append(line)
            before = here
        # A mail program breaks long lines: the rest of a name then stands on a line of its own.
        elif before is not None and (name := _continued(before.width, found[-1].name, _bare(here.text).strip())):
            found[-1].name = name
            remedy = "joined to the name above, which was wrapped"
            repairs.append(Repair(here.number, Damage.NOT_A_LINE, _stray(here.text), remedy))
            before = here
        else:
            repairs.append(_left_out(here))
            before = None
        stray = before is None and repairs[-1].lost
    # `System R` could be a whole name: without the newline there is no telling.
    if before is not None and not text.endswith("\n") and found[-1].name and not _is_whole(found[-1].name, text):
        what = f"no newline at the end, and {quoted(found[-1].name)} may be cut short"
        repairs.append(Repair(before.number, Damage.CUT, what, "read as it is", lost=True))
    if raw[-1].width and _BEGINNING.fullmatch(raw[-1].text) and not text.endswith("\n"):
        repairs.append(Repair(raw[-1].number, Damage.CUT, "the beginning of a line at the end", "left out", lost=True))
    # Only now, for until here a name could go on in the line below.
    kept = [line for line in found if _take_name(line, manner, repairs)]
    if manner.margin and kept:
        what = f"every line is indented by {manner.margin} more"
        repairs.append(Repair(kept[0].number, Damage.INDENT, what, "taken away"))
    return kept


def _manner(raw: Iterable[Raw]) -> _Manner:
    matches = [match for line in raw if line.text and (match := _LOOSE.fullmatch(_bare(line.text)))]
    numbers = [_digits(match[side]) for match in matches for side in ("start", "end")]
    names = [name for match in matches if (name := match["name"] or "").endswith(" ")]
    return _Manner(
        min((len(match["indent"].expandtabs(TAB)) for match in matches), default=0),
        {
            prefix: _filled_up([one for of, one in numbers if of == prefix], sparing=bool(prefix))
            for prefix in ("", "0x")
        },
        any(is_known(name.rstrip(" ")) for name in names),
    )


def _filled_up(numbers: list[str], *, sparing: bool) -> int:
    """To how many digits numbers are filled up with zeros; 0 where they are not, as where none is short if not `sparing`."""
    lengths = Counter(map(len, numbers))
    filled = {len(number) for number in numbers if number.startswith("0") and len(number) >= _FILLED_UP}
    usual = next((length for length in filled if 2 * lengths[length] > lengths.total()), _FILLED_UP)
    return usual if filled or (not sparing and min(lengths, default=0) > _SHORT) else 0


def _has_lost(number: str, digits: int) -> bool:
    """Return whether a number has fewer digits than its listing pads to, or a leading zero beyond them."""
    return len(number) < digits or (len(number) > digits > 0 and number.startswith("0"))


def _digits(number: str) -> tuple[str, str]:
    """Its prefix and its digits."""
    number = number.lower()
    return ("0x", number[2:]) if number.startswith("0x") else ("", number)


def _bare(line: str) -> str:
    """A line without what editors put at its ends: a carriage return, a byte order mark."""
    return line.removesuffix("\r").removeprefix("\ufeff")


def _parse(raw: Raw, manner: _Manner, repairs: Repairs, *, half: bool) -> Line | None:
    """A resource line in any spelling that the reader understands; its name as written. A short one may be half of one."""
    match = _LOOSE.fullmatch(_bare(raw.text))
    if match is None:
        return None
    indent = max(len(match["indent"].expandtabs(TAB)) - manner.margin, 0)
    start, end = (int(match[side], 16) for side in ("start", "end"))
    line = Line(raw.number, indent, start, end, match["name"] or "", narrow=len(match["start"]) < len(match["end"]))
    numbers = [_digits(match[side]) for side in ("start", "end")]
    line.short = any(len(number) < _FILLED_UP for prefix, number in numbers if not prefix)
    if (half and line.short) or any(_has_lost(number, manner.digits[prefix]) for prefix, number in numbers):
        what = f"digits are missing in {match['start']}-{match['end']}"
        repairs.append(Repair(raw.number, Damage.DIGITS, what, "left out: which are lost is not known", lost=True))
        # Kept until its name is whole: the line below may be the rest of it, and would else be reported by itself.
        line.end = _UNKNOWN
    elif match["name"] is None:
        repairs.append(Repair(raw.number, Damage.NO_NAME, f"{line.range} without a name", "read without", lost=True))
    else:
        line.name = plain_name(line.name)
        if f"{' ' * (line.indent + manner.margin)}{line}" != raw.text:
            read_as = line.range if raw.text.endswith(line.name) else str(line)
            repairs.append(Repair(raw.number, Damage.SPELLING, f"written {quoted(raw.text)}", f"read as {read_as}"))
    return line


_UNKNOWN = -1
"""The end of a range that is not known."""


def _take_name(line: Line, manner: _Manner, repairs: Repairs) -> bool:
    """Take what is not part of it off a name; False for a line that is to be left out."""
    plain = plain_name(line.name)
    name, remark = without_remark(plain.rstrip(" ") if manner.trailed else plain)
    if remark:
        lost = _is_elision(remark) or _SOME_RANGE.search(remark) is not None
        what = f"a remark behind {quoted(name)}: {quoted(remark)}"
        repairs.append(Repair(line.number, Damage.REMARK, what, "taken away", lost=lost))
    if mark := re.search(ELIDED, name):
        what = f"a mark behind {quoted(name[: mark.start()])} that lines are missing here"
        repairs.append(Repair(line.number, Damage.REMARK, what, "taken away", lost=True))
        name = name[: mark.start()]
    if name != SYSTEM_RAM and "".join(name.split()).casefold() == "systemram":
        repairs.append(Repair(line.number, Damage.NAME, f"the name {quoted(name)}", f"read as {SYSTEM_RAM}"))
        name = SYSTEM_RAM
    elif spoiled := what_is_spoiled(name) or (
        f"another range in the name {quoted(name)}" if _RANGE.search(name) else ""
    ):
        repairs.append(Repair(line.number, Damage.NAME, spoiled, "kept as it is, and not counted", lost=True))
    line.name = name
    return line.end != _UNKNOWN


def _continued(width: int, name: str, part: str) -> str | None:
    """The name that goes on with `part`: a mailer would have wrapped there, or it makes a name whole; None when it does not.

    What has a range in it, or what is left of one, is a line of its own.
    """
    if not part or _is_elision(part) or HALF.fullmatch(part) or _SOME_RANGE.search(part) or _RAGGED.match(part):
        return None
    joined = f"{name} {part}".strip()
    # Without a blank first: a text that was cut at a width breaks in the middle of a word, too.
    for known in (f"{name}{part}", joined):
        if is_known(known):
            return known
    wide = width + 1 + len(part.split(maxsplit=1)[0]) > _WRAPPED_AT
    whole = is_known(without_remark(name)[0]) or SYSTEM_RAM in part
    return joined if wide and not whole else None


def _is_whole(name: str, text: str) -> bool:
    """As the strict reader's `is_whole`; and no blanks behind it, as those within a table have."""
    return is_whole(name, text) and not text.endswith((" ", "\t"))


def _left_out(raw: Raw) -> Repair:
    """Return the repair that leaves out a line which is not part of a listing."""
    chatter = not raw.text or (_is_chatter(raw.text) and not _SOME_RANGE.search(raw.text))
    chatter = chatter and not _has_mark(raw.text) and not any(map(_ELISION.fullmatch, _WORD.findall(raw.text)))
    damage = Damage.DIGITS if _RAGGED.match(raw.text) else Damage.NOT_A_LINE
    return Repair(raw.number, damage, _stray(raw.text), "left out", raw.times, lost=not chatter)


def _is_chatter(line: str) -> bool:
    """True for what people write around a listing: a remark, a fence, the command that printed it."""
    command = _COMMAND.search(line)
    return _CHATTER.fullmatch(line) is not None or (command is not None and "iomem" in line[command.end() :])


def _is_elision(line: str) -> bool:
    """True for a mark that lines are missing here: dots, or words that say so, with only signs around them."""
    words = [word for word in _WORD.findall(line) if not _BESIDE.fullmatch(word)]
    return all(_ELISION.fullmatch(word) for word in words) if words else _has_mark(line)


def _has_mark(line: str) -> bool:
    return any(mark in line for mark in ("..", "\u2026", "8<"))


def _stray(line: str) -> str:
    if not line.strip():
        return "an empty line"
    return "a mark that lines are missing here" if _is_elision(line) else f"not a resource line: {quoted(line)}"
