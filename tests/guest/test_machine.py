import pytest

from virtiomem.errors import DeviceError
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.machine import Machine
from virtiomem.units import GiB, MiB, Size, Span, parse_size


def machine(kind: str = "q35", memory: str = "4G", max_memory: str = "20G", slots: int = 0) -> Machine:
    assert kind in {"q35", "pc"}
    return Machine("q35" if kind == "q35" else "pc", parse_size(memory), parse_size(max_memory), slots)


@pytest.mark.parametrize(
    ("kind", "memory", "base"),
    [
        ("q35", "2G", 0x100000000),
        ("q35", "3G", 0x140000000),
        ("q35", "4G", 0x180000000),
        ("q35", "4224M", 0x1C0000000),
        ("pc", "3G", 0x100000000),
        ("pc", "4G", 0x140000000),
        ("q35", "1G", 0x100000000),
    ],
)
def test_device_region_starts_where_qemu_7_2_put_it(kind: str, memory: str, base: int) -> None:
    assert machine(kind, memory).device_region.start == base


def test_low_ram_splits_at_the_machines_limit() -> None:
    assert machine("q35", "2815M").low_ram.size == 2815 * MiB
    assert machine("q35", "2816M").low_ram.size == 2 * GiB
    assert machine("pc", "3583M").low_ram.size == 3583 * MiB
    assert machine("pc", "3584M").low_ram.size == 3 * GiB
    assert [span.size for span in machine("q35", "1G").ram] == [GiB]


def test_pci_window_follows_the_device_region_and_its_slots() -> None:
    assert machine(slots=0).pci_hole64 == Span(0x580000000, 0xD80000000)
    assert machine(slots=4).pci_hole64 == Span(0x680000000, 0xE80000000)
    assert machine("pc", max_memory="201G").pci_hole64 == Span(0x3280000000, 0x3300000000)


def test_room_is_what_the_devices_need_when_nobody_says() -> None:
    devices = [
        DeviceConfig(id="vm0", max_size=Size.parse("8G")),
        DeviceConfig(id="vm1", max_size=Size.parse("1G"), memaddr=Size(0x400000000)),
    ]
    made = Machine.of(GuestConfig(memory=Size.parse("4G")), devices)
    assert made.device_region == Span(0x180000000, 0x440000000)
    assert Machine.of(GuestConfig(memory=Size.parse("4G"))).device_room == 0


@pytest.mark.parametrize(
    ("size", "memaddr", "taken", "address"),
    [
        ("8G", None, [], 0x180000000),
        ("1G", None, [("vm0", 0x180000000, "8G")], 0x380000000),
        ("1G", None, [("vm0", 0x200000000, "2G")], 0x180000000),
        ("1G", None, [("vm1", 0x280000000, "2G"), ("vm0", 0x180000000, "4G")], 0x300000000),
        ("1G", "0x200000000", [("vm0", 0x180000000, "2G")], 0x200000000),
    ],
)
def test_device_is_placed_first_fit_or_where_asked(
    size: str, memaddr: str | None, taken: list[tuple[str, int, str]], address: int
) -> None:
    there = [(name, Span.sized(start, parse_size(length))) for name, start, length in taken]
    at = parse_size(memaddr) if memaddr else None
    assert machine().place(parse_size(size), 2 * MiB, there, at) == address


@pytest.mark.parametrize(
    ("size", "memaddr", "taken", "words"),
    [
        ("17G", None, [], "not enough space, currently 0x0 in use of total space for memory devices 0x400000000"),
        ("9G", None, [("vm0", 0x180000000, "8G")], "not enough space, currently 0x200000000 in use"),
        ("8G", None, [("vm0", 0x200000000, "8G")], "memory fragmented due to alignments"),
        ("8G", "0x180100000", [], "address must be aligned to 0x200000 bytes"),
        ("8G", "0x140000000", [], "can't add memory device [0x140000000:0x200000000], usable range for memory"),
        ("8G", "0x480000000", [], "usable range for memory devices [0x180000000:0x400000000]"),
        ("4G", "0x200000000", [("vm0", 0x180000000, "8G")], "address range conflicts with memory device id='vm0'"),
    ],
)
def test_device_without_a_place_is_refused_in_the_words_of_qemu_7_2(
    size: str, memaddr: str | None, taken: list[tuple[str, int, str]], words: str
) -> None:
    there = [(name, Span.sized(start, parse_size(length))) for name, start, length in taken]
    with pytest.raises(DeviceError) as refused:
        machine().place(parse_size(size), 2 * MiB, there, parse_size(memaddr) if memaddr else None)
    assert words in str(refused.value)


def test_machine_without_room_takes_no_device() -> None:
    with pytest.raises(DeviceError, match="please specify the maxmem option"):
        machine(max_memory="4G").place(GiB, 2 * MiB)
