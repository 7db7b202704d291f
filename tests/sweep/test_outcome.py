import re

from virtiomem import scenario
from virtiomem.recording.describe import numbers_in
from virtiomem.sweep import Sweep, loads
from virtiomem.sweep.outcome import play

GUEST = """
[guest]
memory = "1G"
kernel = "6.12"
default-state = "online_movable"
[[device]]
id = "vm0"
max-size = "1G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "1G"
"""
MOVABLE = '[[step]]\ndo = "use"\nid = "app"\nsize = "{}"\n'
SHRINK = '[[step]]\ndo = "resize"\ndevice = "vm0"\nrequested-size = "{}"\n'


def test_shrink_that_succeeds_comes_back_whole() -> None:
    one = play(loads(GUEST + SHRINK.format("256M")), 0)
    assert (one.error, one.release) == (None, "6.12")
    assert (one.asked_back, one.came_back) == (768 << 20, 768 << 20)
    assert (one.peak, one.plugged, one.wanted) == (1 << 30, 256 << 20, 256 << 20)
    assert (one.unsettled, one.settle_seconds, one.out_of_memory, one.refused) == (0, 0.0, 0, 0)
    assert one.requests == 8 + 6
    assert one.memmap == 8 * (2 << 20) + 8 * 4096


def test_shrink_in_steps_counts_once_and_what_stays_is_counted_by_cause() -> None:
    stuck = GUEST.replace("online_movable", "online_kernel") + (
        '[[step]]\ndo = "use"\nid = "slab"\nsize = "256M"\nkind = "unmovable"\n'
    )
    one = play(loads(stuck + SHRINK.format("512M") + SHRINK.format("0")), 0)
    assert one.asked_back == 1 << 30
    assert one.came_back == (1 << 30) - one.plugged < 1 << 30
    assert one.left_unmovable > 0
    assert one.left_blocks is not None
    assert len([*numbers_in(one.left_blocks)]) == one.left_unmovable + one.left_no_room + one.left_refused
    assert one.unsettled >= 1


def test_growth_between_two_shrinks_makes_them_two() -> None:
    one = play(loads(GUEST + SHRINK.format("512M") + SHRINK.format("1G") + SHRINK.format("256M")), 0)
    assert one.asked_back == one.came_back == (512 + 768) << 20


def test_time_to_settle_ends_when_the_driver_succeeds_not_when_the_wait_does() -> None:
    busy = '[[step]]\ndo = "inject"\nat = "request"\nerror = "BUSY"\ntimes = 1\n'
    wait = '[[step]]\ndo = "wait"\nseconds = 10000\n'
    one = play(loads(GUEST + busy + SHRINK.format("0") + wait), 0)
    assert one.plugged == 0
    assert one.settle_seconds == 50.0  # Linux tries a busy device again after that


def test_use_without_room_is_out_of_memory() -> None:
    one = play(loads(GUEST + MOVABLE.format("4G")), 0)
    assert (one.out_of_memory, one.refused, one.error) == (1, 0, None)


def test_run_that_cannot_be_played_says_why() -> None:
    made = loads(GUEST + SHRINK.format("0") + '[parameters]\n"guest.memory" = ["1G", "100T"]')
    assert play(made, 0).error is None
    assert "guest.memory" in str(play(made, 1).error)


def test_row_is_what_the_scenario_shows_when_it_is_played_alone(small: Sweep) -> None:
    for run in (0, 7, 15):
        played = small.scenario(run)
        recording = scenario.play(played, scenario.embedded_guest(played))
        end = recording.steps[-1].snapshot.virtio_mem[0]
        one = play(small, run)
        assert (one.plugged, one.wanted) == (end.size, end.requested_size)
        held = str(recording.steps[-1].held_up)
        assert {int(word) for word in re.findall(r"memory(\d+) ", held)} == {*numbers_in(one.left_blocks or "")}
        assert one.requests == sum(len(step.requests) for step in recording.steps)
        assert one.peak == max(step.snapshot.virtio_mem[0].size for step in recording.steps)
