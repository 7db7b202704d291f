"""Text in columns, for every command that prints a table of its own."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from virtiomem.errors import UsageError
from virtiomem.text import nearest, printable, quoted

T = TypeVar("T")
C = TypeVar("C", bound="Column[Any]")


def align(rows: Iterable[Sequence[str]], right: str | Sequence[bool] = "") -> str:
    """Columns as wide as their widest cell, a line a row, nothing behind the last cell; every cell printable.

    `right` says which columns are aligned to the right, as a text with a ``>`` at their place or as flags.
    """
    table = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    flags = [at < len(right) and right[at] in (">", True) for at in range(len(widths))]

    def line(row: list[str]) -> str:
        cells = (cell.rjust(w) if flag else cell.ljust(w) for cell, w, flag in zip(row, widths, flags, strict=True))
        return "  ".join(cells).rstrip()

    return "".join(f"{line(row)}\n" for row in table)


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table: all that its command has to know of it."""

    name: str
    cell: Callable[[T], str]
    """The text of a cell; what it needs besides the row, such as whether sizes are in bytes, is part of `T`."""
    right: bool = False
    """Aligned to the right."""
    default: tuple[str, ...] = ()
    """The tables that show it when nobody chooses columns, in the order of the registry."""
    needs: str = ""
    """What has to be read for it, in the words of its command."""


class Columns(dict[str, C]):
    """The columns that a command knows, by name, in order."""

    def __init__(self, *columns: C) -> None:
        super().__init__({column.name: column for column in columns})

    def default(self, table: str) -> list[str]:
        """The columns that a table has when nobody chooses."""
        return [column.name for column in self.values() if table in column.default]

    def needs(self, names: Iterable[str]) -> set[str]:
        """What has to be read for these columns."""
        return {self[name].needs for name in names} - {""}

    @property
    def help(self) -> str:
        """What --output may be given, for a command's help."""
        return f"columns: {', '.join(self).lower()}; +LIST adds"

    def chosen(self, text: str | None, default: Sequence[str], *, option: str = "--output") -> list[str]:
        """The columns that an option asks for; see `chosen_columns`."""
        return chosen_columns(text, self, default, option=option)


def table(rows: Iterable[T], columns: Sequence[Column[T]], *, headings: bool = True) -> str:
    """Rows as a table with these columns."""
    lines: list[list[str]] = [[column.name.upper() for column in columns]] if headings else []
    lines += [[column.cell(row) for column in columns] for row in rows]
    return align(lines, [column.right for column in columns])


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
