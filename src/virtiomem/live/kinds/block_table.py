"""The output of lsmem, in every style: table, JSON, pairs, raw, with or without headings; s390-tools' lsmem, too.

Read are RANGE, SIZE, STATE, REMOVABLE, BLOCK, NODE and ZONES, in any order and of any choice that has the ranges; other
columns are said to be left out. A row's first block is where its range starts, in memory blocks; how large these are
says a row with BLOCK, else the summary.

Sources: sys-utils/lsmem.c (util-linux 2.36 to 2.42), the lsmem of s390-tools 1.x.
"""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from virtiomem.errors import UsageError
from virtiomem.live.block_lines import MAX_BLOCKS, block_lines
from virtiomem.live.capture import MEMORY, Section
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.live.lsmem import human_size
from virtiomem.live.sysfs import is_block_size
from virtiomem.notation import NotationError, json_values
from virtiomem.recording.values import MemoryBlock
from virtiomem.text import quoted, shown

Row = Mapping[str, str]
"""Cells by column."""
_RANGE = re.compile(r"0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})")
_SUMMARY = re.compile(
    r"(?P<what>Memory (?:block|device) size|Total (?:online|offline) memory|Memmap on memory parameter) *: *(?P<value>.+)"
)
_PAIR = re.compile(r'(?P<name>[A-Z_:-]+)="(?P<value>[^"]*)"')
_BLOCKS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([BKMGTPE]?)i?B?")
_STATES = {"on->off": "going-offline"}
_READ = ("RANGE", "SIZE", "STATE", "REMOVABLE", "BLOCK", "NODE", "ZONES")
_S390 = ("RANGE", "SIZE", "STATE", "REMOVABLE", "DEVICE")
_PLAIN = ("RANGE", "SIZE", "STATE", "REMOVABLE", "BLOCK")


def read(text: str, source: str) -> Brought:
    """Read a table as memory blocks. Raises UsageError, with the line, for a row that is not of a table, and where rows
    are missing.
    """
    table = _LsmemTable(source)
    table.read(text)
    blocks = table.blocks()
    table.check_totals(blocks)
    section = Section.of([f"block_size_bytes {table.block_size:x}", *block_lines(blocks)])
    left = [name for name in dict.fromkeys(name for _, cells in table.rows for name in cells) if name not in _READ]
    remarks = (f"columns that are not read: {shown(', '.join(left))}",) if left else ()
    return Brought(
        {MEMORY: section}, tuple(Fact("summary", what, value) for what, value in table.summary.items()), remarks
    )


class _LsmemTable:
    """A table as it is read."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows: list[tuple[int, Row]] = []
        self.summary: dict[str, str] = {}
        self.block_size = 0

    def read(self, text: str) -> None:
        """Take the rows and the summary out of a text."""
        if text.lstrip().startswith("{"):
            return self._read_json(text)
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1)]
        marks = {line[: len(line) - len(line.lstrip("> |"))].strip() for _, line in lines if line.strip()}
        # Every line behind the same mark is a quotation, as mail and chat have it.
        if len(marks) == 1 and (mark := marks.pop()):
            lines = [(number, line.lstrip().removeprefix(mark).removeprefix(" ")) for number, line in lines]
        ends: list[tuple[str, int]] = []
        for number, line in lines:
            if not line.strip() or set(line.strip()) <= {"="} or line.lstrip().startswith(("$ ", "# ")):
                continue
            if match := _SUMMARY.fullmatch(line.strip()):
                self.summary[match["what"]] = match["value"].strip()
            elif heading := _heading(line):
                ends = heading
            elif pairs := _PAIR.findall(line):
                self.rows.append((number, {name.replace("_", "-"): value for name, value in pairs}))
            elif _RANGE.search(line):
                self.rows.append((number, self._cells(number, line, ends)))
            else:
                self._refuse(number, f"not a line of lsmem's: {quoted(line)}")
        return None

    def _read_json(self, text: str) -> None:
        try:
            rows = json_values(text)["memory"]
            for number, row in enumerate(rows, 1):
                self.rows.append((number, {name.upper(): _cell(value) for name, value in row.items()}))
        except (NotationError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{shown(self.source)}: not the JSON of lsmem: {shown(error)}") from None

    def _cells(self, number: int, line: str, ends: list[tuple[str, int]]) -> Row:
        """A row's cells: word by word where none is empty, else by where each column ends."""
        words = line.split()
        names = [name for name, _ in ends] or list(_PLAIN)
        # An offline block's REMOVABLE is empty, so the number of words alone tells whether a row is complete.
        if len(words) == len(names):
            return dict(zip(names, words, strict=True))
        raw = line.split(" ")
        if len(raw) == len(names):  # --raw: an empty cell is nothing between two blanks
            return dict(zip(names, raw, strict=True))
        if not ends and len(words) == len(names) - 1:  # no headings: only what is offline has no REMOVABLE
            return dict(zip([name for name in names if name != "REMOVABLE"], words, strict=True))
        cells: dict[str, str] = {}
        start = 0
        for name, end in ends:
            cells[name] = line[start:end].strip()
            start = end
        if len(line.rstrip()) > start or any(" " in cell for cell in cells.values()) or not cells:
            self._refuse(number, f"a row that does not fit the headings: {quoted(line)}")
        return cells

    def blocks(self) -> list[MemoryBlock]:
        """The memory blocks of all rows, ascending."""
        if not self.rows:
            raise UsageError(
                f"{shown(self.source)}: totals alone, with no ranges: `lsmem` without --summary=only has them"
            )
        self.block_size = self._size_of_blocks()
        blocks: list[MemoryBlock] = []
        for number, cells in self.rows:
            start, end = self._range(number, cells)
            first, stop = start // self.block_size, (end + 1) // self.block_size
            if start % self.block_size or (end + 1) % self.block_size or stop - first > MAX_BLOCKS - len(blocks):
                self._refuse(number, f"{cells['RANGE']} is not whole memory blocks of {human_size(self.block_size)}")
            if (numbers := cells.get("BLOCK")) and numbers not in (
                f"{first}-{stop - 1}",
                f"{first}" * (stop - first == 1),
            ):
                self._refuse(number, f"{cells['RANGE']} is not the blocks {quoted(numbers)}")
            if blocks and first <= blocks[-1].block:
                self._refuse(number, f"{cells['RANGE']} does not follow the row above")
            state = cells.get("STATE", "online").lower()
            removable, node, zones = cells.get("REMOVABLE", ""), cells.get("NODE", ""), cells.get("ZONES", "")
            blocks += (
                MemoryBlock(
                    block=block,
                    state=_STATES.get(state, state),
                    removable=int(removable in ("yes", "1", "true")),
                    valid_zones=zones.replace("/", " "),
                    nodes=[int(node)] if node.isdecimal() and len(node) < 6 else [],
                )
                for block in range(first, stop)
            )
        return blocks

    def _range(self, number: int, cells: Row) -> tuple[int, int]:
        match = _RANGE.fullmatch(cells.get("RANGE", ""))
        if match is None or int(match[2], 16) < int(match[1], 16):
            self._refuse(number, f"a row without a range: {quoted(' '.join(cells.values()))}")
        return int(match[1], 16), int(match[2], 16)

    def _size_of_blocks(self) -> int:
        """Bytes of a memory block: of a row with its numbers, else what the summary says."""
        for number, cells in self.rows:
            if match := _BLOCKS.fullmatch(cells.get("BLOCK", "")):
                start, end = self._range(number, cells)
                size, rest = divmod(end - start + 1, int(match[2] or match[1]) - int(match[1]) + 1)
                if rest or not is_block_size(size) or start // size != int(match[1]):
                    self._refuse(number, f"{cells['RANGE']} is not the blocks {quoted(cells['BLOCK'])}")
                return size
        said = self.summary.get("Memory block size", "")
        size = _bytes(said)
        if not is_block_size(size):
            reason = (
                f"{quoted(said)} is not a block size"
                if said
                else "neither BLOCK nor a summary says how large blocks are"
            )
            raise UsageError(f"{shown(self.source)}: {reason}")
        return size

    def check_totals(self, blocks: list[MemoryBlock]) -> None:
        """Refuse a table whose rows are not what its summary counts: some are missing, or are of blocks in several states."""
        # A row that was lost in copying leaves a table which reads well; only the summary knows.
        online = sum(block.state == "online" for block in blocks) * self.block_size
        sizes = {"online": online, "offline": len(blocks) * self.block_size - online}
        said = {what: text for what in sizes if (text := self.summary.get(f"Total {what} memory"))}
        whole = len(said) == 2 and sum(map(_bytes, said.values())) == sum(sizes.values())
        reason = "rows have blocks of several states, which `lsmem -S state` splits" if whole else "rows are missing"
        for what, text in said.items():
            if text not in (human_size(sizes[what]), str(sizes[what])) and _bytes(text) != sizes[what]:
                raise UsageError(
                    f"{shown(self.source)}: {reason}: {human_size(sizes[what])} in them are {what}, "
                    f"and the summary says {quoted(text)}"
                )

    def _refuse(self, number: int, reason: str) -> NoReturn:
        raise UsageError(f"{shown(self.source)}:{number}: {reason}")


def _heading(line: str) -> list[tuple[str, int]]:
    """The columns of a line of headings, and where each ends; empty for any other line."""
    words = list(re.finditer(r"\S+", line))
    if line.startswith("Address range"):  # s390-tools: headings of two words, a number for each device of some blocks
        return [(name, 0) for name in _S390]
    names = [word[0] for word in words]
    known = "RANGE" in names and all(re.fullmatch(r"[A-Z][A-Z0-9:_-]*", name) for name in names)
    if not known:
        return []
    ends = [word.end() for word in words]
    if names[0] == "RANGE" and len(words) > 1:  # aligned to the left: it ends where the next may begin
        # A range is 37 characters wide, and a blank ends it.
        ends[0] = ends[0] if words[1].start() - words[0].end() < 2 else max(ends[0], 38)
    return list(zip(names, ends, strict=True))


def _cell(value: Any) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _bytes(text: str) -> int:
    """A size as lsmem writes it; 0 for none."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(match[1]) > 20:
        return 0
    return int(float(match[1]) * (1 << 10 * "BKMGTPE".index(match[2] or "B")))
