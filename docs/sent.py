"""Put the table of all commands that are sent to machines into docs/vm.md.

python -m docs.sent
"""

from pathlib import Path

from docs.marked import page_with
from virtiomem.vm.doors.sent import TABLE, Command

PAGE = Path(__file__).parent / "vm.md"
BEGIN, END = "<!-- table: made by docs/sent.py -->\n", "<!-- end of table -->\n"


def table() -> str:
    """The table in Markdown, a row per command."""
    head = "| to the | command | what for | sent by | changes | since | |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(_row(command) for command in TABLE)


def _row(command: Command) -> str:
    stable = "stable" if command.stable else f"**unstable**; {' and '.join(command.survived)} survive it"
    cells = (command.to, f"`{command.name}`", command.what, ", ".join(command.verbs), command.changes, command.since)
    return f"| {' | '.join((*cells, stable))} |\n"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), BEGIN, END, table()))
