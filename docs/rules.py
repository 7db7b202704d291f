"""Put the rules of the suite, and the policies of QEMU's device, into docs/rules.md and docs/conformance.md.

python -m docs.rules
"""

from itertools import groupby
from pathlib import Path

from docs.marked import page_with
from virtiomem.conformance.checks import CHECKS
from virtiomem.conformance.policies import POLICIES
from virtiomem.conformance.rules import GROUPS, RULES, Rule, group_of

FOLDER = Path(__file__).parent


def policies() -> str:
    """The policies as a table in Markdown."""
    head = "| `--accept` | QEMU's device | accepted, too | rules about it |\n|---|---|---|---|\n"
    return head + "".join(f"| `{one.name}` | {one.qemu} | {one.accepted} | {one.rules} |\n" for one in POLICIES)


def rules() -> str:
    """The rules in Markdown, a table for each group."""
    head = "| rule | strength | it says | stands in | seen by |\n|---|---|---|---|---|\n"
    groups = groupby(RULES, key=group_of)
    return "".join(f"\n## {GROUPS[group]}\n\n{head}{''.join(map(_row, of_it))}" for group, of_it in groups)


def _row(rule: Rule) -> str:
    seen = "; ".join(dict.fromkeys(check.words for check in CHECKS.get(rule.id, ()))) or f"*unseen:* {rule.unseen}"
    return f"| {rule.id} | {rule.level} | {rule.text} | {rule.source} | {seen} |\n"


MADE = {"conformance.md": ("policies", policies), "rules.md": ("rules", rules)}
"""What is made in each page."""


def page(name: str, text: str) -> str:
    """A page with what is made in it."""
    what, make = MADE[name]
    return page_with(text, f"<!-- {what}: made by docs/rules.py -->\n", f"<!-- end of {what} -->\n", make())


if __name__ == "__main__":
    for name in MADE:
        path = FOLDER / name
        path.write_text(page(name, path.read_text()))
