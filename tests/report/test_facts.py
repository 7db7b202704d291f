from collections.abc import Callable

import pytest
from msgspec.structs import replace

from virtiomem.driver.parameters import Parameters
from virtiomem.recording import Recording, VirtioMemInfo
from virtiomem.report.facts import Facts, facts
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem
from virtiomem.units import MiB

Recorded = Callable[[str], Recording]


def facts_by_step(told: Recording) -> list[Facts]:
    snapshots = [told.boot, *(record.snapshot for record in told.steps)]
    return [facts(rows(iomem.loads(s.iomem)), s, 128 * MiB) for s in snapshots]


@pytest.mark.parametrize("name", ["a-patch-exact", "b-uneven-movable"])
def test_each_kernel_shows_what_the_other_recording_reckons(recorded: Recorded, name: str) -> None:
    """One scenario, on a stock kernel and on one that does not merge: each is the oracle for the other."""
    merging, plain = facts_by_step(recorded(name)), facts_by_step(recorded(f"nomerge-{name}"))
    assert [step.ram for step in merging] == [step.merged for step in plain]
    assert [step.unmerged for step in merging] == [step.ram for step in plain]


def test_stock_kernel_merges_all_it_can(each_recorded: Recording) -> None:
    if each_recorded.guest["driver"] == "nomerge":
        pytest.skip("recorded without merging")
    assert all(step.ram == step.merged <= step.unmerged for step in facts_by_step(each_recorded))


def test_big_blocks_are_added_as_one(recorded: Recorded) -> None:
    told = recorded("c-bs256m")
    for record, fact in zip(told.steps, facts_by_step(told)[1:], strict=True):
        device = record.snapshot.devices[0]
        assert fact.unmerged - fact.merged == max(device.size // (256 * MiB) - 1, 0)


@pytest.mark.parametrize(("forced", "added"), [(True, 4), (False, 8)])
def test_a_size_of_big_blocks_counts_only_where_there_are_big_blocks(
    recorded: Recorded, forced: bool, added: int
) -> None:
    snapshot = recorded("c-bs256m").steps[0].snapshot
    (device,) = snapshot.devices
    assert isinstance(device, VirtioMemInfo)
    device = replace(device, block_size=2 * MiB)
    listing = [Row(0, device.memaddr, 1024 * MiB, 1, "System RAM (virtio_mem)")]
    driver = Parameters(force_bbm=forced, bbm_block_size=256 * MiB)
    assert facts(listing, replace(snapshot, devices=[device]), 128 * MiB, driver).unmerged == added
