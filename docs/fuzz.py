"""Put the figures of kept fuzzing runs into docs/conformance.md.

virtiomem device fuzz --seed 7 --requests 50000 --json > docs/conformance/fuzz-7.json
python -m docs.fuzz
"""

import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

from docs.marked import page_with

PAGE = Path(__file__).parent / "conformance.md"
RUNS = Path(__file__).parent / "conformance"
BEGIN, END = "<!-- figures: made by docs/fuzz.py -->\n", "<!-- end of figures -->\n"
ANSWERS = ("ACK", "ERROR", "NACK", "BUSY", "not returned", "elsewhere")


def table(runs: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table, one row a run and, for each QEMU, a sum."""
    rows = []
    for (version, board), same in groupby(runs, key=met):
        of_it, qemu = list(same), f"{version} {board}".strip()
        rows += [_row(f"{qemu} | {run['seed']}", run) for run in of_it]
        rows.append(_row(f"{qemu} | all", _sum(of_it)))
    head = (
        f"| QEMU | seed | cases | requests | {' | '.join(ANSWERS)} | swept blocks | hours | requests/s | differences |"
    )
    return "\n".join([head, "|" + "---|" * head.count(" | ") + "---|", *rows]) + "\n"


def met(run: dict[str, Any]) -> tuple[str, str]:
    """The QEMU that a run met."""
    return of_subject(str(run["subject"]))


def of_subject(subject: str) -> tuple[str, str]:
    """The version of a QEMU, such as ``7.2.22``, and its machine where that is not q35."""
    device, _, board = subject.partition(" on ")
    return device.split()[1], board


def _sum(runs: list[dict[str, Any]]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for run in runs:
        total.update({key: run[key] for key in ("cases", "requests", "swept-blocks", "seconds")})
        answers.update(run["answers"])
    return {**total, "answers": answers, "findings": [finding for run in runs for finding in run["findings"]]}


def _row(name: str, run: dict[str, Any]) -> str:
    answers = " | ".join(f"{run['answers'].get(answer, 0)}" for answer in ANSWERS)
    hours, rate = run["seconds"] / 3600, run["requests"] / run["seconds"]
    return (
        f"| {name} | {run['cases']} | {run['requests']} | {answers} | {run['swept-blocks']} | {hours:.2f} | {rate:.0f} "
        f"| {len(run['findings'])} |"
    )


def kept_runs() -> list[dict[str, Any]]:
    """The runs that were kept, by QEMU and seed."""
    runs = (json.loads(path.read_text()) for path in RUNS.glob("fuzz-*.json"))
    return sorted(runs, key=lambda run: (met(run)[1], [int(part) for part in met(run)[0].split(".")], run["seed"]))


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), BEGIN, END, table(kept_runs())))
