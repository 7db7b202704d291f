"""Times, sizes and counts as options take them: the readers for argparse's `type`, with one complaint for each kind."""

import argparse

from virtiomem.units import Size

MAX_SECONDS = 24 * 24 * 60 * 60
"""poll(2) counts milliseconds in 31 bits; and nobody waits for a month."""
MIN_SECONDS = 0.001

_UNITS = {"s": 1, "m": 60, "h": 60 * 60}


def seconds(text: str) -> float:
    """Read ``90``, ``90s``, ``1.5m`` or ``2h``."""
    unit = _UNITS.get(text[-1:])
    try:
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = 0.0
    if not MIN_SECONDS <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"not a time: {text!r} (write 90, 90s, 5m or 1h, from 1 ms to 24 days)")
    return value


def size(text: str) -> Size:
    """Read ``128M``, ``2G``, ``0x8000000`` or bytes."""
    try:
        return Size.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """Read a count of one and more."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text)):
        raise argparse.ArgumentTypeError(f"not a count: {text!r} (write 1 or more)")
    return int(text)
