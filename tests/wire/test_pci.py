import struct

import pytest

from virtiomem.errors import ProtocolError
from virtiomem.wire.pci import Bar, Capability, CapabilityType, capabilities, memory_bars, virtio_capabilities


def config_space(*entries: bytes, first: int = 0x40, listed: bool = True) -> bytes:
    """A configuration space with capabilities one behind the other from 0x40; each gets the offset of the next."""
    space = bytearray(256)
    struct.pack_into("<HH", space, 0, 0x1AF4, 0x1058)
    space[0x06] = 0x10 if listed else 0
    space[0x34] = first
    offset = 0x40
    for number, entry in enumerate(entries):
        space[offset : offset + len(entry)] = entry
        space[offset + 1] = offset + len(entry) if number + 1 < len(entries) else 0
        offset += len(entry)
    return bytes(space)


def virtio(kind: int, bar: int, offset: int, length: int, extra: bytes = b"") -> bytes:
    return struct.pack("<BBBBBBxxII", 9, 0, 16 + len(extra), kind, bar, 0, offset, length) + extra


# What QEMU 7.2's virtio-mem-pci shows.
QEMU = (
    virtio(5, 0, 0, 0, bytes(4)),
    virtio(2, 4, 0x3000, 0x1000, struct.pack("<I", 4)),
    virtio(4, 4, 0x2000, 0x1000),
    virtio(3, 4, 0x1000, 0x1000),
    virtio(1, 4, 0x0000, 0x1000),
)


def test_the_structures_of_a_modern_device_are_found() -> None:
    assert virtio_capabilities(config_space(*QEMU)) == {
        5: Capability(5, 0, 0, 0),
        CapabilityType.NOTIFY: Capability(2, 4, 0x3000, 0x1000, notify_multiplier=4),
        CapabilityType.DEVICE: Capability(4, 4, 0x2000, 0x1000),
        CapabilityType.ISR: Capability(3, 4, 0x1000, 0x1000),
        CapabilityType.COMMON: Capability(1, 4, 0, 0x1000),
    }


def test_the_first_structure_of_a_type_counts() -> None:
    space = config_space(virtio(1, 4, 0x100, 64), virtio(1, 2, 0x200, 64))
    assert virtio_capabilities(space)[1].bar == 4


def test_other_capabilities_are_passed_over() -> None:
    msix = bytes([0x11, 0, 0, 0]) + bytes(8)
    assert set(virtio_capabilities(config_space(msix, virtio(1, 4, 0, 64)))) == {1}


def test_a_function_without_a_list_has_no_capabilities() -> None:
    assert not list(capabilities(config_space(virtio(1, 4, 0, 64), listed=False)))


@pytest.mark.parametrize("start", [0x04, 0x3C])
def test_a_list_that_leads_into_the_header_is_refused(start: int) -> None:
    with pytest.raises(ProtocolError, match=f"leads to {start:#x}"):
        list(capabilities(config_space(first=start)))


def test_a_list_that_bites_its_tail_is_refused() -> None:
    space = bytearray(config_space(virtio(1, 4, 0, 64)))
    space[0x41] = 0x40
    with pytest.raises(ProtocolError, match="leads to 0x40"):
        virtio_capabilities(bytes(space))


@pytest.mark.parametrize(("offset", "kind"), [(0xF4, 1), (0xF0, 2), (0xFC, 1)])
def test_a_capability_that_is_cut_off_is_refused(offset: int, kind: int) -> None:
    space = bytearray(config_space(first=offset))
    space[offset:] = virtio(kind, 4, 0, 64)[: 256 - offset]
    space[offset + 1] = 0
    with pytest.raises(ProtocolError, match=f"{offset:#x} is cut off"):
        virtio_capabilities(bytes(space))


def test_a_capability_may_end_with_the_space() -> None:
    space = bytearray(config_space(first=0xF0))
    space[0xF0:] = virtio(1, 4, 0, 64)
    assert virtio_capabilities(bytes(space)) == {1: Capability(1, 4, 0, 64)}


def test_a_capability_that_is_too_short_is_refused() -> None:
    entry = bytearray(virtio(1, 4, 0, 64))
    entry[2] = 8
    with pytest.raises(ProtocolError, match="of 8 bytes, needs 16"):
        virtio_capabilities(config_space(bytes(entry)))


def test_bars_are_sized_from_what_sticks() -> None:
    # An I/O BAR, a 32-bit one of 4K, nothing, a prefetchable 64-bit one of 16K and its upper half.
    assert memory_bars([0xFFFFFFE1, 0xFFFFF000, 0, 0xFFFFC00C, 0xFFFFFFFF, 0]) == [
        Bar(1, 0x1000, wide=False),
        Bar(3, 0x4000, wide=True),
    ]


def test_the_last_register_has_none_to_be_wide_with() -> None:
    assert memory_bars([0, 0, 0, 0, 0, 0xFFFFC00C]) == [Bar(5, 0x4000, wide=False)]


def test_a_large_64_bit_bar_is_sized_over_both_registers() -> None:
    assert memory_bars([0x0000000C, 0xFFFFFFFF, 0, 0, 0, 0]) == [Bar(0, 1 << 32, wide=True)]
    assert memory_bars([0x0000000C, 0xFFFFFFFC, 0xFFFFF000, 0, 0, 0]) == [
        Bar(0, 16 << 30, wide=True),
        Bar(2, 0x1000, wide=False),
    ]
    assert memory_bars([0x0000000C, 0, 0, 0, 0, 0]) == []
    assert memory_bars([0x8000000C, 0xFFFFFFFF, 0, 0, 0, 0]) == [Bar(0, 0x80000000, wide=True)]
