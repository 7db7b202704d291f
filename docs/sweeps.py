"""Play the worked sweeps of docs/sweep.md, and put what they say, and a picture of each, into the page.

python -m docs.sweeps [NAME …]
"""

import sys
import tempfile
from pathlib import Path

from docs.marked import page_with
from virtiomem import sweep
from virtiomem.cli.sweep import comparison_text, points_table
from virtiomem.sweep.page import standalone
from virtiomem.sweep.summary import MEASURES

HERE = Path(__file__).parent
PAGE = HERE / "sweep.md"
WORKED = {"after-a-spike": ("plugged", "out-of-memory"), "small-guests": ("came-back",), "ratio": ("came-back",)}
"""The sweeps, and the measures that are drawn."""


def said(name: str) -> str:
    """Play a sweep, draw its pictures, and return its part of the page."""
    made = sweep.load(HERE / "sweeps" / f"{name}.toml")
    with tempfile.TemporaryDirectory() as folder:
        summary = sweep.summarize(sweep.run(made, Path(folder) / "rows.csv", engine=sweep.in_pool(2)))
    pictures = []
    for measure in MEASURES:
        if measure.name in WORKED[name]:
            path = HERE / "pictures" / f"sweep-{name}-{measure.name}.svg"
            path.write_text(standalone(measure, summary, made))
            pictures.append(f"![{measure.words}](pictures/{path.name})\n")
    shown = f"```\n$ virtiomem sweep docs/sweeps/{name}.toml\n{points_table(summary, None)}\n{comparison_text(summary, None)}```\n"
    return f"{shown}\n{''.join(pictures)}"


def main(names: list[str]) -> None:
    """Play the sweeps that are named, or all."""
    for name in names or WORKED:
        begin, end = f"<!-- {name}: made by docs/sweeps.py -->\n", f"<!-- end of {name} -->"
        made = said(name)
        PAGE.write_text(page_with(PAGE.read_text(), begin, end, made))


if __name__ == "__main__":
    main(sys.argv[1:])
