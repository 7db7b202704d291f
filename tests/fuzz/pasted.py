"""Real listings as people paste them: either the total is right, or *at least* is said and true; never silently wrong."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.fuzz.promise import ROOT, check_line
from virtiomem.errors import ListingError
from virtiomem.listing import repair
from virtiomem.listing.damage import Damage
from virtiomem.listing.ram import system_ram
from virtiomem.resource import iomem
from virtiomem.resource.spoiled import ESCAPE

SHARED = Path(os.environ.get("VIRTIOMEM_SHARED", ROOT.parent / "shared")) / "iomem"


def _is_sound(text: str) -> bool:
    """Whether the strict reader takes it for a whole listing with a map in it."""
    try:
        reading = repair.read(text, source="map", lenient=False)
    except ListingError:
        return False
    return bool(reading.tree.children) and not reading.at_least


LISTINGS = [
    text
    for path in sorted([*ROOT.glob("tests/**/*.iomem"), *SHARED.glob("*.iomem")])
    if _is_sound(text := path.read_text("utf-8", "surrogateescape"))
]
"""Sound ones; those that may not be copied are read in place."""
REMARKS = (
    "# {}",
    "  // {}",
    "   <-- {}",
    " <<< {}",
    "\t# {}",
    " {}",
    "  ({})",
    " /* {} */",
    "; {}",
    "  ### {}",
    "//{}",
)
WORDS = ("below the hole", "2G", "second DIMM", "0x280000000", "???", "RAM", "of virtio0", "…", "(8G)", "wasted")
MARKS = ("[...]", "...", "…", "[snip]", "<snip>", "--8<--", "[20 lines skipped]", "(cut)", "  ..", "# ...")
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"
OTHERS = (
    "RANGE                                 SIZE  STATE REMOVABLE BLOCK\n0x0000000000000000-0x000000007fffffff   2G online yes 0-15\n",
    "Memory block size:       128M\nTotal online memory:      12G\n",
    "[    0.000000] BIOS-e820: [mem 0x0000000000001000-0x000000000009fbff] usable\n",
    "               total        used        free\nMem:        16280460     3273004    10114632\n",
    "KIND          RANGES  SIZE\nboot or DIMM       1    1G\n",
    "0000-001f : dma1\n0020-0021 : pic1\n",
    "$ cat /proc/iomem\n",
    "-----\n\n",
)


DIGITS_SHOWN = {Damage.DIGITS, Damage.REVERSED, Damage.OUTSIDE_PARENT, Damage.OVERLAP}
"""Damage that may come of lost digits: where it is said, *at least* is at most what was there before any was lost."""


FEW = 10
"""Lines of a listing that may lose digits in every one."""
Kind = Callable[[Random, str], str]


def trial(random: Random) -> Iterator[tuple[str, str]]:
    """Paste a listing with one or two kinds of damage, and hold what is read against what was there; tell what came of it."""
    sound = random.choice(LISTINGS)
    if random.random() < 0.1 and _is_sound(few := _text(sound.splitlines()[: random.randrange(2, FEW)])):
        sound = few
    kinds = sorted(random.sample(KINDS, random.choice((1, 1, 1, 2))), key=_order)
    if set(kinds) == {_colours, _wrapped}:  # an escape that is wrapped is not an escape
        kinds = kinds[:1]
    text = sound
    original = _total(repair.read(sound, source="map", lenient=False))
    for kind in kinds:
        if kind is _digits:
            text, sound = _digits_lost(random, text)
        else:
            text = kind(random, text)
    name = " and ".join(kind.__name__.strip("_") for kind in kinds) if len(kinds) == 1 else "two kinds at once"
    if random.random() < 0.1 and not {_wrapped, _broken} & set(kinds):
        text, name = _cut(random, text), "cut short as well"
    whole = _total(repair.read(sound, source="map", lenient=False))
    yield name, "trials"
    yield name, f"strictly {_strictly(text, whole)}"
    yield name, f"leniently {_leniently(text, whole, original)}"


def _digits_lost(random: Random, sound: str) -> tuple[str, str]:
    """A listing that lost digits; and the sound one that it is of: another machine may have those lines."""
    lines, damaged = sound.splitlines(), _digits(random, sound).splitlines()
    seems = lines
    more = True
    while more:
        more = False
        for at, line in enumerate(damaged):
            other = [*seems[:at], line, *seems[at + 1 :]]
            if line != seems[at] and _is_sound(_text(other)):
                seems, more = other, True
    return _text(damaged), _text(seems)


def _order(kind: Kind) -> int:
    """Digits are lost first: what is left may be a listing that a kernel can have printed."""
    return kind is not _digits


def _strictly(text: str, whole: int) -> str:
    try:
        strict = repair.read(text, source="map", lenient=False)
    except ListingError as refused:
        check_line(str(refused))
        return "refused"
    if strict.at_least:
        assert _total(strict) <= whole, "at least is true"
        return "at least"
    assert _total(strict) == whole, "said, or right"
    return "right"


def _leniently(text: str, whole: int, original: int) -> str:
    try:
        lenient = repair.read(text, source="map", lenient=True)
    except ListingError as refused:
        check_line(str(refused))
        return "refused"
    if lenient.at_least:
        seen = any(one.damage in DIGITS_SHOWN for one in lenient.repairs)
        assert _total(lenient) <= (original if seen else whole), "at least is true"
        return "at least"
    assert _total(lenient) == whole, "what is put right is right"
    return "right"


def _total(reading: repair.Reading) -> int:
    return sum(ram.resource.size for ram in system_ram(reading.tree))


def _some(random: Random, lines: list[str]) -> list[int]:
    return random.sample(range(len(lines)), min(random.choice((1, 1, 2, 5)), len(lines)))


def _remarks(random: Random, text: str) -> str:
    lines = text.splitlines()
    for at in _some(random, lines):
        lines[at] += random.choice(REMARKS).format(random.choice(WORDS))
    return _text(lines)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _colours(random: Random, text: str) -> str:
    start, end = random.choice((("\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"), ("\x1b[1m", "\x1b[0m"), ("[31m", "[0m")))
    word = random.choice(("System RAM", "RAM", "System", "-", ":", "0", "virtio", "f"))
    return text.replace(word, f"{start}{word}{end}")


def _numbers(random: Random, text: str) -> str:
    form = random.choice(("{:6}\t", "{}:", "{:5} ", "{:4}  ", "{}-", "{}. ", "map:{}:", "/proc/iomem:{}:", "{:>4}: "))
    first, skip = random.choice((1, 7, 98, 160, 9990)), random.choice((0, 0, 0.1))
    lines = [
        line if random.random() < skip else form.format(at) + line for at, line in enumerate(text.splitlines(), first)
    ]
    return _text(lines)


def _joined(random: Random, text: str) -> str:
    between, share = random.choice(("", " ", "  ")), random.choice((1.0, 0.5, 0.05))
    return re.sub(r"\n(?=.)", lambda _: between if random.random() < share else "\n", text)


def _broken(random: Random, text: str) -> str:
    lines = text.splitlines()
    for at in _some(random, lines):
        if len(lines[at]) > 1:
            place = random.randint(1, len(lines[at]) - 1)
            lines[at] = f"{lines[at][:place]}\n{lines[at][place:]}"
    return _text(lines)


def _wrapped(random: Random, text: str) -> str:
    width = random.randint(20, 80)
    return _text([line[at : at + width] for line in text.splitlines() for at in range(0, max(len(line), 1), width)])


def _nameless(random: Random, text: str) -> str:
    lines = text.splitlines()
    for at in _some(random, lines):
        lines[at] = lines[at].partition(" : ")[0] + random.choice(("", " :", " : ", ":", " "))
    return _text(lines)


def _digits(random: Random, text: str) -> str:
    lines = text.splitlines()
    every = len(lines) < FEW and random.random() < 0.5
    for at in range(len(lines)) if every else _some(random, lines):
        places = [match.start() for match in re.finditer(r"[0-9a-f]", lines[at].partition(" : ")[0])]
        if places:
            place = random.choice(places)
            lines[at] = lines[at][:place] + lines[at][place + random.choice((1, 1, 2)) :]
    return _text(lines)


def _quoted(random: Random, text: str) -> str:
    form = random.choice(
        ("> {}", ">> {}", "> > {}", ">{}", "| {}", "| {:60} |", '"{}",', "`{}`", "│ {:70} │", "\ufeff{}")
    )
    return _text([form.format(line) for line in text.splitlines()])


def _elided(random: Random, text: str) -> str:
    lines = text.splitlines()
    start = random.randrange(len(lines))
    lines[start : start + random.choice((1, 2, 5, 20, 100))] = [random.choice(MARKS)]
    return _text(lines)


def _cut(random: Random, text: str) -> str:
    """The beginning, up to the middle of a name that is not one without its end."""
    place = random.randrange(len(text))
    line = re.sub(ESCAPE, "", text[text.rfind("\n", 0, place) + 1 : place])
    name = line.rpartition(" : ")[2].rstrip("\"',`|│ ")  # quotes, and the right side of a frame
    return text if not line or iomem.is_whole(name, text[:place]) else text[:place]


def _beside(random: Random, text: str) -> str:
    other = random.choice(OTHERS)
    return random.choice((other + text, text + other, text[: (at := text.find("\n") + 1)] + other + text[at:]))


def _edited(random: Random, text: str) -> str:
    """As editors, mailers and wikis change signs: in ranges alone, in blanks, or all of it encoded."""
    how = random.randrange(4)
    if how == 0:
        return re.sub(r"(?m)^( *[0-9a-f]+)-", rf"\1{random.choice(DASHES)}", text)
    if how == 1:
        return text.replace(" ", "\u00a0")
    if how == 2:
        return re.sub(r"(?m)^ +", lambda indent: "\u00a0" * len(indent[0]), text)
    width = random.randint(30, 75)
    encoded = text.replace("=", "=3D").replace("  ", "=C2=A0 ")
    return re.sub(rf"(?m)^(.{{{width}}}[^=\n])(?=[^\n]{{3}})(?!=)", "\\1=\n", encoded)


KINDS: tuple[Kind, ...] = (
    _edited,
    *(_remarks, _colours, _numbers, _joined, _broken, _wrapped, _nameless, _digits, _quoted, _elided, _beside),
)
