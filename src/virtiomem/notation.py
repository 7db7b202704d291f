"""JSON and TOML from others: every value once, and what is wrong in words that name the place."""

import json
import re
import tomllib
from ast import literal_eval
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from virtiomem.text import quoted, shown

T = TypeVar("T")

_BYTE = re.compile(r"(?:JSON is malformed: )?(?P<reason>.*) \(byte (?P<byte>\d+)\)")
_TOML_PLACE = re.compile(r"(?P<reason>.*) \(at (?P<place>.*)\)", re.DOTALL)
_TOML_KEY = re.compile(r"\('.*',?.*\)")
_VALUE_PLACE = re.compile(r"(?P<reason>.*) - at `(?:key in )?\$\.?(?P<place>.*)`", re.DOTALL)
_FIELD = re.compile(r"Object (?P<fault>contains unknown|missing required) field `(?P<key>.*)`", re.DOTALL)
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}


class NotationError(ValueError):
    """What is wrong with a text, or a value in it; `where` is the line, or the keys that lead to it."""

    def __init__(self, reason: str, where: str = "") -> None:
        self.reason = reason
        self.where = where
        super().__init__(f"{where}: {reason}" if where else reason)


def json_values(text: str | bytes) -> Any:
    """What JSON holds. Raises NotationError, also for a key that an object has twice."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        values = msgspec.json.decode(data)
        _refuse_twice(data, values)
    except RecursionError:
        raise NotationError("nested too deeply") from None
    except UnicodeDecodeError:
        raise _not_utf8(data) from None
    except msgspec.ValidationError as error:
        raise _wrong_value(error) from None
    except msgspec.DecodeError as error:
        raise _not_json(error, data) from None
    return values


def toml_values(text: bytes) -> dict[str, Any]:
    """What TOML holds. Raises NotationError."""
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError:
        raise _not_utf8(text) from None
    except RecursionError:
        raise NotationError("arrays or tables are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.fullmatch(str(error))
        reason, place = (match["reason"], match["place"]) if match else (str(error), "")
        raise NotationError(_TOML_KEY.sub(_dotted, reason), place) from None
    except ValueError:  # Python reads no decimal number that long
        raise NotationError("a number of thousands of digits") from None


def convert(values: Any, kind: type[T], *, dec_hook: Callable[[type, Any], Any] | None = None) -> T:
    """Values as a type. Raises NotationError."""
    try:
        return msgspec.convert(values, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        raise _wrong_value(error) from None


def check_format(values: Any, known: str) -> None:
    """Raise NotationError when an object says that it is of another format, or of none."""
    if isinstance(values, dict) and (said := values.get("format")) != known:
        raise NotationError(f"format {shown(json.dumps(said))} is not {known}")


def _refuse_twice(data: bytes, values: Any) -> None:
    """Refuse an object that has a key twice, of which the decoder keeps the last.

    Without such keys, and without escapes, as many colons stand behind a quotation mark as when the values are written
    again. That is an eighth of the decoder's time; where it does not tell, Python's own decoder does, in twice the time.
    """
    try:
        again = msgspec.json.encode(values)
    except OverflowError:  # an integer beyond 64 bits
        again = b""
    if b"\\u" in data or msgspec.json.format(data, indent=-1).count(b'":') != again.count(b'":'):
        json.loads(data, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse a key that is there already."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise NotationError(f"the key {quoted(key)} is there twice")
        seen.add(key)


def _not_utf8(data: bytes) -> NotationError:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return NotationError(f"byte {data[error.start]:#04x} is not UTF-8", f"line {line}")
    return NotationError("an escape that is not a character")


def _not_json(error: msgspec.DecodeError, data: bytes) -> NotationError:
    match = _BYTE.fullmatch(str(error))
    if match is None:
        return NotationError("not JSON, or cut short")
    at = int(match["byte"])
    line, column = data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)
    return NotationError(f"not JSON: {match['reason']}", f"line {line}, column {column}")


def _wrong_value(error: msgspec.ValidationError) -> NotationError:
    match = _VALUE_PLACE.fullmatch(str(error))
    reason, place = (match["reason"], match["place"].removeprefix("[...]")) if match else (str(error), "")
    if field := _FIELD.fullmatch(reason):
        fault = "is missing" if field["fault"] == "missing required" else "is not a key here"
        return NotationError(f"{quoted(field['key'])} {fault}", place)
    reason = re.sub(r"`([^`]*)`", _kinds, reason)
    return NotationError(f"{reason[:1].lower()}{reason[1:]}", place)


def _kinds(match: re.Match[str]) -> str:
    """Types as a writer of JSON calls them."""
    return " or ".join(_KINDS.get(kind, kind) for kind in match[1].split(" | "))


def _dotted(match: re.Match[str]) -> str:
    """A key that Python shows as a tuple."""
    return ".".join(literal_eval(match[0]))
