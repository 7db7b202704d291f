"""Put the table of the policies of QEMU's device into docs/conformance.md.

python -m docs.rules
"""

from pathlib import Path

from docs.marked import page_with
from virtiomem.conformance.policies import POLICIES

PAGE = Path(__file__).parent / "conformance.md"
BEGIN, END = "<!-- policies: made by docs/rules.py -->\n", "<!-- end of policies -->\n"


def page(text: str) -> str:
    """The page with its table."""
    head = "| `--accept` | QEMU's device | accepted, too | rules about it |\n|---|---|---|---|\n"
    rows = (f"| `{one.name}` | {one.qemu} | {one.accepted} | {one.rules} |\n" for one in POLICIES)
    return page_with(text, BEGIN, END, head + "".join(rows))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
