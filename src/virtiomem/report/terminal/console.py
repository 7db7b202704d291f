"""Print lines: with colours on a terminal only, and one width everywhere else, so that output can be compared."""

from collections.abc import Iterable
from typing import IO

from rich.console import Console
from rich.text import Text

from virtiomem.recording.palette import Appearance
from virtiomem.text import printable

PLAIN_WIDTH = 100
"""Columns when the output is not a terminal."""
_NARROWEST, _WIDEST = 60, 140


class _Console(Console):
    """A console that leaves it to its caller what a closed pipe means; rich itself would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Report that the reader is gone."""
        raise BrokenPipeError


def make_console(file: IO[str]) -> Console:
    """A console on `file`; text that comes from others is never taken for markup."""
    console = _Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
    width = min(max(console.width, _NARROWEST), _WIDEST) if console.is_terminal else PLAIN_WIDTH
    console.width = width
    return console


def width_of(console: Console) -> int | None:
    """Columns of the terminal; None without a terminal, where lines are not cut."""
    return console.width if console.is_terminal else None


def text(words: str, style: str = "") -> Text:
    """Words from anywhere as one piece of a line: control characters are shown, not obeyed."""
    return Text(printable(words), style)


def join(pieces: Iterable[Text | str], between: str = "") -> Text:
    """Pieces of a line in a row."""
    return Text(between).join(piece if isinstance(piece, Text) else text(piece) for piece in pieces)


def style(look: Appearance, *, filled: bool = False) -> str:
    """Return rich's style for this look, with its colour in the foreground or the background."""
    return f"#000000 on {look.color}" if filled else look.color
