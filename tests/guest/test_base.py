import pytest

from virtiomem import scenario
from virtiomem.errors import ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, NodeConfig, name_devices, parse_range
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.guest.linux.command import qemu_arguments
from virtiomem.recording.values import Load
from virtiomem.units import GiB, Size, Span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0x0-0x7fffffff", Span(0, 2 * GiB)),
        (" 0X0 - 0X7FFFFFFF ", Span(0, 2 * GiB)),
        ("04294967296-6442450943", Span(4 * GiB, 6 * GiB)),
    ],
)
def test_a_range_is_inclusive_and_decimal_unless_it_says_hexadecimal(text: str, span: Span) -> None:
    assert parse_range(text) == span
    assert NodeConfig(id=0, memory=[text]).spans == [span]


@pytest.mark.parametrize("text", ["", "0", "0-x", "7fffffff-8fffffff", "0o0-0o7", "-1-0", "2-1", f"0-{'9' * 5000}"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range|ends before"):
        parse_range(text)


def test_every_guest_reads_a_nodes_ranges_as_the_scenario_does() -> None:
    played = scenario.loads(
        '[guest]\nmemory = "4G"\n'
        '[[guest.nodes]]\nid = 0\nmemory = ["00-02147483647"]\n'
        '[[guest.nodes]]\nid = 1\nmemory = ["04294967296-6442450943"]\n'
    )
    nodes = scenario.embedded_guest(played).kernel.memory.nodes
    assert [node.nid for node in nodes.values()] == [0, 1]
    arguments = qemu_arguments(played.guest, [], "tcg")
    assert [word for word in arguments if word.startswith("memory-backend")] == [
        f"memory-backend-ram,id=ram{node},size={2 * GiB},reserve=off" for node in (0, 1)
    ]


def test_a_device_without_a_name_is_called_what_linux_would_call_it() -> None:
    named = name_devices(
        [DeviceConfig(id="vm0", max_size=Size(GiB)), DeviceConfig(id="vm1", max_size=Size(GiB), name="virtio0")]
    )
    assert [(one.id, one.name) for one in named] == [("vm0", "virtio1"), ("vm1", "virtio0")]
    assert name_devices(named) == named


@pytest.mark.parametrize("name", ["vm0", "eth0", "virtio01", ""])
def test_a_name_that_linux_gives_to_no_virtio_device_is_refused(name: str) -> None:
    device = DeviceConfig(id="vm0", max_size=Size(GiB), memaddr=Size(4 * GiB), name=name)
    with pytest.raises(ScenarioError, match=r"device 1: name: .* is not virtio0"):
        EmbeddedGuest(GuestConfig(), DriverConfig(), [device], "")


def test_a_guest_made_through_the_library_shows_a_region_that_readers_know() -> None:
    device = DeviceConfig(id="vm0", max_size=Size(4 * GiB), requested_size=Size(GiB), memaddr=Size(0x180000000))
    guest = EmbeddedGuest(GuestConfig(), DriverConfig(), [device], scenario.loads("").boot_iomem)
    assert "180000000-27fffffff : virtio0" in guest.play(Load()).snapshot.iomem


def test_an_unnamed_device_behind_a_named_one_has_the_next_free_name() -> None:
    """What the driver's log is searched for, and what QEMU puts in front of the device, follow from the same name."""
    devices = [DeviceConfig(id="vm0", max_size=Size(GiB), name="virtio1"), DeviceConfig(id="vm1", max_size=Size(GiB))]
    assert [one.name for one in name_devices(devices)] == ["virtio1", "virtio2"]
    kinds = [text.split(",")[0] for text in qemu_arguments(GuestConfig(), devices, "tcg") if "virtio-" in text]
    assert kinds == ["virtio-rng-pci", "virtio-mem-pci", "virtio-mem-pci"]
