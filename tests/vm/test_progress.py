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
    track.reset(2.0, 0)
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


def test_retry_is_reported_for_what_is_still_to_be_given_up() -> None:
    track = Track("vm0", GiB, 0, 0.0)
    track.feed(3.0, 512 * MiB)
    assert track.retry_in(10.0) == 43.0
    track.feed(54.0, 0)
    assert track.retry_in(60.0) is None
    track.aim(70.0, GiB, 0)
    assert track.retry_in(70.0) is None, "growth that stops for lack of onlined memory has no timer"


def test_device_that_was_content_restarts_its_retries() -> None:
    track = Track("vm0", GiB, 512 * MiB, 0.0)
    track.feed(3.0, 512 * MiB)
    track.aim(200.0, 0, 512 * MiB)
    assert track.retry_in(210.0) == 40.0


def test_unsettled_start_promises_five_minutes_at_most() -> None:
    assert Track("vm0", GiB, 0, 0.0, settled=False).retry_in(10.0) == 290.0
