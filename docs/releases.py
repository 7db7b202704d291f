"""Put the tables of what changed in Linux's and QEMU's releases into docs/model.md.

python -m docs.releases
"""

from pathlib import Path
from typing import Any

from docs.marked import page_with
from virtiomem.releases.linux import DEBIAN, LINUX
from virtiomem.releases.qemu import QEMU
from virtiomem.releases.table import Change, Releases

PAGE = Path(__file__).parent / "model.md"
TABLES: dict[str, tuple[Releases[Any], ...]] = {"Linux": (LINUX, DEBIAN), "QEMU": (QEMU,)}
END = "<!-- end of changes -->\n"


def begin(program: str) -> str:
    """The mark in front of a program's table."""
    return f"<!-- changes of {program}: made by docs/releases.py -->\n"


def table(*programs: Releases[Any]) -> str:
    """Every change in Markdown, oldest first; a release that neither a real test nor a commit tells is in brackets."""
    rows = [row(change, releases) for releases in programs for change in releases.changes]
    return "| since | what is different | in | commit |\n|---|---|---|---|\n" + "".join(rows)


def row(change: Change, releases: Releases[Any]) -> str:
    """One change."""
    since = change.since if change.since in releases.proven or change.commit else f"({change.since})"
    return f"| {since} | {change.words} | {change.source} | {change.commit} |\n"


def page(text: str) -> str:
    """The page with its tables made again."""
    for program, releases in TABLES.items():
        text = page_with(text, begin(program), END, table(*releases))
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
