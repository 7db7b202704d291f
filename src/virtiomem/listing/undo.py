"""Remove what was put around and between the lines of a listing on its way here: line by line, each reported.

A listing is made of ranges, which are copied, not typed. So what stands before a range is not part of it, and a line
without one is the rest of another, or none at all.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from virtiomem.listing.damage import Damage, Repair, Repairs
from virtiomem.resource.names import is_known
from virtiomem.resource.spoiled import ESCAPE
from virtiomem.text import quoted

TAB = 8
_ENCODED = re.compile(r"=(?:C2=A0|E2=80=9[0-5]|20$|3D)")
"""What tells that a mailer encoded the text: a no-break space, a dash, a blank at an end, an equals sign
(quoted-printable, RFC 2045)."""
_OCTET = re.compile(rb"=([2-9A-F][0-9A-F])")
"""One that stands for a byte, which is no line break."""
_DASH = re.compile(
    r"(?<![0-9a-f])((?:0x)?[0-9a-f]{1,16}) ?[\u2010-\u2015\u2212\udc96\udc97] ?(?=(?:0x)?[0-9a-f]{1,16}(?: *:|\s*$))",
    re.IGNORECASE,
)
"""A range with a dash that an editor made of its hyphen; two are bytes of Windows' Latin-1."""
_NO_BREAK = str.maketrans("\u00a0\udca0", "  ")
_QUOTE = re.compile(r"[ \xa0\udca0]?(?:[>|\u2502][ \xa0\udca0]?)+")
_TABLE_EDGE = re.compile(r"(?<![ \xa0\udca0])[ \xa0\udca0]*+[|\u2502][ \xa0\udca0]*$")
_STRING = re.compile(r"(?P<quote>[\"'`])(?P<inside>.*)(?P=quote),?")
_BEFORE = re.compile(
    r"""(?P<before>[ \t]*+
            (?: (?P<file>(?=[\w./~])(?=[^\s:]*[^\s:0-9a-f-])[^\s:]+) [:-] )?
            (?: (?P<number>[0-9]{1,7}) (?P<mark>[:.)\]]|-(?=[ \t]*+[0-9a-f]++-)|(?=[ \t])) )?
        )
        (?P<rest>[ \t]*+(?:0x)?[0-9a-f]++-(?:0x)?[0-9a-f]++[ \t]*+(?::.*)?)""",
    re.VERBOSE | re.DOTALL,
)
"""A line behind a number (cat -n, nl, editors), behind the file and number that grep writes, and neither."""
_PART = re.compile(
    r"(?P<before>[ \t]*+(?P<file>(?=[^\s:]*[^\s:0-9a-f-])[^\s:]+[:-])?(?P<number>[0-9]{1,7})(?:(?P<mark>[:.)\]-])|(?=[ \t])))(?P<rest>.*)",
    re.DOTALL,
)
"""What may be a part of such a line."""
_NUMBER = r"(?:[1-9a-f][0-9a-f]{7,15}|0[0-9a-f]{7})"
_WHOLE = re.compile(rf"[ \t]*(?P<start>{_NUMBER})-(?P<end>{_NUMBER})(?: : .*|[ \t]*)", re.DOTALL)
HALF = re.compile(r"[ \t]*[0-9a-f]{1,16}(?:-[0-9a-f]{0,16})?[ \t]*")
"""What a line that breaks in its range begins with."""
_RANGE = re.compile(r"[ \t]*+(?:0x)?[0-9a-f]{1,16}[ \t]*+-[ \t]*+(?:0x)?[0-9a-f]{1,16}[ \t]*+:[ \t]?", re.IGNORECASE)
"""A range as people space it, up to its name."""
_NEXT = re.compile(rf"(?<![0-9a-f])(?P<run>[0-9a-f]{{8,}}+)-(?P<end>{_NUMBER}) : ")
"""From the first digit of a run on, and never back in it: a megabyte of digits is looked at once."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A line as it stands in the text, or a run of empty ones."""

    number: int
    text: str
    width: int
    """Its characters before anything was undone."""
    times: int = 1


def raw_lines(text: str, repairs: Repairs) -> list[Raw]:
    """The lines of a text, without all that is around them; one that is two is there twice, with its number."""
    raw = list(_numbered(_without_returns(text.removesuffix("\n").split("\n"), repairs)))
    for undo in _UNDO:
        raw = undo(raw, repairs)
    return raw


def _numbered(lines: Iterable[str]) -> Iterator[Raw]:
    """Every line with its number; what comes again and again are empty lines."""
    number = 1
    for empty, group in groupby(lines, lambda line: not line or line.isspace()):
        same = list(group)
        if empty:
            yield Raw(number, "", len(same[-1]), len(same))
        else:
            yield from (Raw(at, line, len(line)) for at, line in enumerate(same, number))
        number += len(same)


def _without_returns(raw: list[str], repairs: Repairs) -> list[str]:
    """The lines without their carriage returns, if every line has one: that is one damage, not one a line."""
    if len(raw) < 2 or not all(line.endswith("\r") for line in raw):
        return raw
    repairs.append(Repair(1, Damage.SPELLING, "every line ends in a carriage return", "taken away"))
    return [line[:-1] for line in raw]


def _without(
    take: Callable[[str], tuple[str, str]], damage: Damage, words: str, remedy: str = "taken away"
) -> Callable[[list[Raw], Repairs], list[Raw]]:
    """Return a step that changes each line: `take` returns the line as it was, and an example of what was put around
    it, or into it.
    """

    def undo(raw: list[Raw], repairs: Repairs) -> list[Raw]:
        taken = [take(line.text) for line in raw]
        _report(raw, [what for _, what in taken], damage, words, repairs, remedy)
        return [line if not what else replace(line, text=text) for line, (text, what) in zip(raw, taken, strict=True)]

    return undo


def _report(
    raw: list[Raw], taken: list[str], damage: Damage, words: str, repairs: Repairs, remedy: str = "taken away"
) -> None:
    """One repair for lines in a row that had the same done to them."""
    for some, group in groupby(zip(raw, taken, strict=True), lambda pair: bool(pair[1])):
        if some:
            (line, what), *more = group
            others = ", and so on" if any(other != what for _, other in more) else ""
            what = f"{words}: {quoted(what)}{others}"
            repairs.append(Repair(line.number, damage, what, remedy, times=1 + len(more)))


def _decoded(raw: list[Raw], repairs: Repairs) -> list[Raw]:
    """The lines as they were before a mailer encoded them: what it broke at a trailing equals sign is joined."""
    # A name may have an equals sign: only where something shows that a mailer encoded the text is it decoded.
    if not any(_ENCODED.search(line.text) for line in raw):
        return raw
    _report(raw, ["=" * ("=" in line.text) for line in raw], Damage.SPELLING, "quoted-printable", repairs, "decoded")
    parts: list[list[Raw]] = []
    for line in raw:
        if parts and parts[-1][-1].text.endswith("="):
            parts[-1].append(line)
        else:
            parts.append([line])
    return [replace(part[0], text=_octets("".join(line.text.removesuffix("=") for line in part))) for part in parts]


def _octets(text: str) -> str:
    data = _OCTET.sub(lambda octet: bytes.fromhex(octet[1].decode()), text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


def _hyphens(line: str) -> tuple[str, str]:
    match = _DASH.search(line)
    return (_DASH.sub(r"\1-", line, count=1), match[0][len(match[1]) :].strip()) if match else (line, "")


def _blanks(line: str) -> tuple[str, str]:
    """As in names: a line of other bytes, too, keeps its no-break spaces, which a driver's name may have."""
    plain = line.translate(_NO_BREAK)
    return (plain, "\xa0") if plain != line and plain.isascii() else (line, "")


def _colours(line: str) -> tuple[str, str]:
    match = re.search(ESCAPE, line)
    return (re.sub(ESCAPE, "", line), match[0]) if match else (line, "")


def _quotes(line: str) -> tuple[str, str]:
    bare = line.removesuffix("\r").removeprefix("\ufeff")
    if match := _STRING.fullmatch(bare.strip()):
        return match["inside"], match["quote"]
    if not (match := _QUOTE.match(bare)):
        return line, ""
    edges = _TABLE_EDGE if any(bar in match[0] for bar in "|\u2502") else None
    return (edges.sub("", bare) if edges else bare)[match.end() :], match[0]


def _without_numbers(raw: list[Raw], repairs: Repairs) -> list[Raw]:
    """The lines without what stands before them.

    Numbers that end in one column leave blanks, so that a line without one keeps its place among them.
    """
    found = [_BEFORE.fullmatch(line.text.expandtabs(TAB)) if line.text else None for line in raw]
    counted = _counted(raw, found)
    for at, line in enumerate(raw):  # a part of a line that breaks was numbered like the others
        if found[at] is None and (match := _PART.fullmatch(line.text.expandtabs(TAB))):
            found[at] = match if int(match["number"]) - line.number in counted else None
    numbered = [match if match and (match["number"] or match["file"]) else None for match in found]
    before = [match["before"] if match else "" for match in numbered]
    _report(raw, [one.strip() for one in before], Damage.NUMBERS, "numbers or file names before lines", repairs)
    unmarked = {match.end("before") for match in numbered if match and not match["mark"]}
    blanks = len(unmarked) == 1 and all(match is None or not match["mark"] for match in numbered)
    return [
        line if match is None else replace(line, text=" " * blanks * len(one) + match["rest"])
        for line, match, one in zip(raw, numbered, before, strict=True)
    ]


def _counted(raw: list[Raw], found: list[re.Match[str] | None]) -> set[int]:
    """By how much the numbers before lines are above those of the text, where more than one says so."""
    ahead = Counter(
        int(match["number"]) - line.number for line, match in zip(raw, found, strict=True) if match and match["number"]
    )
    return {by for by, times in ahead.items() if times > 1}


def _mended(raw: list[Raw], repairs: Repairs) -> list[Raw]:
    """The lines with those made whole that break in their range, or before the name."""
    mended: list[Raw] = []
    for line in raw:
        whole = _joined(mended[-1].text, line.text) if mended and line.text else None
        if whole is None:
            mended.append(line)
            continue
        first = mended.pop()
        what = f"the line breaks behind {quoted(first.text.strip())}"
        repairs.append(Repair(first.number, Damage.BROKEN, what, f"read as {quoted(whole.strip())}"))
        mended.append(replace(first, text=whole))
    return mended


def _joined(first: str, second: str) -> str | None:
    """The line that two halves make; None when they are not halves."""
    if not HALF.fullmatch(first):
        return None
    ways = [first + second, first.rstrip() + second.lstrip(), f"{first.rstrip()} {second.lstrip()}"]
    # The second half is a whole name: then the first lost its colon.
    if is_known(second.strip()):
        ways = [f"{first.rstrip()} : {second.strip()}"]
    for whole in ways:
        match = _WHOLE.fullmatch(whole)
        if match and int(match["start"], 16) <= int(match["end"], 16):
            return whole
    return None


def _taken_apart(raw: list[Raw], repairs: Repairs) -> list[Raw]:
    """The lines with those taken apart that were joined."""
    apart: list[Raw] = []
    for line in raw:
        pieces = _pieces(line.text)
        if len(pieces) > 1:
            what = f"{len(pieces)} lines joined in one"
            repairs.append(Repair(line.number, Damage.JOINED, what, "taken apart"))
        apart += [replace(line, text=piece) for piece in pieces]
    return apart


def _pieces(text: str) -> list[str]:
    """The lines that are in one; the line itself where there is one, or where it is not sure how another begins."""
    pieces: list[str] = []
    at = 0
    while (name := _name_at(text, at)) and (match := _NEXT.search(text, name)):
        # Behind a blank the range begins here; else at any digit of the run that leaves eight for the address.
        stop = match.start() + 1 if text[match.start() - 1] == " " else match.end("run") - 7
        starts = [k for k in range(match.start(), stop) if _can_start(text[k : match.end("run")], match)]
        sure = starts if len(starts) == 1 else [k for k in starts if is_known(text[name:k].strip())]
        if len(sure) != 1:
            return [text]
        name_end = len(text[: sure[0]].rstrip(" "))
        pieces.append(text[at:name_end])
        # The blanks before the range are its indent, in whole levels of two.
        at = sure[0] - (sure[0] - name_end) // 2 * 2
    return [*pieces, text[at:]]


def _name_at(text: str, at: int) -> int:
    """Return the position of the name in the line that begins at `at`; 0 if no line begins there."""
    match = _RANGE.match(text, at)
    colon = text.find(" : ", at)
    return match.end() if match else colon + 3 if colon >= 0 else 0


def _can_start(start: str, match: re.Match[str]) -> bool:
    return re.fullmatch(_NUMBER, start) is not None and int(start, 16) <= int(match["end"], 16)


_UNDO: tuple[Callable[[list[Raw], Repairs], list[Raw]], ...] = (
    _decoded,
    _without(_hyphens, Damage.SPELLING, "a dash in place of a hyphen", "read as a hyphen"),
    _without(_blanks, Damage.SPELLING, "no-break spaces", "read as spaces"),
    _without(_colours, Damage.COLOURS, "colour escapes"),
    _without(_quotes, Damage.QUOTED, "quoted"),
    _without_numbers,
    _mended,
    _taken_apart,
)
"""In the order in which it has to be undone: who quotes a listing quotes its numbers."""
