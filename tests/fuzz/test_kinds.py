"""A slice of every kind of bad input in the fast tests, and the frame that runs them for longer."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import run

KINDS = run.kinds()


@pytest.mark.parametrize(("trials", "seconds"), [(5, 0.05), pytest.param(2000, 2, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_promises_hold_whatever_the_input(kind: str, trials: int, seconds: float) -> None:
    trial = run.load(KINDS[kind])
    began = time.monotonic()
    for number in range(trials):
        list(trial(run.source(kind, 1, number)) or ())
        if time.monotonic() - began > seconds:
            break


def frame(folder: Path, *options: str, code: str = "from tests.fuzz import run") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"{code}; raise SystemExit(run.main())", "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=run.FOLDER.parents[1])


BODIES = {
    "raises": "assert random.random() < 0.9, 'a broken promise'",
    "crashes": "import os; os.abort()",
    "eats": "bytearray(1 << 30)",
    "leaves": "import sys; sys.exit(0)",
}


FIRST, *OTHERS = BODIES


@pytest.mark.parametrize("kind", [FIRST, *(pytest.param(kind, marks=pytest.mark.long) for kind in OTHERS)])
def test_finding_fails_the_run_and_is_repeated_by_its_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"{kind}.py").write_text(f"import random\n\ndef trial(random):\n    {BODIES[kind]}\n")
    ran = frame(tmp_path)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1].endswith("10 findings")
    again = ran.stdout.splitlines()[0].partition("tests.fuzz.run ")[2].split()
    repeated = frame(tmp_path, *again)
    assert repeated.returncode == 1
    assert repeated.stdout.splitlines()[0] == ran.stdout.splitlines()[0]


@pytest.mark.long
def test_run_without_findings_is_a_success_and_counts_its_trials(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text("\ndef trial(random):\n    random.random()\n")
    ran = frame(tmp_path, "--minutes", "0.01")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout.split()[1]) > 0
    assert ran.stdout.endswith(" 0 findings\n")


def test_what_trials_count_is_printed_with_and_without_findings(tmp_path: Path) -> None:
    body = "    yield 'a coin', random.choice(('heads', 'tails'))\n    assert random.random() < 0.9\n"
    (tmp_path / "counts.py").write_text(f"\ndef trial(random):\n{body}")
    ran = frame(tmp_path, "--trials", "20")
    *findings, counted, total = ran.stdout.splitlines()
    heads, tails = (int(part.split()[-1]) for part in counted.removeprefix("counts: a coin: ").split(", "))
    assert heads + tails + len(findings) == 20
    assert total.startswith("counts: 20 trials, ")


def test_trial_that_never_ends_is_ended_and_found(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("\ndef trial(random):\n    while True: pass\n")
    ran = frame(tmp_path, code="from tests.fuzz import run; run.WALL_SECONDS = 0.1; run.MAX_FINDINGS = 1")
    assert ran.returncode == 1
    assert "hangs.py" in ran.stderr
    assert "--kind hangs --seed 1 --trial 0" in ran.stdout


def test_unknown_kind_is_refused_with_those_there_are() -> None:
    ran = frame(run.FOLDER, "--kind", "nonsense")
    assert ran.returncode == 2
    assert "no kind nonsense; the kinds are " in ran.stderr
