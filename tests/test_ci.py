"""Continuous integration has what the tests ask for by name."""

from pathlib import Path

from tests.real import oracles
from tests.real.needs import REQUIRED_KERNELS
from virtiomem.releases.linux import LINUX

RUN = Path(__file__).parents[1] / ".ci/run"


def test_what_is_required_is_brought_first() -> None:
    commands = [line for line in RUN.read_text().splitlines() if line.startswith(("make", "VIRTIOMEM"))]
    assert commands[:2] == ["make oracles", "VIRTIOMEM_REAL=some make test"]
    assert [command.split()[:2] for command in commands[2:]] == [["make", "test-compiled"], ["make", "site"]]
    counted_on = {oracle.series for oracle in oracles.ALL if oracle.program == "linux" and oracle.counted_on}
    assert counted_on == set(REQUIRED_KERNELS)


def test_every_proven_kernel_can_be_brought() -> None:
    assert set(LINUX.proven) <= {oracle.series for oracle in oracles.ALL if oracle.program == "linux"}
