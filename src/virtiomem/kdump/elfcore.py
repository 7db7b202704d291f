"""The ELF core header that a crash kernel is handed: what of memory to dump, and where each piece lies.

The header is a table of segments. Each PT_NOTE points at what a CPU, or the kernel as a whole (vmcoreinfo), left in
memory; each PT_LOAD at a range of RAM, whose file offset *is* its physical address, because the crash kernel reads
memory, not a file. The crash kernel turns this into /proc/vmcore.

Models: crash_prepare_elf64_headers() in kernel/crash_core.c (v6.1: kernel/kexec_file.c), and the function of the same
purpose in kexec/crashdump-elf.c (kexec-tools 2.0.25).
Differs: both count segments in the 16 bits of e_phnum, which wraps; from 65 535 segments on we write PN_XNUM and the
true count in section header 0, as the kernel's own core dumps do (fs/binfmt_elf.c).
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

from virtiomem.architecture import ARCHITECTURES, DEFAULT, Architecture
from virtiomem.errors import UsageError
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import CrashRanges
from virtiomem.kdump.room import EHDR, KERNEL_ALIGN, PHDR
from virtiomem.units import U64_MAX, align_up

ELFMAG = b"\x7fELF"
ELFCLASS64 = 2
ELFDATA2LSB = 1
EV_CURRENT = 1
ET_CORE = 4
PF_RWX = 7
PN_XNUM = 0xFFFF
"""In e_phnum: the true count is in sh_info of section header 0 (include/uapi/linux/elf.h)."""

KEXEC_TOOLS_ALIGN = 1024
"""ELF_CORE_HEADER_ALIGN of kexec-tools."""

DIRECT_MAP_4_LEVEL = DEFAULT.direct_map
"""Where x86-64 maps all of memory with four page-table levels and no KASLR (Documentation/x86/x86_64/mm.rst)."""
DIRECT_MAP_5_LEVEL = 0xFF11_0000_0000_0000
"""The same with five levels."""

_SHDR = struct.Struct("<IIQQQQIIQQ")


class SegmentType(IntEnum):
    """Values of p_type in core headers."""

    LOAD = 1
    NOTE = 4


class ProgramHeader(NamedTuple):
    """A program header; everything in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int = 0


class Note(NamedTuple):
    """Place of a note in memory: `addr` is physical."""

    addr: int
    size: int


class KernelText(NamedTuple):
    """The kernel's own mapping: from `vaddr` (_text) up to _end, at physical `paddr`."""

    vaddr: int
    paddr: int
    size: int


class Inputs(NamedTuple):
    """Inputs of a header that are not in a listing: addresses that only the running kernel knows.

    `possible_cpus` is what the kernel makes room for, at least one a note.
    """

    notes: Sequence[Note] = ()
    vmcoreinfo: Note | None = None
    text: KernelText | None = None
    direct_map: int = DEFAULT.direct_map
    backup: int | None = None
    """kexec-tools only: the physical address that the first 640K of RAM are copied to before the crash kernel starts."""
    possible_cpus: int = 0
    machine: int = DEFAULT.elf_machine
    """e_machine: the architecture."""
    noted_cpus: int = 0
    """CPUs that the kernel's own header has a note for; 0: not known."""


NOTHING_KNOWN = Inputs()


def segments(
    ranges: Iterable[tuple[int, int]], inputs: Inputs = NOTHING_KNOWN, backed_up: tuple[int, int] | None = None
) -> list[ProgramHeader]:
    """The program headers for `ranges` (inclusive ends), in the order both writers use: notes, kernel text, RAM.

    `backed_up` is the range that is read from `inputs.backup` instead of from its own place.
    """
    notes = [*inputs.notes, *([inputs.vmcoreinfo] if inputs.vmcoreinfo else [])]
    # In the order in which both loaders write them: a header is compared with theirs byte by byte.
    table = [ProgramHeader(SegmentType.NOTE, 0, addr, 0, addr, size, size) for addr, size in notes]
    if inputs.text is not None:
        vaddr, paddr, size = inputs.text
        table.append(ProgramHeader(SegmentType.LOAD, PF_RWX, paddr, vaddr, paddr, size, size))
    load, base = SegmentType.LOAD, inputs.direct_map
    for start, end in ranges:
        size = end - start + 1
        # Only the range that is exactly the one that was copied: the crash kernel overwrites it before it can be read.
        offset = inputs.backup if inputs.backup is not None and (start, end) == backed_up else start
        table.append(ProgramHeader(load, PF_RWX, offset, (base + start) & U64_MAX, start, size, size))
    return table


def header(found: CrashRanges, inputs: Inputs = NOTHING_KNOWN) -> bytes:
    """The header that a loader makes of its ranges, as large as that loader makes it."""
    table = segments(found.ranges, inputs, found.backup)
    if found.loader is Loader.KERNEL:
        return encode(table, room=entries(found, inputs), machine=inputs.machine)
    # kexec-tools sizes its header by its table, whose entries are not all RAM.
    room = len(table) - len(found.ranges) + found.entries
    return encode(table, room=room, align=KEXEC_TOOLS_ALIGN, machine=inputs.machine)


def entries(found: CrashRanges, inputs: Inputs = NOTHING_KNOWN) -> int:
    """Program headers that the kernel makes room for: a note for each CPU, vmcoreinfo, its own mapping, the ranges."""
    # Room for each possible CPU, not only for those that are present: one may be plugged after the image was loaded.
    return max(inputs.possible_cpus, len(inputs.notes)) + 2 + len(found.ranges)


def encode(
    table: Sequence[ProgramHeader],
    *,
    room: int = 0,
    align: int = KERNEL_ALIGN,
    machine: int = DEFAULT.elf_machine,
) -> bytes:
    """The header as bytes: ELF header, `table`, zeros up to `room` segments and then to a multiple of `align`."""
    # From PN_XNUM itself on: in e_phnum that number means that the count is elsewhere.
    extended = len(table) >= PN_XNUM
    phnum, shnum = (PN_XNUM, 1) if extended else (len(table), 0)
    shoff = EHDR.size + PHDR.size * len(table) if extended else 0
    ident = ELFMAG + bytes((ELFCLASS64, ELFDATA2LSB, EV_CURRENT))
    header = EHDR.pack(
        *(ident, ET_CORE, machine, EV_CURRENT, 0, EHDR.size, shoff, 0),
        *(EHDR.size, PHDR.size, phnum, _SHDR.size if extended else 0, shnum, 0),
    )
    section = _SHDR.pack(0, 0, 0, 0, 0, shnum, 0, len(table), 0, 0) if extended else b""
    pack = PHDR.pack
    data = b"".join((header, *(pack(*segment) for segment in table), section))
    return data.ljust(align_up(max(len(data), EHDR.size + PHDR.size * room), align), b"\0")


def load(path: str | Path) -> list[ProgramHeader]:
    """The program headers of a core file; nothing else is read: see `decode`."""
    try:
        # Mapped and not read: a core file is as large as memory, and only its beginning is looked at.
        with Path(path).open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return decode(data, source=str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError:  # mmap's word for an empty file
        raise UsageError(f"{path}: not an ELF file") from None


def architecture_of(path: str | Path) -> Architecture | None:
    """The architecture that a core file is of; None for an architecture without a row, and for a file that is not a
    core file.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(EHDR.size)
    except OSError:
        return None
    machine = EHDR.unpack(data)[2] if is_header(data) else None
    return next((row for row in ARCHITECTURES if row.elf_machine == machine), None)


def is_header(data: bytes) -> bool:
    """Return whether a core header for an architecture that is known begins here; other ELF files do not count."""
    if len(data) < EHDR.size or data[:6] != ELFMAG + bytes((ELFCLASS64, ELFDATA2LSB)):
        return False
    kind, machine = EHDR.unpack_from(data)[1:3]
    return kind == ET_CORE and machine in {row.elf_machine for row in ARCHITECTURES}


def table_end(data: bytes) -> int:
    """Return the offset at which the program headers end, if there are fewer than 65 535. Raises UsageError."""
    if not is_header(data):
        raise UsageError("not an ELF core header")
    unpacked = EHDR.unpack_from(data)
    return int(unpacked[5] + unpacked[10] * PHDR.size)


def decode(data: bytes | mmap, *, source: str = "header") -> list[ProgramHeader]:
    """The program headers of an ELF64 little-endian core file; `data` needs to hold its start only.

    Raises UsageError, one line, for anything else.
    """
    if len(data) < EHDR.size or data[:4] != ELFMAG:
        raise UsageError(f"{source}: not an ELF file")
    ident, kind, _, _, _, phoff, shoff, _, _, phentsize, phnum, _, _, _ = EHDR.unpack_from(data)
    if (ident[4], ident[5], kind) != (ELFCLASS64, ELFDATA2LSB, ET_CORE):
        raise UsageError(f"{source}: not an ELF64 little-endian core file")
    # Before the size of an entry is looked at: this comes from elsewhere, and may be missing.
    if phnum == PN_XNUM:
        phnum = _section_info(data, shoff, source)
    if phentsize != PHDR.size:
        raise UsageError(f"{source}: program headers of {phentsize} bytes, not {PHDR.size}")
    # Before anything is unpacked: a count of four billion must not cost a list.
    if phoff + phnum * PHDR.size > len(data):
        raise UsageError(f"{source}: ends within its {phnum} program headers")
    return [ProgramHeader(*PHDR.unpack_from(data, phoff + at * PHDR.size)) for at in range(phnum)]


def _section_info(data: bytes | mmap, shoff: int, source: str) -> int:
    """The count of program headers that did not fit e_phnum."""
    if not 0 < shoff <= len(data) - _SHDR.size:
        raise UsageError(f"{source}: e_phnum is PN_XNUM but there is no section header 0")
    return int(_SHDR.unpack_from(data, shoff)[7])
