"""What is promised of every command, whatever it is given; and sound input, spoiled."""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from virtiomem.cli.main import main

ROOT = Path(__file__).parents[2]
EXIT_CODES = {0, 1, 2, 64, 124}
MAX_LINE = 300
MAX_INPUT = 1 << 20


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


def run(*argv: str | Path) -> Ran:
    """Run a command in this process and hold it to the promise; AssertionError when it does not keep it."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace", write_through=True) for _ in "oe")
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in argv])
    ran = Ran(code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)))
    _check(ran)
    return ran


def _check(ran: Ran) -> None:
    complaints = ran.err.splitlines()
    assert ran.code in EXIT_CODES, f"exit code {ran.code}"
    assert ran.code != 2 or complaints, "usage errors are said"
    for line in complaints:
        check_line(line)
    assert "not enough memory" not in ran.err, "memory is bounded"


def check_line(line: str) -> None:
    """Assert that a complaint is fit for a terminal."""
    assert len(line) <= MAX_LINE, f"{len(line)} characters: {line[:200]!r}"
    assert line.isprintable(), f"control characters: {line!r}"
    assert "Traceback" not in line, line


ODD_NUMBERS = (
    *("0", "-1", "1", "3", "0x", "00", "1e400", "-0.0", "nan", "inf", "1.5", "4095", "2097151", "134217728"),
    *("4294967296", "1099511627776", "9223372036854775807", "9223372036854775808", "18446744073709551615"),
    *("18446744073709551616", "ffffffffffffffff", "10000000000000000", "9" * 400, "9" * 5000, "1P", "16E", "2G"),
)
ODD_TEXTS = (
    *("", " ", "\t", "\r", "\n", "\0", "\x1b[2J", "\x9b", "\u202e", "\u2028", "\u00a0", "\ufeff", "\ud800", "é", "💣"),
    *("'", '"', "\\", "[", "]", "{", "}", ":", "-", "=", ",", ".", "#", "..", "System RAM", "virtio0", "x" * 400),
)


def spoiled(random: Random, sound: bytes, other: bytes = b"") -> bytes:
    """A text with some damage: cut, doubled, moved, mixed with another, sprinkled with what is odd."""
    text = bytearray(sound)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        start = random.randint(0, len(text))
        stop = min(start + int(2 ** random.uniform(0, 10)), len(text))
        part = bytes(text[start:stop])
        text[start:stop] = random.choice(_DAMAGES)(random, part, other or sound)
        del text[MAX_INPUT:]
    return bytes(text)


def _odd(random: Random) -> bytes:
    return random.choice(random.choice((ODD_NUMBERS, ODD_TEXTS))).encode("utf-8", "surrogatepass")


def _sprinkled(random: Random, part: bytes) -> bytes:
    """A part with one of its words replaced."""
    words = part.split(b" ")
    words[random.randrange(len(words))] = _odd(random)
    return b" ".join(words)


def _shuffled(random: Random, part: bytes) -> bytes:
    lines = part.split(b"\n")
    random.shuffle(lines)
    return b"\n".join(lines)


def _taken(random: Random, other: bytes) -> bytes:
    start = random.randint(0, len(other))
    return other[start : start + int(2 ** random.uniform(0, 10))]


_DAMAGES: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    lambda _random, _part, _other: b"",
    lambda _random, part, _other: part + part,
    lambda random, part, _other: part * int(2 ** random.uniform(1, 12)),
    lambda random, part, _other: _sprinkled(random, part),
    lambda random, part, _other: _odd(random) + part,
    lambda random, part, _other: random.randbytes(random.randint(1, 4)) + part,
    lambda random, part, _other: _shuffled(random, part),
    lambda random, part, other: part + _taken(random, other),
    lambda _random, part, _other: part[:1] * len(part),
    lambda _random, part, _other: part.swapcase(),
    lambda _random, part, _other: part.replace(b"\n", b"\r\n"),
)


Place = tuple[Any, Any]
"""A table or an array, and a key or an index of it."""


def places(value: Any) -> list[Place]:
    """Every place in nested tables and arrays."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [place for key, inner in items for place in ((value, key), *places(inner))]


def spoil_values(random: Random, value: Any) -> None:
    """Replace, drop, double or misname some of the values in tables and arrays, in place."""
    for _ in range(random.choice((1, 1, 2, 4))):
        if not (there := places(value)):
            return
        holder, key = random.choice(there)
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder[key:key] = [deepcopy(holder[key]) for _ in range(int(2 ** random.uniform(0, 8)))]
            case 1 | 2 if isinstance(holder, dict):
                holder[random.choice((*ODD_TEXTS, *map(str, holder)))] = holder.pop(key)
            case 3:
                other = random.choice(there)[0]
                holder[key] = None if _within(other, holder) else deepcopy(other)
            case _:
                holder[key] = odd_value(random)


def _within(outer: Any, inner: Any) -> bool:
    return outer is inner or any(place[0] is inner for place in places(outer))


def odd_value(random: Random) -> Any:
    """A value that few places expect."""
    return random.choice(
        (
            *(None, True, False, 0, -1, 1, 3, 1.5, -0.5, 1e300, 2**31, 2**40, 2**52, 2**63, 2**64 - 1, 2**64, -(2**63)),
            *([], {}, [[]], {"": 0}, [0] * 1000, "x" * 5000),
            *(random.choice(ODD_TEXTS), random.choice(ODD_NUMBERS)),
        )
    )
