import io
import struct
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import UsageError
from virtiomem.kdump import elfcore
from virtiomem.kdump.elfcore import PN_XNUM, Inputs, Note, ProgramHeader, SegmentType, decode, encode, segments
from virtiomem.kdump.ranges import kernel_ranges, kexec_tools_ranges
from virtiomem.resource import iomem


@pytest.mark.parametrize("name", ["merged-file", "unmerged-file", "none-file"])
def test_header_equals_the_one_a_real_kernel_made(real_header: Any, name: str) -> None:
    real = real_header(name)
    header = encode(segments(kernel_ranges(iomem.loads(real.iomem)).ranges, real.inputs))
    assert header.rstrip(b"\0") == real.elfcorehdr.rstrip(b"\0")
    assert len(header) == 4096
    assert encode(decode(real.elfcorehdr)) == header


@pytest.mark.parametrize("name", ["merged-load", "split-load"])
def test_header_equals_what_kexec_printed(real_header: Any, name: str) -> None:
    real = real_header(name)
    found = kexec_tools_ranges(iomem.loads(real.iomem))
    table = segments(found.ranges, real.inputs, found.backup)
    printed = [
        tuple(int(line[key], 16) for key in ("offset", "paddr", "vaddr", "filesz", "memsz"))
        for line in real.recorded["kexec-tools-printed"]["program-headers"]
    ]
    assert [(one.offset, one.paddr, one.vaddr, one.filesz, one.memsz) for one in table] == printed
    assert [one.type for one in table[:3]] == [SegmentType.NOTE, SegmentType.NOTE, SegmentType.LOAD]


def test_room_for_possible_cpus_rounds_up_the_size() -> None:
    table = segments([(0, 0xFFF)])
    assert len(encode(table, room=72)) == 4096
    assert len(encode(table, room=73)) == 8192
    assert len(encode(table, align=elfcore.KEXEC_TOOLS_ALIGN)) == 1024


@pytest.mark.parametrize(
    "count", [0, 1, *(pytest.param(PN_XNUM + more, marks=pytest.mark.long) for more in (-1, 1, 34465)), PN_XNUM]
)
def test_any_number_of_segments_is_counted_right(count: int) -> None:
    table = segments(((at << 27, (at << 27) + 0xFFF) for at in range(count)), Inputs())
    header = encode(table)
    assert len(header) % 4096 == 0
    elf = ELFFile(io.BytesIO(header))
    assert elf.num_segments() == count
    if count:
        assert elf.get_segment(count - 1)["p_paddr"] == (count - 1) << 27
    assert decode(header) == table


@given(
    st.lists(st.tuples(st.integers(0, 1 << 52), st.integers(0, 1 << 40)), max_size=20),
    st.lists(st.builds(Note, st.integers(0, 1 << 52), st.integers(0, 1 << 20)), max_size=4),
    st.integers(0, (1 << 64) - 1),
)
def test_pyelftools_reads_what_we_write(spans: list[tuple[int, int]], notes: list[Note], direct_map: int) -> None:
    ranges = [(start, start + size) for start, size in spans]
    elf = ELFFile(io.BytesIO(encode(segments(ranges, Inputs(notes=notes, direct_map=direct_map)))))
    assert (elf["e_type"], elf["e_machine"], elf.elfclass, elf.little_endian) == ("ET_CORE", "EM_X86_64", 64, True)
    found = [segment.header for segment in elf.iter_segments()]
    assert [(one["p_type"], one["p_offset"], one["p_filesz"]) for one in found[: len(notes)]] == [
        ("PT_NOTE", note.addr, note.size) for note in notes
    ]
    assert [(one["p_paddr"], one["p_vaddr"], one["p_memsz"]) for one in found[len(notes) :]] == [
        (start, (direct_map + start) % (1 << 64), end - start + 1) for start, end in ranges
    ]


GOOD = encode([ProgramHeader(SegmentType.LOAD, 7, 0, 0, 0, 1, 1)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "not an ELF file"),
        (b"x" * 64, "not an ELF file"),
        (GOOD[:4] + b"\x01" + GOOD[5:], "not an ELF64 little-endian core file"),
        (GOOD[:70], "ends within its 1 program headers"),
        (GOOD[:56] + struct.pack("<H", PN_XNUM) + GOOD[58:], "no section header 0"),
        (GOOD[:54] + struct.pack("<H", 32) + GOOD[56:], "program headers of 32 bytes"),
    ],
)
def test_what_is_no_core_header_is_said_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        decode(data, source="some.elf")
