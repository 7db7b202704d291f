"""Sizes, alignment and spans: the arithmetic everything else is written in.

Sizes are bytes and binary (``2G`` is 2 GiB). A `Span` is half-open; only a `Resource` has an inclusive end,
as in the kernel.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Self

from virtiomem.errors import ArgumentValueError
from virtiomem.text import described, quoted

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30
TiB = 1 << 40

U64_MAX = (1 << 64) - 1

_LONGEST = 100
"""Characters of a size; no number of 64 bits needs as many."""
_SUFFIXES = {"": 1, "K": KiB, "M": MiB, "G": GiB, "T": TiB, "P": 1 << 50, "E": 1 << 60}
# Texts, not compiled patterns: most commands read no size.
_SIZE = r"(?ia)(?P<number>0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?)\s*(?P<suffix>[KMGTPE]?)(?:iB?)?"
_DECIMAL = r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<suffix>[KMGTPE])B"


def _cure(text: str) -> str:
    """Suggest another spelling: for 2GB, which is 10^9 for some and 2^30 for others, the size that is meant here."""
    match = re.fullmatch(_DECIMAL, text.strip(), re.IGNORECASE | re.ASCII) if len(text) <= _LONGEST else None
    if match is not None:
        return f"write {match['number']}{match['suffix'].upper()}, which counts in powers of 1024"
    return "write 128M, 2G, 0x8000000 or bytes"


class Size(int):
    """Bytes, as read from a file or a command line: ``128M``, ``2GiB``, ``2Gi``, ``1.5G``, ``0x8000000``, ``4096``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: "str | int") -> Self:
        """Read a size; a bare number is bytes.

        Raises ArgumentValueError, which names the text, when it is not a whole, non-negative number of bytes below 2^64.
        """
        if isinstance(text, int) and not isinstance(text, bool):
            value, whole = text, True
        elif isinstance(text, str):
            # The length first: the time that int() takes grows with the square of the digits.
            match = re.fullmatch(_SIZE, text.strip()) if len(text) <= _LONGEST else None
            # In 0x10E the E is a digit: behind hexadecimal digits a suffix would have two meanings.
            if match is None or (match["number"].lower().startswith("0x") and match["suffix"]):
                raise ArgumentValueError(f"not a size: {quoted(text)} ({_cure(text)})")
            value, whole = _scaled(match["number"], _SUFFIXES[match["suffix"].upper()])
        else:
            raise ArgumentValueError(f"not a size: {described(text)} (write 128M, 2G, 0x8000000 or bytes)")
        if not whole or not 0 <= value <= U64_MAX:
            raise ArgumentValueError(f"not a size: {described(text)} (no whole number of bytes from 0 to 2^64-1)")
        return cls(value)


def _scaled(number: str, factor: int) -> tuple[int, bool]:
    """The product of a decimal or hexadecimal number and a factor, and whether it is whole."""
    if "." not in number:
        return int(number, 0 if number.lower().startswith("0x") else 10) * factor, True
    whole, _, fraction = number.partition(".")
    scaled = int(whole + fraction) * factor
    scale = 10 ** len(fraction)
    return scaled // scale, scaled % scale == 0


def parse_size(text: str | int) -> int:
    """`Size.parse` as a plain int."""
    return int(Size.parse(text))


def format_size(size: int) -> str:
    """Bytes as the shortest exact binary size (``2G``, ``1536M``, ``6200M``, ``4097``), so that it parses back."""
    sign, size = ("-", -size) if size < 0 else ("", size)
    for suffix in ("E", "P", "T", "G", "M", "K"):
        factor = _SUFFIXES[suffix]
        if size and size % factor == 0:
            return f"{sign}{size // factor}{suffix}"
    return f"{sign}{size}"


@lru_cache(maxsize=4096)
def format_approx(size: int) -> str:
    """Bytes for a glance, at most one decimal: ``2G``, ``1.5G``, ``639K``; exact bytes are `format_size`'s job."""
    for suffix in ("E", "P", "T", "G", "M", "K"):
        factor = _SUFFIXES[suffix]
        if abs(size) >= factor:
            text = f"{size / factor:.1f}"
            return f"{text.removesuffix('.0')}{suffix}"
    return f"{size}B"


def format_short(size: int) -> str:
    """Bytes, exactly where that is short, else with one decimal, which tells that it is rounded: ``2G``, ``2.0G``, ``635K``.

    The report's own `dom.js` says the same in the browser.
    """
    exact = format_size(size)
    if len(exact) <= 5:
        return exact
    rounded = format_approx(size)
    return rounded if "." in rounded or not rounded[-1].isalpha() else f"{rounded[:-1]}.0{rounded[-1]}"


def format_exact(size: int) -> str:
    """A size as the tables show it where that is exact (``1.5G``), else `format_size`'s (``6200M``)."""
    unit = 1 << (max(size.bit_length() - 1, 0) // 10 * 10)
    return format_approx(size) if unit > 1 and not size * 10 % unit else format_size(size)


def size_format(*, in_bytes: bool, at_least: bool = False) -> Callable[[int], str]:
    """Return the function that formats a table's sizes, in bytes or rounded; `at_least` marks sizes that are lower limits."""
    plain: Callable[[int], str] = str if in_bytes else format_approx
    return (lambda size: f"at least {plain(size)}") if at_least else plain


def format_duration(seconds: float) -> str:
    """Seconds for a glance; from two minutes on, minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def format_with_hex(size: int) -> str:
    """Bytes for people and for those who count zeros: ``4G (0x100000000)``."""
    return f"{format_size(size)} ({size:#x})"


def libvirt_unit(name: str) -> int | None:
    """Bytes of a unit as libvirt's XML names it, in whatever case; none given is KiB, and None is what is not a unit.

    Source: virScaleInteger() in src/util/virutil.c (libvirt 9.0).
    """
    unit = name.upper()
    if unit in ("", "B", "BYTE", "BYTES"):
        return 1 if unit else KiB
    power = "KMGTPE".find(unit[0]) + 1
    base = {"": 1024, "IB": 1024, "B": 1000}.get(unit[1:])
    return base**power if power and base else None


def is_power_of_two(value: int) -> bool:
    """True for 1, 2, 4, …"""
    return value > 0 and value & (value - 1) == 0


def align_down(value: int, alignment: int) -> int:
    """The largest multiple of `alignment` that is not above `value`."""
    return value - value % alignment


def align_up(value: int, alignment: int) -> int:
    """The smallest multiple of `alignment` that is not below `value`."""
    return -(-value // alignment) * alignment


class Span(NamedTuple):
    """A half-open range of addresses, in bytes: `start` is in, `stop` is not."""

    start: int
    stop: int

    @classmethod
    def sized(cls, start: int, size: int) -> Self:
        """The span of `size` bytes from `start`."""
        return cls(start, start + size)

    @classmethod
    def of_block(cls, number: int, size: int) -> Self:
        """The bytes of the block with that number, of blocks of `size` bytes that begin at address 0."""
        return cls(number * size, (number + 1) * size)

    @property
    def size(self) -> int:
        """Bytes; 0 when empty."""
        # `clipped` leaves a stop below the start where two spans do not meet.
        return max(self.stop - self.start, 0)

    def overlaps(self, other: "Span") -> bool:
        """True when the two share a byte."""
        return self.start < other.stop and other.start < self.stop

    def contains(self, other: "Span") -> bool:
        """True when every byte of `other` is in this span."""
        return self.start <= other.start and other.stop <= self.stop

    def clipped(self, limit: "Span") -> "Span":
        """The part inside `limit`; empty when they do not meet."""
        return Span(max(self.start, limit.start), min(self.stop, limit.stop))

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.stop - 1:#x}"
