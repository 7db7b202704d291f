"""Maps in the tables of other tools, as listings: jc and our own JSON, crash's `dev -i`, volatility's linux_iomem and
linux.iomem.

What such a table lost (jc drops the nesting) the ranges give back: a listing that is flat is read by `--lenient`.

Sources: volatility/plugins/linux/iomem.py (2.6), volatility3/framework/plugins/linux/iomem.py with the renderers quick,
pretty, csv and json of volatility3/cli/text_renderer.py (2.x); dev.c (crash 8).
"""

import re
from collections.abc import Iterator
from typing import Any

from virtiomem.errors import UsageError
from virtiomem.live.capture import Section
from virtiomem.live.kinds.values import Brought
from virtiomem.notation import NotationError, json_values
from virtiomem.text import quoted, shown
from virtiomem.units import U64_MAX

_HEX = r"0x(?P<start>{0}){2}0x(?P<end>{0})".replace("{0}", "[0-9a-fA-F]{1,16}")
_VOLATILITY = tuple(
    re.compile(row + _HEX.replace("{2}", between) + r" *")
    for row, between in (
        (r"(?P<depth>\*+) (?P<name>\S.*?)\t", r"\t"),  # 3: a star a level
        (r"(?P<depth>(?:  )*)(?P<name>\S.*?) *\t", r" *\t"),  # 2: two spaces a level
        (r"(?P<depth>\*+) *\| +(?P<name>\S.*?) \| +", r" \| +"),  # 3, pretty: and one for the root
        (r"(?P<depth>[0-9]{1,4}),\"?(?P<name>\S.*?)\"?,", ","),  # 3, csv
    )
)
_CRASH = re.compile(r"\s*[0-9a-f]{8,16}\s+(?P<start>[0-9a-f]{8,16})-(?P<end>[0-9a-f]{8,16})\s+(?P<name>.*?)\s*")
_HEADING = re.compile(
    r"\s*(?:RESOURCE\s+RANGE\s+NAME|(?i:(?:TreeDepth,)?NAME[\t,]START[\t,]END)|(?i:\| +NAME \| +START \| +END)"
    r"|Volatility.*|Formatting\.\.\.|Progress: .*|[- ]+)\s*"
)
_ROOTS = ("PCI mem", "PCI IO")
"""What Linux calls the whole, which a listing does not show."""
MAX_DEPTH = 64

Row = tuple[int, int, int, str]
"""How deep, start, end, name."""


def read(text: str, source: str) -> Brought:
    """Read a table. Raises UsageError, with the line, for one that is damaged."""
    rows = list(_json(text, source) if text.lstrip().startswith(("[", "{")) else _table(text, source))
    if rows and rows[0][3] in _ROOTS and any(depth for depth, *_ in rows):
        rows = [(depth - rows[0][0] - 1, start, end, name) for depth, start, end, name in rows[1:]]
    if not any(depth for depth, *_ in rows):
        rows = list(_nested(rows))
    # Linux indents /proc/iomem no deeper (MAX_IORES_LEVEL in kernel/resource.c).
    lines = [f"{'  ' * min(depth, 5)}{start:08x}-{end:08x} : {name}" for depth, start, end, name in rows]
    return Brought({"proc/iomem": Section.of(lines)})


def _nested(rows: list[Row]) -> Iterator[Row]:
    """Rows that lost their depth, each inside the one above that holds it."""
    open_rows: list[tuple[int, int]] = []
    for _, start, end, name in rows:
        while open_rows and not (open_rows[-1][0] <= start and end <= open_rows[-1][1]):
            open_rows.pop()
        yield len(open_rows), start, end, name
        open_rows.append((start, end))


def _table(text: str, source: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or _HEADING.fullmatch(line):
            continue
        match = next((found for row in (_CRASH, *_VOLATILITY) if (found := row.fullmatch(line))), None)
        if match is None:
            raise UsageError(f"{shown(source)}:{number}: not a row of resources: {quoted(line)}")
        yield (
            _depth(match.groupdict().get("depth") or ""),
            int(match["start"], 16),
            int(match["end"], 16),
            match["name"],
        )


def _depth(said: str) -> int:
    return min(int(said), MAX_DEPTH) if said.isdecimal() else said.count("*") or len(said) // 2


def _json(text: str, source: str) -> Iterator[Row]:
    """Jc's flat list, or the tree of `iomem -J`, or of volatility 3."""
    try:
        values = json_values(text)
        stack = [(0, one) for one in reversed(values["iomem"] if isinstance(values, dict) else values)]
        while stack:
            depth, one = stack.pop()
            if depth > MAX_DEPTH:
                raise UsageError(f"{shown(source)}: nested more than {MAX_DEPTH} levels deep")
            # volatility writes START, END and __children; jc and `iomem -J` have them in lower case.
            one = {key.strip("_").lower(): value for key, value in one.items()}
            name = one.get("name", one.get("device"))
            start, end = (_address(one[side]) for side in ("start", "end"))
            yield depth, start, end, _name(name)
            # Reversed, since a stack is taken from its end: the first child comes first.
            stack += [(depth + 1, child) for child in reversed(one.get("children", []))]
    except (NotationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{shown(source)}: not resources as JSON: {shown(error)}") from None


def _name(value: Any) -> str:
    if not isinstance(value, str) or "\n" in value:
        raise TypeError(f"{shown(value)} is not a name")
    return value


def _address(value: Any) -> int:
    number = int(value, 16) if isinstance(value, str) and len(value) <= 18 else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= U64_MAX:
        raise ValueError(f"{shown(value)} is not an address")
    return number
