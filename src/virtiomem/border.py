"""Checks of the arguments of public calls: a wrong value is refused here, before anything has changed.

Each check names the argument, what it must be, and what it was. Calls that come by the million test only what is cheap and
come here when it fails; what is inside the heart is not checked again.
"""

from collections.abc import Iterable
from typing import Any

from virtiomem.errors import ArgumentTypeError, ArgumentValueError
from virtiomem.text import described, number, quoted
from virtiomem.units import U64_MAX, KiB, is_power_of_two

MAX_NAME = 255
"""Characters of a name: no kernel, and no line of a listing, has a longer one."""


def integer(what: str, value: object, low: int = 0, high: int = U64_MAX) -> None:
    """Refuse everything except integers from `low` to `high`. A bool is refused, too."""
    # To Python a bool is an integer: True would pass as a size of 1.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArgumentTypeError(f"{what} must be an integer, not {described(value)}")
    if not low <= value <= high:
        raise ArgumentValueError(f"{what} must be from {number(low)} to {number(high)}, not {number(value)}")


def power_of_two(what: str, value: Any, low: int = 1, high: int = U64_MAX) -> None:
    """Refuse everything except powers of two from `low` to `high`."""
    # Only its kind here: the refusal of a wrong range is to say power of two as well.
    integer(what, value, 0)
    if not low <= value <= high or not is_power_of_two(value):
        limits = f"from {number(low)} to {number(high)}"
        raise ArgumentValueError(f"{what} must be a power of two {limits}, not {number(value)}")


def page_size(value: Any) -> int:
    """Return a page size in bytes, or refuse it if no supported page has that size."""
    power_of_two("page-size", value, 4 * KiB, 64 * KiB)
    return int(value)


def span(start: object, size: object) -> None:
    """Refuse what cannot be an address and a size, both in bytes."""
    integer("start", start)
    integer("size", size)


def real(what: str, value: Any, low: float, high: float) -> None:
    """Refuse everything except integers and floats from `low` to `high`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ArgumentTypeError(f"{what} must be a number, not {described(value)}")
    if not low <= value <= high:
        raise ArgumentValueError(f"{what} must be from {low:g} to {high:g}, not {described(value)}")


def name(what: str, value: object) -> None:
    """Refuse everything except one line of printable text, as a listing can hold it."""
    instance(what, value, str)
    assert isinstance(value, str)
    if not value.isprintable() or value != value.rstrip() or len(value) > MAX_NAME:
        limits = f"one line of at most {MAX_NAME} printable characters without blanks at its end"
        raise ArgumentValueError(f"{what} must be {limits}, not {quoted(value)}")


def one_of(what: str, value: object, words: Iterable[str]) -> None:
    """Refuse everything except these words."""
    instance(what, value, str)
    if value not in list(words):
        raise ArgumentValueError(f"{what} must be one of {', '.join(words)}, not {described(value)}")


def function(what: str, value: object) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise ArgumentTypeError(f"{what} must be something to call, not {described(value)}")


def instance(what: str, value: object, *kinds: type) -> None:
    """Refuse everything except objects of these classes. A bool is refused unless `bool` is among them."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ArgumentTypeError(f"{what} must be {wanted}, not {described(value)}")
