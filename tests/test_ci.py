"""Continuous integration has what the tests ask for by name."""

from pathlib import Path

from virtiomem.releases.linux import LINUX

RUN = Path(__file__).parents[1] / ".ci/run"


def test_the_kernel_that_the_tests_ask_for_is_installed_by_name() -> None:
    assert f"\nkernel={LINUX.oldest.name}\n" in RUN.read_text()
