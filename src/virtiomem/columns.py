"""Text in columns, for every command that prints a table of its own.

A terminal has limited room: columns that have a rank are left out, the lowest first, until the others fit, and a line
below says which; a last column of words goes on below. A file or a program, which has no width, gets all
(`stdio.terminal_width`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from virtiomem.errors import UsageError
from virtiomem.text import nearest, printable, quoted

T = TypeVar("T")
C = TypeVar("C", bound="Chosen")
_GAP = "  "
_LEAST_WORDS = 20
"""Where fewer columns are left for words, they begin on a line of their own."""
_ROWS = 1024
"""Rows that wait together until the widths are known."""
_TAB = "\t"


def align(rows: Iterable[Sequence[str]], right: str | Sequence[bool] = "", *, width: int | None = None) -> str:
    """Columns as wide as their widest cell, a line per row, nothing behind the last cell; every cell printable.

    `right` says which columns are aligned to the right, as a text with a ``>`` at their place or as flags. With a `width`
    the last column is of words, which go on below where they find no room.
    """
    widths, waiting = _measured(list(zip(*some, strict=True)) for some in _some_at_a_time(rows))
    # `right` may be shorter than a row: the columns behind its end are aligned to the left.
    flags = [at < len(right) and right[at] in (">", True) for at in range(len(widths))]
    return "".join(_lines(waiting, widths, flags, range(len(widths)), width))


def _some_at_a_time(rows: Iterable[T]) -> Iterator[list[T]]:
    """The rows, as many together as wait until the widths are known."""
    source = iter(rows)
    while some := list(islice(source, _ROWS)):
        yield some


def _measured(parts: Iterable[Sequence[Sequence[str]]]) -> tuple[list[int], list[str]]:
    """The widths of the columns, and the rows of each part, a list for each column, as text.

    What is printable holds no tab and no newline, so that these keep cells apart, in a tenth of the memory that cells take.
    """
    widths: list[int] = []
    waiting: list[str] = []
    for part in parts:
        # One test for a column of many rows: mostly every cell is printable.
        columns = [cells if "".join(cells).isprintable() else list(map(printable, cells)) for cells in part]
        here = [max(map(len, cells)) for cells in columns]
        widths = list(map(max, widths or here, here))
        waiting.append("\n".join(map(_TAB.join, zip(*columns, strict=True))))
    return widths, waiting


def _lines(
    waiting: Iterable[str], widths: Sequence[int], right: Sequence[bool], shown: Sequence[int], width: int | None
) -> Iterator[str]:
    """The text of the columns that are shown, as many lines at a time as wait together."""
    form = [f"%{'' if right[at] else '-'}{widths[at]}s" for at in shown]
    line, head = f"{_GAP.join(form)}\n", "".join(f"{cell}{_GAP}" for cell in form[:-1])
    for text in waiting:
        cells = text.replace("\n", _TAB).split(_TAB)
        if len(shown) < len(widths):
            cells = [cell for at, cell in enumerate(cells) if at % len(widths) in shown]
        if width is None:
            # One % for all lines is faster than one for each. An empty last cell leaves blanks at the end of its line.
            lines = line * (len(cells) // len(shown)) % tuple(cells)
            yield re.sub("(?<! ) ++\n", "\n", lines) if " \n" in lines else lines
        else:
            rows = zip(*[iter(cells)] * len(shown), strict=True)
            flowed = (flowing(head % row[:-1], row[-1], width) for row in rows)
            yield "".join(f"{line}\n" for lines in flowed for line in lines)


def flowing(head: str, words: str, width: int | None) -> list[str]:
    """Lines of `head` and then `words`, which go on below their beginning where a line has no room for them."""
    if width is None or len(head) + len(words) <= width:
        return [f"{head}{words}".rstrip()]
    # Not above: most lines fit, and then nothing needs it.
    import textwrap

    beside = width - len(head) >= _LEAST_WORDS
    indent = " " * (len(head) if beside else 4)
    lines = textwrap.wrap(
        words,
        # On a very narrow terminal lines get too long, rather than one letter wide.
        max(width, len(indent) + _LEAST_WORDS),
        initial_indent=head if beside else indent,
        subsequent_indent=indent,
        # An option or a device's id is copied from the terminal, so it stays in one piece.
        break_on_hyphens=False,
    )
    return lines if beside else [head.rstrip(), *lines]


class Column(NamedTuple, Generic[T]):
    """A column of a table: all that its command has to know of it."""

    name: str
    cell: Callable[[T], str]
    """The text of a cell; what it needs in addition to the row, such as whether sizes are in bytes, is part of `T`."""
    right: bool = False
    """Aligned to the right."""
    default: tuple[str, ...] = ()
    """The tables that show it unless columns are chosen, in the order of the registry."""
    needs: str = ""
    """What has to be read for it, in the words of its command."""
    rank: int = 0
    """When it is left out for lack of room: 1 before 2; 0 never is."""
    words: bool = False
    """A last column of words, which go on below where they find no room."""


class Chosen(Protocol):
    """A column as a registry sees it; see `Column`."""

    @property
    def name(self) -> str:
        """The word for it in options."""

    @property
    def default(self) -> tuple[str, ...]:
        """The tables that show it."""

    @property
    def needs(self) -> str:
        """The input that it needs."""


class Columns(dict[str, C]):
    """The columns that a command knows, by name, in order."""

    def __init__(self, *columns: C) -> None:
        super().__init__({column.name: column for column in columns})

    def default(self, table: str) -> list[str]:
        """The columns that a table has unless columns are chosen."""
        return [column.name for column in self.values() if table in column.default]

    def needs(self, names: Iterable[str]) -> set[str]:
        """Return the names of the inputs that these columns are computed from."""
        return {self[name].needs for name in names} - {""}

    @property
    def help(self) -> str:
        """What --output may be given, for a command's help."""
        return f"columns: {', '.join(self).lower()}; +LIST adds"

    def chosen(self, text: str | None, default: Sequence[str], *, option: str = "--output") -> list[str]:
        """The columns that an option asks for; see `chosen_columns`."""
        return chosen_columns(text, self, default, option=option)


def table(
    rows: Iterable[T],
    columns: Sequence[Column[T]],
    *,
    headings: bool = True,
    width: int | None = None,
    elsewhere: str = "--json",
) -> str:
    """Rows as a table with these columns, or with those that fit into `width` and a line that says which do not.

    `elsewhere` is the option that has them. Without `headings` it is for a program, and nothing is left out.
    """
    return "".join(table_lines(rows, columns, headings=headings, width=width, elsewhere=elsewhere))


def table_lines(
    rows: Iterable[T],
    columns: Sequence[Column[T]],
    *,
    headings: bool = True,
    width: int | None = None,
    elsewhere: str = "--json",
) -> Iterator[str]:
    """The text of `table`, many lines at a time: for a million rows."""
    cells = [column.cell for column in columns]
    first = [[[column.name.upper()] for column in columns]] if headings else []
    # By column, not by row: to call a function for each of many rows is what map() is good at.
    widths, waiting = _measured(
        chain(first, ([list(map(cell, some)) for cell in cells] for some in _some_at_a_time(rows)))
    )
    if not waiting:
        return
    width = width if headings else None
    gone = [] if width is None else _left_out(columns, widths, width)
    shown = [at for at, column in enumerate(columns) if column not in gone]
    right = [column.right for column in columns]
    yield from _lines(waiting, widths, right, shown, width if columns[shown[-1]].words else None)
    if gone:
        # A column can be chosen twice.
        names = ", ".join(dict.fromkeys(column.name.lower() for column in gone))
        yield "\n".join(flowing("left out for lack of room: ", f"{names} (in {elsewhere})", width)) + "\n"


def _left_out(columns: Sequence[Column[T]], widths: Sequence[int], width: int) -> list[Column[T]]:
    """The columns that have to go for the others to fit: those of the lowest rank first, all of a rank at once."""
    needed = {
        # Words go on below, so their column needs only its least width.
        at: (min(wide, _LEAST_WORDS) if column.words else wide) + len(_GAP)
        for at, (column, wide) in enumerate(zip(columns, widths, strict=True))
    }
    for rank in sorted({column.rank for column in columns} - {0}):
        if sum(needed.values()) - len(_GAP) <= width:
            break
        needed = {at: wide for at, wide in needed.items() if columns[at].rank != rank}
    return [column for at, column in enumerate(columns) if at not in needed]


def chosen_columns(
    text: str | None, known: Iterable[str], default: Sequence[str], *, option: str = "--output"
) -> list[str]:
    """The columns that an option asks for: by name, separated by commas; ``+`` in front adds to the default ones.

    None, the option left out, means the default ones. Raises UsageError for a column that is not among the `known`.
    """
    if text is None:
        return list(default)
    by_name = {name.lower(): name for name in known}
    wanted = [name.strip() for name in text.removeprefix("+").split(",")]
    for name in wanted:
        if name.lower() not in by_name:
            raise UsageError(
                f"{option}: no column {quoted(name)}{nearest(name.lower(), by_name)} (there are {', '.join(by_name)})"
            )
    return [*(default if text.startswith("+") else ()), *(by_name[name.lower()] for name in wanted)]
