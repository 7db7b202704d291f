"""Text in columns, for every command that prints a table of its own."""

from collections.abc import Iterable, Sequence


def align(rows: Iterable[Sequence[str]], right: str | Sequence[bool] = "", *, gap: str = "  ") -> str:
    """Columns as wide as their widest cell, a line a row, nothing behind the last cell.

    `right` says which columns are aligned to the right, as a text with a ``>`` at their place or as flags.
    """
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    flags = [at < len(right) and right[at] in (">", True) for at in range(len(widths))]

    def line(row: list[str]) -> str:
        cells = (cell.rjust(w) if flag else cell.ljust(w) for cell, w, flag in zip(row, widths, flags, strict=True))
        return gap.join(cells).rstrip()

    return "".join(f"{line(row)}\n" for row in table)
