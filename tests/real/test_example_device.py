"""The example device in C: compiled, and under the suite."""

import subprocess
from pathlib import Path

from tests.real.needs import require
from virtiomem.conformance import suite
from virtiomem.conformance.messages import command_target
from virtiomem.conformance.suite import RuleOutcome

SOURCE = Path(__file__).parents[2] / "examples" / "device" / "device.c"
PAGE = Path(__file__).parents[2] / "docs" / "device-protocol.md"


def test_the_example_keeps_every_rule_and_the_page_counts_them(tmp_path: Path) -> None:
    program = tmp_path / "device"
    compiler = require("cc", "gcc")
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True)
    report = suite.run(command_target([str(program)]))
    assert not report.failures
    page = PAGE.read_text()
    assert f"112 rules: {report.count(RuleOutcome.PASS)} pass, 0 fail" in page
    assert f"a whole device in {len(SOURCE.read_text().splitlines())} lines" in page
