import pytest

from virtiomem.errors import ProtocolError
from virtiomem.qemu.trace import TraceReader
from virtiomem.recording import Request
from virtiomem.units import GiB, Span

REGIONS = {"vm0": Span.sized(0x180000000, 4 * GiB), "vm1": Span.sized(0x280000000, 4 * GiB)}

# As printed by QEMU 7.2.22 (Debian).
PLUG = """\
virtio_queue_notify vdev 0x557eddb43600 n 0 vq 0x7f751dab0010
virtio_mem_plug_request addr=0x180000000 nb_blocks=64
virtio_mem_send_response type=0
""".splitlines()
UNPLUG_ALL = """\
virtio_queue_notify vdev 0x557eddb43600 n 0 vq 0x7f751dab0010
virtio_mem_unplug_all_request 
virtio_mem_send_response type=2
""".splitlines()  # noqa: W291 - QEMU prints the blank


def test_a_request_and_its_response_become_one() -> None:
    assert TraceReader(REGIONS).read(PLUG) == [
        Request(device="vm0", type="PLUG", addr=0x180000000, nb_blocks=64, response="ACK")
    ]


def test_the_notified_device_is_learnt_and_kept_for_requests_without_address() -> None:
    reader = TraceReader(REGIONS)
    reader.read(PLUG)
    assert reader.read(UNPLUG_ALL) == [Request(device="vm0", type="UNPLUG_ALL", response="BUSY")]


def test_other_lines_are_passed_over_and_a_request_may_be_cut_between_two_reads() -> None:
    reader = TraceReader(REGIONS)
    other = ["qemu-system-x86_64: warning: addr=0x1 nb_blocks=2", "virtio_mem_unplugged_all ", ""]
    assert reader.read([*other, *PLUG[:2]]) == []
    assert len(reader.read([*other, *PLUG[2:]])) == 1


def test_two_devices_are_distinguished() -> None:
    other = [line.replace("0x557eddb43600", "0x1").replace("0x18", "0x28") for line in PLUG]
    assert [request.device for request in TraceReader(REGIONS).read(PLUG + other + PLUG)] == ["vm0", "vm1", "vm0"]


def test_an_unplug_all_of_an_unknown_device_is_no_guess() -> None:
    with pytest.raises(ProtocolError, match="no device known"):
        TraceReader(REGIONS).read(UNPLUG_ALL)


@pytest.mark.parametrize("lines", [["virtio_mem_send_response type=0"], [*PLUG[:2], "virtio_mem_send_response type=9"]])
def test_a_response_out_of_place_is_refused(lines: list[str]) -> None:
    with pytest.raises(ProtocolError):
        TraceReader(REGIONS).read(lines)
