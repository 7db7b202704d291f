from typing import Literal

import pytest

from virtiomem.device.board import PC, Q35
from virtiomem.device.placement import DeviceMemory
from virtiomem.errors import DeviceError
from virtiomem.units import GiB, MiB, Span


@pytest.mark.parametrize(
    ("machine", "memory", "base"),
    [
        ("q35", 1 * GiB, 0x100000000),
        ("q35", 2 * GiB, 0x100000000),
        ("q35", 3 * GiB, 0x140000000),
        ("q35", 4 * GiB, 0x180000000),
        ("q35", 4224 * MiB, 0x1C0000000),
        ("pc", 3 * GiB, 0x100000000),
        ("pc", 4 * GiB, 0x140000000),
    ],
)
def test_the_device_region_starts_where_qemu_starts_it(machine: Literal["q35", "pc"], memory: int, base: int) -> None:
    assert DeviceMemory(machine=machine, memory=memory, max_memory=memory + GiB).region.start == base


def test_boot_memory_is_split_around_the_pci_hole() -> None:
    assert Q35.boot_memory(4 * GiB) == [Span(0, 2 * GiB), Span(4 * GiB, 6 * GiB)]
    assert PC.boot_memory(4 * GiB) == [Span(0, 3 * GiB), Span(4 * GiB, 5 * GiB)]
    assert Q35.boot_memory(2 * GiB) == [Span(0, 2 * GiB)]


def test_a_dimm_goes_behind_the_device_that_is_there() -> None:
    machine = DeviceMemory(memory=4 * GiB, max_memory=20 * GiB, slots=4)
    assert machine.place("vm0", 8 * GiB) == 0x180000000
    assert machine.place("dimm0", GiB) == 0x380000000
    machine.check()


def test_the_first_gap_that_holds_a_device_is_taken() -> None:
    machine = DeviceMemory(memory=2 * GiB, max_memory=10 * GiB)
    machine.place("a", GiB, memaddr=5 * GiB)
    assert machine.place("b", 2 * GiB) == 6 * GiB
    assert machine.place("c", GiB) == 4 * GiB
    machine.remove("a")
    assert machine.place("d", 2 * MiB) == 5 * GiB
    assert machine.place("e", 512 * MiB, alignment=512 * MiB) == 5 * GiB + 512 * MiB
    machine.check()
    assert [device.id for device in machine.placed] == ["c", "d", "e", "b"]


# The words are QEMU 7.2.22's for `-m 1G,maxmem=4G`, one device vm0 at 0x140000000 of 1G.
@pytest.mark.parametrize(
    ("size", "alignment", "memaddr", "said"),
    [
        (
            3 * GiB,
            2 * MiB,
            None,
            "not enough space, currently 0x40000000 in use of total space for memory devices 0xc0000000",
        ),
        (GiB, 2 * MiB, 0x100100000, "address must be aligned to 0x200000 bytes"),
        (1025 * MiB, 2 * MiB, None, "backend memory size must be multiple of 0x200000"),
        (1026 * MiB, 4 * MiB, None, "backend memory size must be multiple of 0x400000"),
        (
            GiB,
            2 * MiB,
            0x80000000,
            "can't add memory device [0x80000000:0x40000000], usable range for memory devices [0x100000000:0xc0000000]",
        ),
        (GiB, 2 * MiB, 0x120000000, "address range conflicts with memory device id='vm0'"),
        (
            2 * GiB,
            2 * MiB,
            None,
            "could not find position in guest address space for memory device - memory fragmented due to alignments",
        ),
    ],
)
def test_a_device_that_fits_nowhere_is_refused_in_qemus_words(
    size: int, alignment: int, memaddr: int | None, said: str
) -> None:
    machine = DeviceMemory(memory=GiB, max_memory=4 * GiB)
    machine.place("vm0", GiB, memaddr=0x140000000)
    with pytest.raises(DeviceError) as refusal:
        machine.place("vm1", size, alignment=alignment, memaddr=memaddr)
    assert str(refusal.value) == said
    assert len(machine.placed) == 1


def test_without_maxmem_there_is_no_room() -> None:
    with pytest.raises(DeviceError, match="please specify the maxmem option"):
        DeviceMemory(memory=GiB).place("vm0", GiB)


@pytest.mark.parametrize(
    ("max_memory", "slots", "said"),
    [(512 * MiB, 0, "must be at least the initial memory size"), (GiB, 2, "memory slots were specified")],
)
def test_a_machine_that_cannot_be_is_refused(max_memory: int, slots: int, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        DeviceMemory(memory=GiB, max_memory=max_memory, slots=slots)


def test_removing_what_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match="Device 'x' not found"):
        DeviceMemory(memory=GiB, max_memory=2 * GiB).remove("x")


def test_an_address_of_zero_means_not_set() -> None:
    assert DeviceMemory(memory=GiB, max_memory=2 * GiB).place("vm0", GiB, memaddr=0) == 4 * GiB
