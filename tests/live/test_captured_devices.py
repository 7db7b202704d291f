import pytest

from virtiomem.errors import UsageError
from virtiomem.live.capture import Capture, Section
from virtiomem.live.captured_devices import CONFIG, CapturedDevice, devices_of, ownership
from virtiomem.live.lsmem import Ownership
from virtiomem.live.views import memory_of
from virtiomem.units import GiB, MiB, Span

MB = 128 * MiB
IOMEM = """\
00100000-3fffffff : System RAM
40000000-13fffffff : virtio0
  40000000-5fffffff : System RAM (virtio_mem)
"""
LOG = [
    "virtio_mem virtio0: start address: 0x40000000",
    "virtio_mem virtio0: region size: 0x100000000",
    "virtio_mem virtio0: device block size: 0x200000",
    "virtio_mem virtio0: nid: 1",
    "virtio_mem virtio0: memory block size: 0x8000000",
    "virtio_mem virtio0: plugged size: 0x0",
    "virtio_mem virtio0: requested size: 0x20000000",
    "virtio_mem virtio0: strange words",
]
MASKED = "00000000-00000000 : System RAM\n"
BLOCKS = ["block_size_bytes 8000000", "0-7 online 1 0 DMA32", "8-11 online 1 1 Movable"]


def capture(**sections: list[str] | str) -> Capture:
    headings = {"iomem": "proc/iomem", "log": "dev/kmsg", "bus": "sys/bus/virtio/devices", "config": CONFIG}
    headings |= {"pages": "proc/kpageflags", "zones": "proc/zoneinfo", "memory": "sys/devices/system/memory"}
    return Capture(
        {
            headings[name]: Section(value) if isinstance(value, str) else Section.of(value)
            for name, value in {"memory": BLOCKS, **sections}.items()
        }
    )


def the_device(found: Capture) -> CapturedDevice:
    (device,) = devices_of(found, memory_of(found))
    return device


def test_the_map_tells_the_region_and_what_was_added() -> None:
    device = the_device(capture(iomem=IOMEM))
    assert (device.name, device.region, device.added) == ("virtio0", Span(GiB, 5 * GiB), 512 * MiB)
    assert (device.block_size, device.requested_size, device.size, device.node) == (None,) * 4


def test_the_log_tells_sizes_even_where_the_map_is_masked() -> None:
    device = the_device(capture(iomem=MASKED, log=LOG))
    assert (device.region, device.block_size, device.node) == (Span(GiB, 5 * GiB), 2 * MiB, 1)
    assert (device.requested_size, device.size, device.added) == (512 * MiB, None, 512 * MiB)


def test_the_bus_shows_a_device_that_nothing_else_knows() -> None:
    found = capture(bus=["virtio3 driver=- parent=0000:00:05.0 node=1", "virtio4 driver=- parent=x node=-1"])
    assert [(device.name, device.region, device.node) for device in devices_of(found)] == [
        *(("virtio3", None, 1), ("virtio4", None, None)),
    ]
    assert ownership(found, memory_of(found), devices_of(found)) == {}


def test_devices_come_by_name_and_number_whatever_their_names_are() -> None:
    names = ["virtio10", "virtio2", "memory0", "vm10", "vm9", "only-words"]
    found = capture(config=[f"{name} node=0" for name in names])
    assert [device.name for device in devices_of(found)] == [
        *("memory0", "only-words", "virtio2", "virtio10", "vm9", "vm10"),
    ]


def test_the_device_itself_knows_best() -> None:
    config = "virtio0 memaddr=0x40000000 max-size=8589934592 block-size=4194304 requested-size=0 size=4194304 node=0"
    device = the_device(capture(iomem=IOMEM, log=LOG, config=[config]))
    assert device == CapturedDevice("virtio0", Span(GiB, 9 * GiB), 4 * MiB, 0, 4 * MiB, 0, 512 * MiB)


def owners(found: Capture) -> dict[int, Ownership]:
    memory = memory_of(found)
    return ownership(found, memory, devices_of(found, memory))


def test_a_device_that_is_whole_has_whole_blocks() -> None:
    config = [f"virtio0 memaddr={GiB} max-size={4 * GiB} size={512 * MiB}"]
    assert owners(capture(iomem=IOMEM, config=config)) == {at: Ownership("virtio0", MB) for at in range(8, 12)}


def test_where_nothing_tells_what_is_plugged_it_is_unknown() -> None:
    config = [f"virtio0 memaddr={GiB} max-size={4 * GiB} size={500 * MiB}"]
    assert owners(capture(iomem=IOMEM, config=config)) == {at: Ownership("virtio0", None) for at in range(8, 12)}


def test_the_only_block_of_a_device_has_all_that_is_plugged() -> None:
    found = capture(
        iomem=IOMEM.replace("5fffffff", "47ffffff"),
        memory=["block_size_bytes 8000000", "8 online 1 0 Movable"],
        config=[f"virtio0 memaddr={GiB} max-size={4 * GiB} size={6 * MiB}"],
    )
    assert owners(found) == {8: Ownership("virtio0", 6 * MiB)}


def test_zone_movable_confirms_what_was_requested() -> None:
    def zone(managed: int) -> list[str]:
        return ["Node 1, zone  Movable", "  spanned 131072", "  present  131072", f"  managed  {managed}"]

    whole = capture(iomem=IOMEM, log=LOG, zones=zone(131072))
    assert the_device(whole).size == 512 * MiB
    assert owners(whole)[8].plugged == MB
    partly = [*LOG[:-2], "virtio_mem virtio0: requested size: 0x1e000000"]
    assert the_device(capture(iomem=IOMEM, log=partly, zones=zone(131072 - 8192))).size == 480 * MiB
    assert the_device(capture(iomem=IOMEM, log=partly, zones=zone(131072))).size is None
    assert the_device(capture(iomem=IOMEM, log=LOG, zones=[])).size is None
    others = [*BLOCKS, "12 online 1 1 Movable"]
    assert the_device(capture(iomem=IOMEM, log=LOG, zones=zone(131072), memory=others)).size is None


def test_pages_tell_what_is_plugged_in_each_block_and_in_all() -> None:
    pages = ["40000000-4bffffff plugged", "4c000000-4fffffff unplugged", "50000000-57ffffff unknown"]
    found = capture(iomem=IOMEM, pages=[*pages, "58000000-5fffffff plugged"])
    assert the_device(found).size is None
    assert [owners(found)[at].plugged for at in range(8, 12)] == [MB, MB // 2, None, MB]
    found = capture(iomem=IOMEM, pages=[*pages[:2], "50000000-5fffffff plugged"])
    assert the_device(found).size == 512 * MiB - MB // 2


def test_pages_beyond_all_memory_blocks_are_nobodys() -> None:
    found = capture(iomem=IOMEM, pages=["40000000-ffffffffffffffff plugged"])
    assert [owners(found)[at].plugged for at in range(8, 12)] == [MB] * 4


def test_a_number_that_is_invalid_is_named() -> None:
    with pytest.raises(UsageError, match="'010' is not an address or a size"):
        the_device(capture(iomem=IOMEM, bus=["virtio0 device=24 node=010"]))
