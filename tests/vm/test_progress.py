from virtiomem.units import GiB, MiB
from virtiomem.vm.progress import Track


def test_rate_and_time_left_come_from_the_last_seconds() -> None:
    track = Track("vm0", 0, GiB, 0.0)
    for second in range(1, 5):
        track.feed(float(second), second * 128 * MiB)
    assert track.rate == 128 * MiB
    assert track.eta == 4.0
    assert track.fraction == 0.5


def test_standing_still_has_no_rate_and_keeps_when_it_last_moved() -> None:
    track = Track("vm0", 0, GiB, 0.0)
    track.feed(1.0, 256 * MiB)
    for second in range(2, 30):
        assert not track.feed(float(second), 256 * MiB)
    assert (track.rate, track.eta, track.moved_at) == (0.0, None, 1.0)
    assert track.moved


def test_going_back_and_forth_is_no_progress() -> None:
    track = Track("vm0", 2 * GiB, 0, 0.0)
    track.feed(1.0, GiB)
    track.feed(2.0, 2 * GiB)
    assert not track.feed(3.0, GiB)
    assert track.moved_at == 1.0


def test_reset_is_a_new_beginning() -> None:
    track = Track("vm0", GiB, 2 * GiB, 0.0)
    track.feed(1.0, 1536 * MiB)
    track.restart(2.0, 0)
    assert not track.moved
    assert track.fraction == 0.0
    assert track.feed(3.0, 2 * MiB)
    track.feed(4.0, 2 * GiB)
    assert track.done
    assert track.fraction == 1.0


def test_nothing_to_do_is_done() -> None:
    track = Track("vm0", GiB, GiB, 0.0)
    assert track.done
    assert track.fraction == 1.0
    assert not track.moved
