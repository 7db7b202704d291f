"""Random scenarios, on a stock Linux and on the embedded guest: the two recordings must be the same.

A few are played here; `make compare-random` plays as many as one likes, and keeps the outcome for docs/compatibility.md.
"""

import pytest

from tests.real.random_scenarios import Writer, difference_of, play_real
from virtiomem import scenario
from virtiomem.guest.linux import Setup
from virtiomem.guest.linux.kernels import KernelImage

pytestmark = pytest.mark.real


@pytest.mark.on(linux="every", qemu="every")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_both_guests_do_the_same(number: int, kernel: KernelImage, setup: Setup) -> None:
    text = Writer(number, kernel.release).write()
    played = scenario.loads(text)
    difference = difference_of(played, play_real(played, setup))
    assert not difference, f"{difference}\n\n{text}"
