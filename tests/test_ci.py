"""Continuous integration has what the tests ask for by name."""

from pathlib import Path

from virtiomem.releases.linux import LINUX

RUN = Path(__file__).parents[1] / ".ci/run"


def test_the_kernels_that_the_tests_ask_for_are_installed_by_name() -> None:
    assert f'\nkernels="{" ".join(LINUX.proven)}"\n' in RUN.read_text()
