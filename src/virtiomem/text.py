"""Text from others (a file, a peer, an argument) as people may see it: no terminal obeys it, no line of it is endless."""

from collections.abc import Iterable

MAX_LINE = 300
"""Characters of a message; what is longer is cut in the middle, for what is wrong stands first and the cure last."""
MAX_VALUE = 80
"""Characters of a value within a message."""
MAX_PATH = 160
"""Characters of a path, which people copy."""


def printable(text: str) -> str:
    r"""Show what a terminal would obey or hide: ``\x1b``, ``\u202e``; a byte that is not UTF-8 as itself, ``\xff``."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    """One character, as Python writes it where it is not printable."""
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clipped(text: str, limit: int = MAX_VALUE) -> str:
    """The beginning and the end of a text, in at most `limit` characters."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 1]}…{text[len(text) - tail :]}"


def shown(value: object, limit: int = MAX_PATH) -> str:
    """A value, such as a path, within a message: printable, and clipped."""
    # Before escaping, so that a huge value costs little, and after it, since escapes are longer.
    return clipped(printable(clipped(str(value), limit)), limit)


def quoted(text: str, limit: int = MAX_VALUE) -> str:
    """A text within a message, in quotes: printable, and clipped."""
    return clipped(repr(clipped(text, limit)), limit)


def described(value: object) -> str:
    """A value for its reader: a plain one as it is written, any other by its class."""
    # bool first: to Python it is an integer, and would be shown as 1.
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return f"{value!r}"
    return quoted(value) if isinstance(value, str) else f"an object of class {shown(type(value).__name__)}"


def number(value: int) -> str:
    """An integer as people write it: large ones in hexadecimal, and none longer than it is worth."""
    bits = value.bit_length()
    # Python refuses to write integers of more than 4300 decimal digits, and a message needs none that are long.
    if bits > 128:
        return f"a number of {bits} bits"
    if value > 0xFFFF and value & (value + 1) == 0:
        return f"2^{bits}-1"
    return f"{value}" if bits <= 16 else f"{value:#x}"


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """A message as one line: printable, and clipped."""
    # Clipped at first, for a message may quote a whole file; `shown` then clips what escaping made longer.
    return shown(" ".join(clipped(text, 4 * limit).splitlines()), limit)


def sound(text: str) -> str:
    """Text that UTF-8 and JSON can hold: a byte that is not UTF-8 becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is nearly one of the `known`: ``, did you mean 'vm0'?``; else nothing."""
    near = closest(word, known)
    return f", did you mean {near!r}?" if near else ""


def closest(word: str, known: Iterable[str]) -> str:
    """The one of the `known` that a word nearly is; empty for a word that is like none."""
    from difflib import get_close_matches  # which a word that is right need not wait for

    return next(iter(get_close_matches(word, list(known), n=1)), "")
