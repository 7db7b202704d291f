from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.machine import MachineLayout
from virtiomem.units import GiB, MiB, Size, Span

FOUR = Size(4 * GiB)


def test_pci_window_follows_the_device_region_and_its_slots() -> None:
    assert MachineLayout("q35", 4 * GiB, 20 * GiB, 0).pci_window64 == Span(0x580000000, 0xD80000000)
    assert MachineLayout("q35", 4 * GiB, 20 * GiB, 4).pci_window64 == Span(0x680000000, 0xE80000000)
    assert MachineLayout("pc", 4 * GiB, 201 * GiB, 0).pci_window64 == Span(0x3280000000, 0x3300000000)


def test_room_is_what_the_scenario_says() -> None:
    made = MachineLayout.of(GuestConfig(memory=FOUR, max_memory=Size(20 * GiB), slots=2))
    assert made == MachineLayout("q35", 4 * GiB, 20 * GiB, 2)


def test_room_is_by_default_what_devices_and_dimms_need() -> None:
    devices = [
        DeviceConfig(id="vm0", max_size=Size(8 * GiB)),
        DeviceConfig(id="vm1", max_size=Size(1 * GiB), memaddr=Size(0x400000000)),
    ]
    made = MachineLayout.of(GuestConfig(memory=FOUR), devices, dimms=[512 * MiB])
    assert made == MachineLayout("q35", 4 * GiB, 4 * GiB + 12 * GiB, 1)
    room = made.device_memory()
    assert [room.place(device.id, device.max_size, memaddr=device.memaddr) for device in devices] == [
        0x180000000,
        0x400000000,
    ]


def test_room_is_enough_for_devices_that_overlap_so_that_the_overlap_is_what_is_refused() -> None:
    devices = [DeviceConfig(id=name, max_size=Size(8 * GiB), memaddr=Size(0x180000000)) for name in ("vm0", "vm1")]
    assert MachineLayout.of(GuestConfig(memory=FOUR), devices).max_memory == 20 * GiB


def test_guest_without_devices_has_no_room_for_any() -> None:
    assert MachineLayout.of(GuestConfig(memory=FOUR)).max_memory == 4 * GiB


def test_slots_have_room_for_something() -> None:
    made = MachineLayout.of(GuestConfig(memory=FOUR, slots=2))
    assert made == MachineLayout("q35", 4 * GiB, 6 * GiB, 2)
    assert MachineLayout.of(GuestConfig(memory=FOUR), dimms=[0]).device_memory().region.size
