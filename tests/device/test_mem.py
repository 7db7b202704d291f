from typing import Any

import pytest

from tests.refused import refused
from virtiomem.device.mem import MemDevice
from virtiomem.errors import DeviceError, ProtocolError
from virtiomem.releases.qemu import QEMU
from virtiomem.units import GiB, MiB, Span
from virtiomem.wire.mem import Config, Feature, Request, RequestType, Response, ResponseType, State

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType

ADDR = 6 * GiB
BLOCK = 2 * MiB


def make(**kwargs: Any) -> MemDevice:
    return MemDevice(**{"addr": ADDR, "region_size": 8 * GiB, "block_size": BLOCK, "requested_size": 2 * GiB, **kwargs})


@pytest.fixture
def device() -> MemDevice:
    return make()


@pytest.mark.parametrize("name", ["addr", "region_size", "block_size", "requested_size", "node", "nodes", "features"])
@pytest.mark.parametrize("value", [1.5, None, "1", True])
def test_what_is_not_a_number_is_not_a_property_of_a_device(name: str, value: Any) -> None:
    refused(make, **{name: value})


def test_region_that_qemu_could_not_map_is_refused() -> None:
    """QEMU 7.2.22 cannot set up guest memory of 128T."""
    with pytest.raises(DeviceError, match="cannot set up guest memory: Cannot allocate memory"):
        make(addr=0, region_size=1 << 52, block_size=MiB)
    with pytest.raises(DeviceError, match="cannot set up guest memory"):
        make(region_size=1 << 47)


# --- requests ---


def test_plug_is_acknowledged_and_counted(device: MemDevice) -> None:
    assert device.request(PLUG, ADDR, 64) == Response(ACK)
    assert device.plugged_size == 64 * BLOCK
    assert list(device.plugged_ranges()) == [Span.sized(ADDR, 64 * BLOCK)]


def test_plug_up_to_the_requested_size_is_acknowledged_and_one_block_more_is_not(device: MemDevice) -> None:
    assert device.request(PLUG, ADDR, 1024).type is ACK
    assert device.request(PLUG, ADDR + 2 * GiB, 1).type is NACK


def test_plug_beyond_requested_size_is_refused_before_block_states_are_looked_at(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 1024)
    assert device.request(PLUG, ADDR, 1).type is NACK


def test_plug_outside_the_usable_region_is_an_error_before_the_requested_size_is_looked_at(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 1024)
    assert device.request(PLUG, ADDR + 0x90000000, 1).type is ERROR


def test_plug_that_touches_a_plugged_block_changes_nothing(device: MemDevice) -> None:
    device.request(PLUG, ADDR + 3 * BLOCK, 1)
    assert device.request(PLUG, ADDR, 4).type is ERROR
    assert device.plugged_size == BLOCK


def test_unplug_that_touches_an_unplugged_block_changes_nothing(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 3)
    assert device.request(UNPLUG, ADDR, 4).type is ERROR
    assert device.plugged_size == 3 * BLOCK


def test_unplug_is_never_refused_for_the_requested_size(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 4)
    device.requested_size = 2 * BLOCK
    assert [device.request(UNPLUG, ADDR + n * BLOCK, 1).type for n in range(4)] == [ACK] * 4


@pytest.mark.parametrize("kind", [PLUG, UNPLUG, STATE])
@pytest.mark.parametrize(
    ("addr", "nb_blocks"),
    [
        (ADDR + 1, 1),
        (ADDR + BLOCK // 2, 1),
        (ADDR, 0),
        (ADDR - BLOCK, 1),
        (ADDR - BLOCK, 2),
        (0, 1),
        (ADDR + 0x90000000, 1),
        (ADDR + 0x90000000 - BLOCK, 2),
        ((1 << 64) - BLOCK, 1),
        ((1 << 64) - BLOCK, 2),
    ],
)
def test_a_range_that_is_not_whole_blocks_of_the_usable_region_is_an_error(
    device: MemDevice, kind: RequestType, addr: int, nb_blocks: int
) -> None:
    assert device.request(kind, addr, nb_blocks).type is ERROR


@pytest.mark.parametrize(
    ("asked", "state"), [((0, 2), State.PLUGGED), ((2, 2), State.UNPLUGGED), ((1, 2), State.MIXED)]
)
def test_state_tells_what_a_range_is(device: MemDevice, asked: tuple[int, int], state: State) -> None:
    device.request(PLUG, ADDR, 2)
    first, count = asked
    assert device.request(STATE, ADDR + first * BLOCK, count) == Response(ACK, state)


def test_unplug_all_ignores_its_range_and_shrinks_the_usable_region(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 10)
    device.requested_size = 1 * GiB
    assert device.usable_region_size == 0x90000000
    assert device.request(UNPLUG_ALL, 12345, 777).type is ACK
    assert (device.plugged_size, device.usable_region_size) == (0, 0x50000000)


@pytest.mark.parametrize("plugged", [0, 4])
def test_a_busy_device_changes_nothing_and_answers_state(device: MemDevice, plugged: int) -> None:
    if plugged:
        device.request(PLUG, ADDR, plugged)
    device.busy = True
    assert device.request(PLUG, ADDR + 100 * BLOCK, 1).type is BUSY
    assert device.request(UNPLUG_ALL).type is BUSY
    assert device.request(STATE, ADDR, 4).type is ACK
    assert device.request(UNPLUG, ADDR, 4).type is (BUSY if plugged else ERROR)
    assert device.plugged_size == plugged * BLOCK


def test_a_busy_device_looks_at_everything_else_first(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 1)
    device.busy = True
    assert device.request(PLUG, ADDR, 1).type is ERROR
    assert device.request(PLUG, ADDR, 1024).type is NACK
    assert device.request(PLUG, ADDR + 1, 1).type is ERROR


@pytest.mark.parametrize("addr", [ADDR, 0])
@pytest.mark.parametrize("kind", [4, -1, 0xFFFF])
def test_an_unknown_request_is_not_a_request(device: MemDevice, kind: int, addr: int) -> None:
    with pytest.raises(ProtocolError, match="unknown request type"):
        device.request(kind, addr, 1)


def test_requests_and_answers_travel_as_bytes(device: MemDevice) -> None:
    assert device.handle(Request(PLUG, ADDR, 2).pack()) == Response(ACK).pack()
    assert device.handle(Request(STATE, ADDR, 3).pack()) == Response(ACK, State.MIXED).pack()
    with pytest.raises(ProtocolError):
        device.handle(bytes(23))


# --- sizes ---


@pytest.mark.parametrize(
    ("requested", "usable"),
    [(0, 0), (2 * MiB, 0x10200000), (2 * GiB, 0x90000000), (8 * GiB, 0x200000000), (16 * GiB, 0x200000000)],
)
def test_the_usable_region_follows_the_requested_size(requested: int, usable: int) -> None:
    assert make(requested_size=requested).usable_region_size == usable


def test_the_usable_region_is_whole_blocks() -> None:
    assert make(block_size=GiB, requested_size=GiB).usable_region_size == 2 * GiB


def test_the_usable_region_grows_with_the_requested_size_and_keeps_what_it_has(device: MemDevice) -> None:
    device.requested_size = 4 * GiB
    assert device.usable_region_size == 0x110000000
    device.requested_size = 0
    assert device.usable_region_size == 0x110000000


def test_a_system_reset_unplugs_all_and_keeps_the_requested_size(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 10)
    device.requested_size = 0
    device.system_reset()
    assert device.config == Config(BLOCK, 0, ADDR, 8 * GiB, 0, 0, 0)


def test_a_system_reset_of_a_busy_device_leaves_memory_plugged(device: MemDevice) -> None:
    device.request(PLUG, ADDR, 10)
    device.busy = True
    device.system_reset()
    assert device.plugged_size == 10 * BLOCK


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (3 * MiB, r"^'requested-size' has to be multiples of 'block-size' \(0x200000\)$"),
        (-1, r"^'requested-size' has to be multiples of 'block-size' \(0x200000\)$"),
        (8 * GiB + BLOCK, r"^'requested-size' cannot exceed the memory backend size\(0x200000000\)$"),
        (-BLOCK, r"^'requested-size' cannot exceed the memory backend size\(0x200000000\)$"),
    ],
)
def test_a_bad_requested_size_changes_nothing(device: MemDevice, size: int, said: str) -> None:
    told: list[str] = []
    device.on_config_change(lambda: told.append("config"))
    before = device.config
    with pytest.raises(DeviceError, match=said):
        device.requested_size = size
    assert device.config == before
    assert not told


def test_every_accepted_requested_size_is_announced_even_an_equal_one(device: MemDevice) -> None:
    told: list[int] = []
    device.on_config_change(lambda: told.append(device.requested_size))
    device.requested_size = GiB
    device.requested_size = GiB
    assert told == [GiB, GiB]


def test_size_changes_are_announced_and_empty_ones_are_not(device: MemDevice) -> None:
    told: list[int] = []
    device.on_size_change(told.append)
    device.request(PLUG, ADDR, 3)
    device.request(PLUG, ADDR, 3)
    device.request(UNPLUG, ADDR, 1)
    device.request(UNPLUG_ALL)
    device.request(UNPLUG_ALL)
    assert told == [3 * BLOCK, 2 * BLOCK, 0]


# --- realize: the words are QEMU 7.2.22's, except the last three, which its types rule out ---


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"block_size": 512 * 1024}, "'block-size' property has to be at least 0x100000"),
        ({"block_size": 3 * MiB}, "'block-size' property has to be a power of two"),
        ({"node": 3}, "'node' property has value '3', which exceedsthe number of numa nodes: 1"),
        ({"requested_size": 3 * MiB}, r"'requested-size' property has to be multiples of 'block-size' \(0x200000\)"),
        ({"addr": ADDR + MiB}, r"'memaddr' property has to be multiples of 'block-size' \(0x200000\)"),
        ({"region_size": 1025 * MiB}, r"'memdev' property memdev size has to be multiples of'block-size' \(0x200000\)"),
        ({"region_size": 0}, "no region of 0x0 bytes"),
        ({"addr": (1 << 64) - GiB}, "no region of 0x200000000 bytes at 0xffffffffc0000000"),
        ({"requested_size": 1 << 64}, "no 64-bit number"),
    ],
)
def test_a_device_that_cannot_be_is_not_realized(properties: dict[str, int], said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        make(**properties)


def test_a_requested_size_that_wraps_leaves_little_usable_as_in_c() -> None:
    assert make(requested_size=(1 << 64) - BLOCK).usable_region_size == 256 * MiB - BLOCK


def test_a_region_may_end_where_addresses_end() -> None:
    device = make(addr=(1 << 64) - 8 * GiB, requested_size=8 * GiB)
    assert device.request(PLUG, (1 << 64) - BLOCK, 1).type is ACK


def test_node_id_is_offered_by_default() -> None:
    assert make().features is Feature.ACPI_PXM


def test_since_qemu_8_1_unplugging_nothing_is_never_busy() -> None:
    for version, answer in (("7.2", BUSY), ("8.0", BUSY), ("8.1", ACK), ("11.1", ACK)):
        device = MemDevice(addr=4 * GiB, region_size=GiB, release=QEMU.release(version))
        device.busy = True
        assert device.request(UNPLUG_ALL).type is answer, version


def test_removal_is_refused_for_what_stands_against_it_in_order_and_then_locks_the_size() -> None:
    device = make(features=Feature.UNPLUGGED_INACCESSIBLE, release=QEMU.release("10.0"))
    assert device.request(PLUG, ADDR, 1).type is ACK
    with pytest.raises(DeviceError, match="while some of its memory is still plugged"):
        device.ask_to_leave()
    device.system_reset()
    with pytest.raises(DeviceError, match="while 'requested-size' != '0'"):
        device.ask_to_leave()
    device.requested_size = 0
    device.ask_to_leave()
    with pytest.raises(DeviceError, match="in the process of unplug"):
        device.requested_size = BLOCK


def test_removal_wants_a_newer_release_and_unplugged_memory_to_be_inaccessible(device: MemDevice) -> None:
    with pytest.raises(DeviceError, match=r"^virtio based memory devices cannot be unplugged\.$"):
        device.ask_to_leave()
    with pytest.raises(DeviceError, match="while 'unplugged-inaccessible' != 'on'"):
        make(release=QEMU.newest).ask_to_leave()
