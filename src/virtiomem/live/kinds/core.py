"""An ELF core file, and what `readelf -l` says about one: which memory is in it.

The program headers are read by `kdump.elfcore`, the reader that is held against pyelftools and readelf in the tests.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from virtiomem.errors import UsageError
from virtiomem.kdump import elfcore
from virtiomem.live.capture import Section
from virtiomem.live.kinds.values import RANGES, Brought, Fact
from virtiomem.text import quoted, shown
from virtiomem.units import U64_MAX

_HEX = r"0x([0-9a-f]{1,16})"
_HEADER = re.compile(rf"\s*(?P<type>LOAD|NOTE)\s+{_HEX}\s+{_HEX}\s+{_HEX}(?:\s+{_HEX}\s+{_HEX}\s+.*)?")
_REST = re.compile(rf"\s*{_HEX}\s+{_HEX}\s+(?:[RWE ]{{1,4}}\s+)?(?:0x)?[0-9a-f]*\s*")
_COUNT = re.compile(r"There are ([0-9]{1,9}) program headers")


def read(path: str | Path, source: str = "") -> Brought:
    """Read a file in place, or the text of readelf. Raises UsageError for what is neither, or is cut."""
    if source:
        return _found(_of_text(str(path), source))
    return _found(elfcore.load(path))


def _of_text(text: str, source: str) -> Iterator[elfcore.ProgramHeader]:
    """The program headers that readelf shows, on one line each (-W) or on two."""
    lines = iter(enumerate(text.splitlines(), 1))
    seen = 0
    for number, line in lines:
        if not (match := _HEADER.fullmatch(line)):
            continue
        numbers = [int(one, 16) for one in match.groups()[1:] if one]
        # Without -W readelf breaks each header in two lines.
        if len(numbers) == 3:
            rest = _REST.fullmatch(next(lines, (0, ""))[1])
            if rest is None:
                raise UsageError(f"{shown(source)}:{number}: a program header that is cut: {quoted(line)}")
            numbers += [int(one, 16) for one in rest.groups()[:2]]
        seen += 1
        offset, vaddr, paddr, filesz, memsz = numbers
        yield elfcore.ProgramHeader(elfcore.SegmentType[match["type"]], 0, offset, vaddr, paddr, filesz, memsz)
    # A line lost in copying leaves a table that reads well: only the count tells.
    if (said := _COUNT.search(text)) and int(said[1]) != len(
        re.findall(r"(?m)^\s*[A-Z][A-Z_0-9]+\s+0x[0-9a-f]+ 0x", text)
    ):
        raise UsageError(
            f"{shown(source)}: lines are missing: {said[1]} program headers are said, {seen} of memory and notes are there"
        )


def _found(headers: Iterable[elfcore.ProgramHeader]) -> Brought:
    """Return the dumped ranges, and where the kernel sees each."""
    table = list(headers)
    loads = sorted(
        (one for one in table if one.type == elfcore.SegmentType.LOAD and one.memsz), key=lambda one: one.paddr
    )
    facts = [Fact("dump", "ranges", str(len(loads))), Fact("dump", "memory", sum(one.memsz for one in loads))]
    empty = sum(one.memsz - min(one.filesz, one.memsz) for one in loads)
    facts.append(Fact("dump", "of that not in the file", empty))
    ranges = [f"{one.paddr:#x}-{min(one.paddr + one.memsz - 1, U64_MAX):#x}" for one in loads]
    facts += [Fact(span, "size", one.memsz) for span, one in zip(ranges, loads, strict=True)]
    return Brought({RANGES: Section.of(ranges)}, tuple(facts))
