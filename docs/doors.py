"""Put the tables of doors into docs/vm.md: how they are written, and what each can do of every verb.

python -m docs.doors
"""

from pathlib import Path

from docs.marked import page_with
from virtiomem.vm.doors.base import VERBS, Door
from virtiomem.vm.doors.registry import DOORS

PAGE = Path(__file__).parent / "vm.md"
BEGIN, END = "<!-- table: made by docs/doors.py -->\n", "<!-- end of the table of doors -->\n"
BEGIN_USAGES, END_USAGES = "<!-- usages: made by docs/doors.py -->\n", "<!-- end of the usages -->\n"


def table() -> str:
    """A row a verb, a column a door."""
    head = f"| | {' | '.join(f'`{door.scheme}:`' for door in DOORS)} |\n|---|{'---|' * len(DOORS)}\n"
    return head + "".join(f"| `{verb}` | {' | '.join(_cell(door, verb) for door in DOORS)} |\n" for verb in VERBS)


def usages() -> str:
    """A row a door."""
    rows = (f"| {', '.join(f'`{usage}`' for usage in door.usages)} | {door.what} |\n" for door in DOORS)
    return "| `--connect` | |\n|---|---|\n" + "".join(rows)


def page(text: str) -> str:
    """The page with both tables as they should be."""
    return page_with(page_with(text, BEGIN, END, table()), BEGIN_USAGES, END_USAGES, usages())


def _cell(door: Door, verb: str) -> str:
    ability = door.ability(verb)
    word = "yes" if ability.can else "**no**"
    return f"{word}: {ability.note}" if ability.note else word


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
