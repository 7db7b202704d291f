"""Put what `virtiomem calibrate` prints of the kept observations into docs/workload.md.

python -m docs.workload
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

from docs.marked import page_with
from virtiomem.cli.main import main

PAGE = Path(__file__).parent / "workload.md"
BEGIN, END = "<!-- made by docs/workload.py -->\n", "<!-- end of the table -->\n"
FILES = [f"tests/data/calibration/{release}.json" for release in ("6.1", "6.12")]


def table() -> str:
    """Print the table, read from the files where the project is."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        main(["calibrate", *(word for file in FILES for word in ("--from", file))])
    return f"```\n{printed.getvalue()}```\n"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), BEGIN, END, table()))
