"""Make docs/compatibility.md from what was run on real kernels and real QEMUs.

python -m docs.matrix

A file in docs/compatibility/ is one thing that was run on one Linux in one QEMU, as JSON; `Ran` has its keys. What was
run on a device alone comes from docs/conformance/: the tables of the suite, and the kept runs of the fuzzer.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import msgspec

from docs.fuzz import kept_runs, met, of_subject

HERE = Path(__file__).parent
PAGE = HERE / "compatibility.md"
RUNS = HERE / "compatibility"
ALONE = "none"
"""What stands for a kernel where a device, or a machine that does not run, is tried without a guest."""


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One known difference, in one line each."""

    where: str
    """Which scenario, rule or test, such as ``scenario 28``."""
    what: str
    """What differs, and why."""


class Ran(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of thing, tried on one Linux in one QEMU: docs/compatibility/WHAT-LINUX-QEMU.json."""

    what: str
    """A plural: ``random scenarios``, ``recordings``, ``vm verbs``."""
    linux: str
    """The whole release, as uname -r has it; ``none`` without a guest."""
    qemu: str
    """The whole version, such as ``7.2.22``."""
    tried: int
    equal: int
    """How many of them came out as the model, the recording or the test has it."""
    differences: list[Difference]
    command: str
    """What ran them."""

    @property
    def name(self) -> str:
        """The file's name, without its suffix."""
        return f"{self.what.replace(' ', '-')}-{self.linux}-{self.qemu}"


def keep(run: Ran) -> None:
    """Write a run's file, over an older one of the same name."""
    RUNS.mkdir(exist_ok=True)
    (RUNS / f"{run.name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")


def kept() -> list[Ran]:
    """Everything that was run; raises msgspec.ValidationError for a file that is something else."""
    files = [msgspec.json.decode(path.read_bytes(), type=Ran) for path in sorted(RUNS.glob("*.json"))]
    return [*files, *_fuzzed(), *_checked()]


def _fuzzed() -> Iterator[Ran]:
    """The fuzzer's kept runs, one row a QEMU."""
    for (qemu, board), of_it in groupby(kept_runs(), key=met):
        runs = list(of_it)
        requests = sum(run["requests"] for run in runs)
        found = sum(len(run["findings"]) for run in runs)
        yield Ran(
            what=f"fuzz requests{on(board)}",
            linux=ALONE,
            qemu=qemu,
            tried=requests,
            equal=requests - found,
            differences=[],
            command="virtiomem device fuzz --qemu PATH --json",
        )


def on(board: str) -> str:
    """Name a machine that is not the usual one."""
    return f" on {board}" if board else ""


def _checked() -> Iterator[Ran]:
    """The suite's kept tables; a rule that a driver cannot see was not tried."""
    for path in sorted((HERE / "conformance").glob("qemu-*.txt")):
        text = path.read_text()
        ((total, passed, failed),) = re.findall(r"^(\d+) rules: (\d+) pass, (\d+) fail", text, re.MULTILINE)
        failures = re.findall(r"^Failure \d+: (\S+) \([^)]*\): (.*)$", text, re.MULTILINE)
        qemu, board = of_subject(text.partition("\n")[0])
        yield Ran(
            what=f"conformance rules{on(board)} (of {total}; the others cannot be seen by a driver)",
            linux=ALONE,
            qemu=qemu,
            tried=int(passed) + int(failed),
            equal=int(passed),
            differences=[Difference(where=rule, what=f"not kept: {words}") for rule, words in failures],
            command="virtiomem device check --qemu PATH",
        )


def body(runs: list[Ran]) -> str:
    """The page below its introduction."""
    return "\n".join([_matrix(runs), "## What differs\n", _differences(runs), "## Each run\n", _list(runs)])


def _matrix(runs: list[Ran]) -> str:
    linuxes = sorted({run.linux for run in runs}, key=_order)
    qemus = sorted({run.qemu for run in runs}, key=_order)
    head = f"| | {' | '.join(f'QEMU {qemu}' for qemu in qemus)} |\n{'|---' * (len(qemus) + 1)}|\n"
    rows = []
    for linux in linuxes:
        cells = ["<br>".join(_said(run) for run in runs if (run.linux, run.qemu) == (linux, qemu)) for qemu in qemus]
        rows.append(f"| {_name(linux)} | {' | '.join(cell or 'not run' for cell in cells)} |\n")
    return head + "".join(rows)


def _said(run: Ran) -> str:
    what = run.what.partition(" (")[0]
    return f"{run.tried} {what}: " + ("all equal" if run.equal == run.tried else f"{run.equal} equal")


def _name(linux: str) -> str:
    return "no guest: the device, or the paused machine" if linux == ALONE else f"Linux {linux}"


def _order(version: str) -> tuple[tuple[int, ...], str]:
    """By its numbers, then, where these are those of another architecture's as well, by name."""
    return tuple(map(int, re.findall(r"\d+", version))), version


def _differences(runs: list[Ran]) -> str:
    """Each difference once, with every place where it was met."""
    places: dict[Difference, dict[str, None]] = {}
    for run in runs:
        for difference in run.differences:
            place = f"QEMU {run.qemu}" if run.linux == ALONE else f"{run.linux} in QEMU {run.qemu}"
            places.setdefault(difference, {})[place] = None
    head = "| in | what differs | met on |\n|---|---|---|\n"
    return head + "".join(
        f"| {one.where} | {one.what} | {', '.join(dict.fromkeys(met))} |\n" for one, met in places.items()
    )


def _list(runs: list[Ran]) -> str:
    head = "| Linux | QEMU | what | tried | equal | by |\n|---|---|---|---|---|---|\n"
    rows = sorted(runs, key=lambda run: (_order(run.linux), _order(run.qemu), run.what))
    return head + "".join(
        f"| {'' if run.linux == ALONE else run.linux} | {run.qemu} | {run.what} | {run.tried} | {run.equal} "
        f"| `{run.command}` |\n"
        for run in rows
    )


def page(text: str) -> str:
    """The page with everything below its mark made again."""
    before, mark, _ = text.partition("<!-- below: made by docs/matrix.py -->\n")
    return f"{before}{mark}\n{body(kept())}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
