"""The example device in C: compiled, and under the suite."""

import subprocess
from pathlib import Path

import pytest

from tests.real.needs import require
from virtiomem.conformance import suite
from virtiomem.conformance.fuzz import fuzz
from virtiomem.conformance.messages import command_target
from virtiomem.conformance.policies import accepted
from virtiomem.conformance.suite import RuleOutcome

SOURCE = Path(__file__).parents[2] / "examples" / "device" / "device.c"
PAGE = Path(__file__).parents[2] / "docs" / "device-protocol.md"


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "device"
    compiler = require("cc", "gcc")
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-o", path, SOURCE], check=True)
    return str(path)


def test_the_example_keeps_every_rule_and_the_page_counts_them(program: str) -> None:
    report = suite.run(command_target([program]))
    assert not report.failures
    page = PAGE.read_text()
    assert f"112 rules: {report.count(RuleOutcome.PASS)} pass, 0 fail" in page
    assert f"a whole device in {len(SOURCE.read_text().splitlines())} lines" in page


def test_the_example_differs_from_qemus_device_in_what_the_page_accepts_and_in_nothing_else(program: str) -> None:
    figures = fuzz(command_target([program]), seed=1, requests=10_000, accept=accepted(["refusal-order"]))
    assert not figures.findings
    assert set(figures.accepted) == {"refusal-order"}
    assert "device fuzz --command ./device --accept refusal-order " in PAGE.read_text()
