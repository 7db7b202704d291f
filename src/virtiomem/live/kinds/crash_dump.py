"""makedumpfile's own format, compressed and flattened; QEMU's dump-guest-memory writes it, too.

::

    block 0       header: sizes, counts
    block 1       sub-header: dump level, the range of pages of a split dump
    then          two bitmaps of equal size, a bit a page: pages of RAM, and pages that are in the file
    then          a descriptor for each page in the file, and the pages

A flattened dump is a stream of pieces, each with its place, big-endian: what was written where. All is read piece by
piece; a bitmap is 32 MiB a tebibyte.

Sources: diskdump_mod.h, makedumpfile.h (makedumpfile 1.7.2): struct disk_dump_header, kdump_sub_header,
makedumpfile_data_header.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from virtiomem.errors import UsageError
from virtiomem.live.capture import Section
from virtiomem.live.kinds.values import RANGES, Brought, Fact
from virtiomem.text import shown
from virtiomem.units import GiB, MiB

FLAT = b"makedumpfile\0\0\0\0"
_FLAT_HEADER = 4096
_PIECE = struct.Struct(">qq")
_HEADER = struct.Struct("<8si390s6x16xIiiIIIII")
"""Signature, version, utsname; then status, block size, sub-header's and bitmaps' blocks, pages, RAM, devices, written."""
_SUB = struct.Struct("<QiiQQqQqQqQQQQ")
_SIGNATURES = (b"KDUMP   ", b"DISKDUMP")
MAX_BITMAP = GiB
"""Bytes of both bitmaps: 16 TiB of memory in pages of 4 KiB."""
MAX_PIECES = 1 << 22
_CHUNK = MiB
MAX_RANGES = 1 << 20
_LEVELS = ((1, "zero pages"), (2, "cache"), (4, "private cache"), (8, "user pages"), (16, "free pages"))


def read(path: str | Path) -> Brought:
    """Read a dump's header and bitmaps. Raises UsageError, which says what is wrong, for a damaged or cut one."""
    try:
        with Path(path).open("rb") as file:
            flat = file.read(len(FLAT)) == FLAT
            return _read(_Flat(file, str(path)) if flat else _Plain(file), str(path), flat=flat)
    except OSError as error:
        raise UsageError(f"{shown(path)}: {error.strerror}") from None


class _Plain:
    """A file as it is."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def at(self, offset: int, size: int) -> bytes:
        """Read the bytes at a place; fewer where the file ends."""
        self.file.seek(offset)
        return self.file.read(size)


class _Flat:
    """A flattened file as if it were written: each piece at its place."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        self.file = file
        self.places: list[tuple[int, int, int]] = []
        """Offset, size, and where in the stream."""
        for piece in self._pieces(source):
            self.places.append(piece)
            if len(self.places) > MAX_PIECES:
                raise UsageError(f"{shown(source)}: more than {MAX_PIECES} pieces")
        self.places.sort(key=lambda one: one[0])
        self.offsets = [one[0] for one in self.places]

    def _pieces(self, source: str) -> Iterator[tuple[int, int, int]]:
        at = _FLAT_HEADER
        end = self.file.seek(0, 2)
        while True:
            self.file.seek(at)
            head = self.file.read(_PIECE.size)
            if len(head) < _PIECE.size:
                raise UsageError(f"{shown(source)}: the flattened dump is cut short: it has no end mark")
            offset, size = _PIECE.unpack(head)
            if offset == size == -1:
                return
            at += _PIECE.size
            # A damaged size would lead outside the file, or backwards, into a loop.
            if offset < 0 or not 0 <= size <= end - at:
                raise UsageError(f"{shown(source)}: the flattened dump is cut short, or damaged, at byte {at:#x}")
            yield offset, size, at
            at += size

    def at(self, offset: int, size: int) -> bytes:
        """Return the bytes written at an offset; zeros where nothing was written."""
        found = bytearray(size)
        # The piece before may reach into the range.
        first = max(bisect_right(self.offsets, offset) - 1, 0)
        for start, length, where in self.places[first:]:
            if start >= offset + size:
                break
            low, high = max(start, offset), min(start + length, offset + size)
            if low < high:
                self.file.seek(where + low - start)
                found[low - offset : high - offset] = self.file.read(high - low)
        return bytes(found)


def _read(dump: _Plain | _Flat, source: str, *, flat: bool) -> Brought:
    raw = dump.at(0, _HEADER.size)
    if len(raw) < _HEADER.size or raw[:8] not in _SIGNATURES:
        raise UsageError(f"{shown(source)}: not a header of makedumpfile's")
    _, layout, uname, status, block, sub_blocks, bitmap_blocks, pages, *_, written = _HEADER.unpack(raw)
    if block not in (4096, 8192, 16384, 65536) or not 0 < sub_blocks < 1024:
        raise UsageError(f"{shown(source)}: pages of {block} bytes, a sub-header of {sub_blocks} of them: not a dump")
    sub = dump.at(block, _SUB.size).ljust(_SUB.size, b"\0")
    level, split, first, last, *_, first64, last64, pages64 = _SUB.unpack(sub)[1:]
    # Since version 6 the numbers have 64-bit fields; the old ones hold what fits, and may be wrong.
    pages = pages64 if layout >= 6 and pages64 else pages
    first, last = (first64, last64) if layout >= 6 else (first, last)
    size = bitmap_blocks * block // 2
    if not pages <= size * 8 or 2 * size > MAX_BITMAP:
        raise UsageError(f"{shown(source)}: {pages} pages in bitmaps of {size} bytes: not a dump")
    start = (1 + sub_blocks) * block
    ram = _runs(dump, start, pages, source)
    held = [_inside(dump, start + size, low, high, source) for low, high in ram]
    spans = [f"{low * block:#x}-{high * block - 1:#x}" for low, high in ram]
    count, there = sum(high - low for low, high in ram), sum(held)
    facts = [
        Fact("dump", "format", f"version {layout}{', flattened' if flat else ''}"),
        Fact(
            "dump",
            "system",
            shown(
                uname[:65].rstrip(b"\0").decode("ascii", "replace")
                + " "
                + uname[130:195].rstrip(b"\0").decode("ascii", "replace")
            ),
        ),
        Fact("dump", "RAM", count * block),
        Fact("dump", "pages in the file", f"{there} of {count}"),
        Fact("dump", "memory in the file", there * block),
        Fact("dump", "left out", _left_out(level)),
    ]
    if split:
        facts.append(Fact("dump", "one of several files, with pages", f"{first}-{last}"))
    facts += [
        Fact(span, "in the file", f"{inside * block} of {(high - low) * block} bytes")
        for span, (low, high), inside in zip(spans, ram, held, strict=True)
    ]
    lacks: tuple[str, ...] = ("the dump is not complete: its writer was interrupted",) if status & 0x8 else ()
    if not split and written and there != written and not flat:
        lacks += (f"{written} pages were written, and {there} are marked as there",)
    return Brought({RANGES: Section.of(spans)}, tuple(facts), lacks, at_least=bool(lacks))


def _left_out(level: int) -> str:
    return ", ".join(words for bit, words in _LEVELS if level & bit) or "nothing"


def _inside(dump: _Plain | _Flat, offset: int, low: int, high: int, source: str) -> int:
    """Count the bits set from `low` to `high` of a bitmap."""
    total = 0
    while low < high:
        stop = min(high, (low // 8 + _CHUNK) * 8)
        data = _bitmap(dump, offset + low // 8, -(-stop // 8) - low // 8, source)
        total += (int.from_bytes(data, "little") >> low % 8 & ((1 << stop - low) - 1)).bit_count()
        low = stop
    return total


def _bitmap(dump: _Plain | _Flat, offset: int, size: int, source: str) -> bytes:
    """A part of a bitmap. Raises UsageError where the dump ends before it."""
    bits = dump.at(offset, size)
    if len(bits) < size:
        raise UsageError(f"{shown(source)}: the dump is cut short: it ends within its bitmaps")
    return bits


def _runs(dump: _Plain | _Flat, offset: int, pages: int, source: str) -> list[tuple[int, int]]:
    """The runs of pages whose bits are set, half-open and ascending."""
    runs: list[tuple[int, int]] = []
    size = -(-pages // 8)
    for at in range(0, size, _CHUNK):
        bits = _bitmap(dump, offset + at, min(_CHUNK, size - at), source)
        for low, high in _runs_of(bits):
            first, stop = at * 8 + low, min(at * 8 + high, pages)
            if runs and runs[-1][1] == first:
                runs[-1] = (runs[-1][0], stop)
            elif first < stop:
                runs.append((first, stop))
        if len(runs) > MAX_RANGES:
            raise UsageError(f"{shown(source)}: more than {MAX_RANGES} ranges of RAM: not a dump")
    return runs


def _runs_of(bits: bytes) -> Iterator[tuple[int, int]]:
    """The runs of set bits, the lowest of a byte first: in big steps over bytes that are all alike."""
    at, end = 0, len(bits) * 8
    # The bit above all others keeps leading zeros in bin(); the slice turns the digits round and leaves it out, with
    # `0b`.
    text = bin(int.from_bytes(bits, "little") | 1 << end)[:2:-1]
    while (start := text.find("1", at)) >= 0:
        stop = text.find("0", start)
        at = end if stop < 0 else stop
        yield start, at
        if at >= end:
            return
