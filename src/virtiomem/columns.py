"""Text in columns, for every command that prints a table of its own."""

from collections.abc import Iterable, Sequence

from virtiomem.errors import UsageError
from virtiomem.text import printable, quoted


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
            raise UsageError(f"{option}: no column {quoted(name)} (there are {', '.join(by_name)})")
    return [*(default if text.startswith("+") else ()), *(by_name[name.lower()] for name in wanted)]
