import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import ProtocolError
from virtiomem.wire.ring import Descriptor, DescriptorFlag, Layout, Used

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)


@given(st.builds(Descriptor, u64, u32, u16, u16))
def test_a_descriptor_survives_memory(descriptor: Descriptor) -> None:
    assert len(descriptor.pack()) == 16
    assert Descriptor.unpack(descriptor.pack()) == descriptor


@given(st.builds(Used, u32, u32))
def test_a_used_entry_survives_memory(used: Used) -> None:
    assert len(used.pack()) == 8
    assert Used.unpack(used.pack()) == used


def test_a_descriptor_has_the_layout_of_the_specification() -> None:
    packed = Descriptor(0x1122334455667788, 24, DescriptorFlag.NEXT | DescriptorFlag.WRITE, 7).pack()
    assert packed == bytes.fromhex("8877665544332211 18000000 0300 0700")


@pytest.mark.parametrize("size", [0, 15, 17])
def test_other_lengths_are_no_descriptor(size: int) -> None:
    with pytest.raises(ProtocolError, match=f"descriptor of {size} bytes"):
        Descriptor.unpack(bytes(size))


def test_other_lengths_are_no_used_entry() -> None:
    with pytest.raises(ProtocolError, match="entry of 7 bytes"):
        Used.unpack(bytes(7))


@given(st.integers(0, 1 << 32), st.sampled_from([1, 2, 8, 128, 32768]))
def test_parts_are_aligned_and_apart(addr: int, size: int) -> None:
    addr = addr // 16 * 16
    layout = Layout.packed_at(addr, size)
    assert (layout.desc % 16, layout.avail % 2, layout.used % 4) == (0, 0, 0)
    assert layout.desc + 16 * size <= layout.avail
    assert layout.used_event + 2 <= layout.used
    assert layout.avail_event + 2 == layout.end


def test_free_running_indices_wrap_onto_the_entries() -> None:
    layout = Layout.packed_at(0, 128)
    assert layout.avail_entry(0) == layout.avail_entry(128) == layout.avail_idx + 2
    assert layout.avail_entry(65535) == layout.avail_entry(127) == layout.used_event - 2
    assert layout.used_entry(65535) == layout.avail_event - 8
