"""How far growth will go, said beforehand: against the memory core, which adds block after block."""

from itertools import product

import pytest

from tests.memory.test_vmemmap import HERE, MB, booted
from virtiomem.abi import OnlinePolicy, OnlineType
from virtiomem.memory import Memory, Policy, add_memory
from virtiomem.memory.forecast import Means, foresee
from virtiomem.memory.hotplug import MHP_NID_IS_MGID
from virtiomem.reasons import ReasonKind
from virtiomem.units import GiB, MiB

STATES = [(state, OnlinePolicy.CONTIG_ZONES) for state in OnlineType] + [(OnlineType.ONLINE, OnlinePolicy.AUTO_MOVABLE)]


def ready(kernel: str, free: int, state: OnlineType, policy: OnlinePolicy) -> tuple[Memory, Means]:
    memory = booted(kernel, 512 * MiB, state, free=free)
    memory.policy = Policy(default_state=state, online_policy=policy)
    means = Means.of(memory, 0)
    assert means is not None
    return memory, means


def grown(memory: Memory, growth: int) -> int:
    """What can be added of it, as a virtio-mem device would."""
    mgid = memory.groups.register_dynamic(0, memory.pages_per_block)
    for at in range(0, growth, MB):
        if add_memory(memory, mgid, HERE + at, MB, MHP_NID_IS_MGID):
            return at
    return growth


@pytest.mark.parametrize(
    ("kernel", "free", "how"), list(product(("6.1", "6.12"), (5 * MiB, 60 * MiB, 376 * MiB), STATES)), ids=str
)
def test_growth_reaches_the_forecast(kernel: str, free: int, how: tuple[OnlineType, OnlinePolicy]) -> None:
    memory, means = ready(kernel, free, *how)
    said = foresee(means, 32 * GiB)
    assert abs(said.fits - grown(memory, 32 * GiB)) <= 2 * MB
    memory.check()


def test_what_has_its_block_already_costs_nothing() -> None:
    _, means = ready("6.1", 5 * MiB, OnlineType.ONLINE_MOVABLE, OnlinePolicy.CONTIG_ZONES)
    assert foresee(means, 64 * MiB, begun=64 * MiB).need == 0
    assert foresee(means, 128 * MiB, begun=64 * MiB).need == 2 * MiB


def test_the_reason_says_which_way_it_fits() -> None:
    _, movable = ready("6.1", 64 * MiB, OnlineType.ONLINE_MOVABLE, OnlinePolicy.CONTIG_ZONES)
    _, kernel = ready("6.1", 64 * MiB, OnlineType.ONLINE, OnlinePolicy.CONTIG_ZONES)
    assert foresee(movable, 2 * GiB).reason.kind is ReasonKind.MEMMAP_FITS
    assert foresee(kernel, 8 * GiB).reason.kind is ReasonKind.MEMMAP_PAYS
    assert foresee(movable, 8 * GiB).reason.kind is ReasonKind.NO_ROOM_FOR_MEMMAP


def test_guest_that_does_not_count_has_no_means() -> None:
    memory, _ = ready("6.1", 64 * MiB, OnlineType.ONLINE, OnlinePolicy.CONTIG_ZONES)
    memory.vmemmap.counted = False
    assert Means.of(memory, 0) is None
