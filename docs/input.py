"""Put the table of all kinds of input into docs/input.md.

python -m docs.input
"""

from pathlib import Path

from docs.marked import page_with
from virtiomem.live.kinds.table import KINDS, Kind

PAGE = Path(__file__).parent / "input.md"
BEGIN, END = "<!-- table: made by docs/input.py -->\n", "<!-- end of table -->\n"


def table() -> str:
    """The table in Markdown, a row a kind."""
    head = "| `--from` | what it is | what it looks like | who takes it | refused, with the line |\n|---|---|---|---|---|\n"
    return head + "".join(map(_row, KINDS))


def _row(kind: Kind) -> str:
    cells = (f"`{kind.name}`", kind.words, kind.looks, ", ".join(f"`{verb}`" for verb in kind.verbs), kind.refuses)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), BEGIN, END, table()))
