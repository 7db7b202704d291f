from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from virtiomem.recording import Recording, Request
from virtiomem.recording.request_runs import RequestRun, request_runs
from virtiomem.report.moments import Source, story
from virtiomem.report.plugged import trace
from virtiomem.units import GiB, MiB, Span

Recorded = Callable[[str], Recording]


def expanded(runs: list[RequestRun]) -> list[Request]:
    found = []
    for run in runs:
        for i in range(run.times):
            addr = UNSET if run.addr is None else run.addr + i * run.stride
            blocks = UNSET if run.nb_blocks is None else run.nb_blocks
            found.append(Request(device=run.device, type=run.type, response=run.response, addr=addr, nb_blocks=blocks))
    return found


def test_runs_hold_every_recorded_request(each_recorded: Recording) -> None:
    for record in each_recorded.steps:
        assert expanded(request_runs(record.requests)) == record.requests


requests = st.builds(
    Request,
    device=st.sampled_from(["vm0", "vm1"]),
    type=st.sampled_from(["PLUG", "UNPLUG"]),
    response=st.sampled_from(["ACK", "BUSY"]),
    addr=st.integers(0, 3),
    nb_blocks=st.sampled_from([1, 2]),
) | st.just(Request(device="vm0", type="UNPLUG_ALL", response="ACK"))


@given(st.lists(requests, max_size=12))
def test_runs_hold_every_request(sent: list[Request]) -> None:
    assert expanded(request_runs(sent)) == sent


def test_what_the_requests_leave_is_what_each_device_has(each_recorded: Recording) -> None:
    """With these recordings the requests account for every plugged byte, reset and reload included."""
    for moment in story(Source("x", each_recorded)).moments:
        for device in moment.snapshot.virtio_mem:
            spans = moment.plugged[device.id]
            assert spans is not None
            assert spans.size == device.size
            assert spans.covered(device.region) == device.size


def test_sub_blocks_of_a_partial_block_are_known(recorded: Recorded) -> None:
    plugged = story(Source("x", recorded("b-uneven-movable"))).moments[2].plugged["vm0"]
    assert plugged is not None
    assert list(plugged) == [Span.sized(6 * GiB, 130 * MiB)]


def test_unaccounted_memory_is_not_guessed(recorded: Recorded) -> None:
    told = recorded("a-movable")
    told.steps[0].requests.pop()
    plugged = [moment.plugged["vm0"] for moment in story(Source("x", told)).moments]
    assert plugged[1] is None, "one PLUG is missing, so who knows which"
    assert plugged[2] is None
    assert plugged[3] is not None, "empty again"
    assert plugged[3].size == 0


def test_trace_follows_the_requests_to_the_size(each_recorded: Recording) -> None:
    before = {device.id: device.size for device in each_recorded.boot.virtio_mem}
    for record in each_recorded.steps:
        runs = request_runs(record.requests)
        for device in record.snapshot.virtio_mem:
            points = trace(runs, device, before[device.id])
            if points:
                assert points[0] == (0, before[device.id])
                assert points[-1] == (len(record.requests), device.size)
            else:
                assert record.requests == [], "a reset unplugs without a request"
            before[device.id] = device.size
