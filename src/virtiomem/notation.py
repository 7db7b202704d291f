"""JSON and TOML from others: every value once, and what is wrong in words that name the place. JSON for others: always
sound.
"""

import re
import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from virtiomem.text import quoted, shown, sound

T = TypeVar("T")

# Texts, which are compiled once there is something to complain about.
_BYTE = r"(?:JSON is malformed: )?(?P<reason>.*) \(byte (?P<byte>\d+)\)"
_TOML_PLACE = r"(?s)(?P<reason>.*) \(at (?P<place>.*)\)"
_TOML_KEY = r"\('.*',?.*\)"
_VALUE_PLACE = r"(?s)(?P<reason>.*) - at `(?:key in )?\$\.?(?P<place>.*)`"
_FIELD = r"(?s)Object (?P<fault>contains unknown|missing required) field `(?P<key>.*)`"

MAX_PARTS = 32
"""A dotted key of TOML has no more."""
MAX_WORD = 1000
"""Characters of a bare key or a number of TOML."""
MAX_BITS = 64
MAX_DEPTH = 64
"""Tables and arrays of TOML in one another."""
_TOML_TEXTS = re.compile(
    r'"""[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*(?:"""|\Z)'
    r"|'''[^']*+(?:'(?!'')[^']*+)*(?:'''|\Z)"
    r'|"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*"?'
    r"|'[^'\n]*+'?"
    r"|\#[^\n]*+",
    re.DOTALL,
)
"""Strings and comments, closed or not. Only classes of characters are possessive: Python before 3.11.5 errs with groups."""
_LONG_WORD = re.compile(rf"(?<![\w+-])[\w+-]{{{MAX_WORD}}}")
_DEEP_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MAX_PARTS}}}")
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}


class NotationError(ValueError):
    """Error in a text, or in a value of it; `where` is the line, or the keys that lead to it."""

    def __init__(self, reason: str, where: str = "") -> None:
        self.reason = reason
        self.where = where
        super().__init__(f"{where}: {reason}" if where else reason)


def json_values(text: str | bytes) -> Any:
    """What JSON holds. Raises NotationError, also for a key that an object has twice."""
    # A lone surrogate passes here: the decoder then refuses it, and the complaint names its line.
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
    """What TOML holds. Raises NotationError, also for what TOML allows and nothing here means."""
    try:
        decoded = text.decode()
        _refuse_costly(decoded)
        tables = tomllib.loads(decoded)
    except UnicodeDecodeError:
        raise _not_utf8(text) from None
    except RecursionError:
        raise NotationError("arrays or tables are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(_TOML_PLACE, str(error))
        reason, place = (match["reason"], match["place"]) if match else (str(error), "")
        raise NotationError(re.sub(_TOML_KEY, _dotted, reason), place) from None
    # tomllib limits neither; behind this check no number has more than 64 bits.
    _refuse_huge(tables, "", 0)
    return tables


def convert(values: Any, kind: type[T], *, dec_hook: Callable[[type, Any], Any] | None = None) -> T:
    """Values as a type. Raises NotationError."""
    try:
        return msgspec.convert(values, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        raise _wrong_value(error) from None


def check_format(values: Any, *known: str) -> str:
    """Return the value of an object's `format`; the first known format for what is not an object.

    Raises NotationError when it says another, or none.
    """
    said = values.get("format") if isinstance(values, dict) else known[0]
    if said not in known:
        import json  # here and below, not above: sound input needs none of it

        raise NotationError(f"format {shown(json.dumps(said))} is not {' or '.join(known)}")
    return str(said)


def _refuse_costly(text: str) -> None:
    """Refuse TOML that costs more than it can mean, before it does.

    Python's reader takes time and memory with the square of a dotted key's parts, and a hundred bytes for each digit of a
    hexadecimal number.
    """
    # What stands in strings and comments is neither a key nor a number. Their newlines stay, for the number of the
    # line.
    bare = _TOML_TEXTS.sub(lambda found: "_" + "\n" * found[0].count("\n"), text)
    for pattern, reason in (
        (_DEEP_KEY, f"a key of more than {MAX_PARTS} parts"),
        (_LONG_WORD, f"a key or a number of more than {MAX_WORD} characters"),
    ):
        if match := pattern.search(bare):
            line = bare.count("\n", 0, match.start()) + 1
            raise NotationError(f"{reason}, {quoted(match[0])}", f"line {line}")


def _refuse_huge(value: object, where: str, depth: int) -> None:
    """Refuse integers and nests that are too large; `where` is such as ``device[0].max-size``."""
    if depth > MAX_DEPTH:
        raise NotationError("arrays or tables are nested too deeply", where)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise NotationError(f"a number of more than {MAX_BITS} bits", where)
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_huge(inner, f"{where}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_huge(inner, f"{where}[{index}]", depth + 1)


def json_bytes(values: Any, *, enc_hook: Callable[[Any], Any] | None = None, indent: int | None = None) -> bytes:
    """Values as JSON; a byte that is not UTF-8, in a file's name or a resource's, becomes a question mark."""
    try:
        # First as it is: text that cannot be encoded is rare, and copying all values to clean them takes long.
        encoded = msgspec.json.encode(values, enc_hook=enc_hook)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_sound(msgspec.to_builtins(values, enc_hook=enc_hook)))
    return encoded if indent is None else msgspec.json.format(encoded, indent=indent)


def _sound(values: Any) -> Any:
    """Plain values with text that can be encoded."""
    if isinstance(values, dict):
        return {_sound(key): _sound(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_sound(value) for value in values]
    return sound(values) if isinstance(values, str) else values


def printable_json(text: bytes) -> str:
    """JSON for a terminal: what that would obey is escaped, which JSON may do with any character."""
    lines = text.decode().split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_escaped, line)) for line in lines)


def _escaped(character: str) -> str:
    """One character of a text in JSON."""
    if character.isprintable():
        return character
    import json

    return json.dumps(character)[1:-1]


def _refuse_twice(data: bytes, values: Any) -> None:
    """Refuse an object that has a key twice: the decoder would keep the last.

    Without such keys, and without escapes, as many colons stand behind a quotation mark as when the values are written
    again. That is an eighth of the decoder's time; where it does not tell, Python's own decoder does, in twice the time.
    """
    try:
        again = msgspec.json.encode(values)
    except OverflowError:  # an integer beyond 64 bits
        again = b""
    # An escape may stand for a quotation mark or a colon: then the counts prove nothing.
    if b"\\u" in data or msgspec.json.format(data, indent=-1).count(b'":') != again.count(b'":'):
        import json

        json.loads(data, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse a key that is there already."""
    # Returns nothing, so that this second reading holds no values.
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
    match = re.fullmatch(_BYTE, str(error))
    if match is None:
        return NotationError("not JSON, or cut short")
    at = int(match["byte"])
    line, column = data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)
    return NotationError(f"not JSON: {match['reason']}", f"line {line}, column {column}")


def _wrong_value(error: msgspec.ValidationError) -> NotationError:
    match = re.fullmatch(_VALUE_PLACE, str(error))
    reason, place = (match["reason"], match["place"].removeprefix("[...]")) if match else (str(error), "")
    if field := re.fullmatch(_FIELD, reason):
        fault = "is missing" if field["fault"] == "missing required" else "is not a key here"
        return NotationError(f"{quoted(field['key'])} {fault}", place)
    reason = re.sub(r"`([^`]*)`", _kinds, reason)
    return NotationError(f"{reason[:1].lower()}{reason[1:]}", place)


def _kinds(match: re.Match[str]) -> str:
    """Types as a writer of JSON calls them."""
    return " or ".join(_KINDS.get(kind, kind) for kind in match[1].split(" | "))


def _dotted(match: re.Match[str]) -> str:
    """A key that Python shows as a tuple."""
    from ast import literal_eval

    return ".".join(literal_eval(match[0]))
