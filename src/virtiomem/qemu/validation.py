"""The border to QEMU and the guest: what comes in is checked here, in one place, before anything believes it.

A *shape* says what an answer must be: one of the kinds below, a list of a shape, or a msgspec Struct of them, where
the fields that it names are looked at. What does not fit is `Unsound`, which says which field it is and what it holds.
"""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Struct

from virtiomem.text import shown
from virtiomem.units import U64_MAX

MAX_NAME = 255
_abridged = reprlib.Repr()
_abridged.maxstring = _abridged.maxlong = 60

Shape = TypeVar("Shape")


class Unsound(ValueError):  # noqa: N818 - an impossible answer; the caller makes an error of it
    """An impossible value: `where` is its place in the answer, `must` what it should be."""

    def __init__(self, value: object, must: str, where: str = "") -> None:
        self.value, self.must, self.where = value, must, where
        super().__init__(f"{shown(where.lstrip('.')) or 'it'} is {shown(_abridged.repr(value))}, not {must}")

    def below(self, where: str) -> "Unsound":
        """The same, seen from outside: `where` is the place of what holds it."""
        return Unsound(self.value, self.must, where + self.where)


@dataclass(frozen=True, slots=True)
class ValueKind(Generic[Shape]):
    """Condition for a value that holds no others."""

    must: str
    fits: Callable[[Any], bool]


# type() and not isinstance(): to Python True is an int, and a peer that sends it is wrong.
NUMBER: ValueKind[int] = ValueKind(
    "a number from 0 to 2^64-1", lambda value: type(value) is int and 0 <= value <= U64_MAX
)
FLAG: ValueKind[bool] = ValueKind("true or false", lambda value: isinstance(value, bool))
STRING: ValueKind[str] = ValueKind("a string", lambda value: isinstance(value, str))
TEXT: ValueKind[str] = ValueKind(
    "text that can be printed", lambda value: isinstance(value, str) and value.isprintable()
)
NAME: ValueKind[str] = ValueKind(
    f"a name (1 to {MAX_NAME} characters that can be printed, no slash)",
    lambda value: isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_NAME and "/" not in value,
)
OBJECT: ValueKind[dict[str, Any]] = ValueKind("an object", lambda value: isinstance(value, dict))
ANYTHING: ValueKind[object] = ValueKind("anything", lambda _: True)

Number = Annotated[int, NUMBER]
Flag = Annotated[bool, FLAG]
String = Annotated[str, STRING]
Text = Annotated[str, TEXT]
Name = Annotated[str, NAME]


def read(value: object, shape: type[Shape] | ValueKind[Shape]) -> Shape:
    """An answer as its shape; raises Unsound when it does not fit."""
    return cast("Shape", _read(value, shape))


def _read(value: object, shape: Any) -> Any:
    # By hand and not by msgspec.convert(), which raises UnicodeEncodeError for a lone surrogate that a peer may send.
    if isinstance(shape, ValueKind):
        if not shape.fits(value):
            raise Unsound(value, shape.must)
        return value
    arguments = get_args(shape)
    if get_origin(shape) is Annotated:
        return _read(value, arguments[1])
    if get_origin(shape) is list:
        return _list(value, arguments[0])
    if NoneType in arguments:
        return None if value is None else _read(value, arguments[0])
    return _struct(value, shape)


def _list(values: object, shape: Any) -> list[Any]:
    if not isinstance(values, list):
        raise Unsound(values, "a list")
    return [_inner(value, shape, f"[{place}]") for place, value in enumerate(values)]


def _struct(value: object, shape: type[Struct]) -> Struct:
    if not isinstance(value, dict):
        raise Unsound(value, "an object")
    found = {}
    for field in _fields(shape):
        name = field.encode_name
        # Only the fields that are named here are looked at: QEMU adds others with every release.
        if name in value:
            found[field.name] = _inner(value[name], field.type, f".{name}")
        elif field.required:
            raise Unsound(value, f"an object with {name}")
    try:
        return shape(**found)
    except ValueError as error:  # what its fields together cannot be
        raise Unsound(value, str(error)) from None


def _inner(value: object, shape: Any, place: str) -> Any:
    try:
        return _read(value, shape)
    except Unsound as error:
        raise error.below(place) from None


@cache
def _fields(shape: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(shape)
