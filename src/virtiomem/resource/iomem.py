r"""Read and write the text of /proc/iomem: `load`, `loads`, `dump`, `dumps`, as in json.

::

    00100000-7ffdffff : System RAM
      40e00000-41c01ef1 : Kernel code
    140000000-33fffffff : virtio0
      140000000-1bfffffff : System RAM (virtio_mem)

One line a resource, depth first, the root not shown: two spaces a level but never more than ten, so that lines from the sixth
level on share an indent; start and end in lower-case hexadecimal, at least eight digits (four in /proc/ioports); the name.
An opener without CAP_SYS_ADMIN gets zeros for all addresses.

Reading is strict: what the kernel cannot have printed is a ListingError with the line and the reason, so that `dumps(loads(text))`
is `text`, byte for byte, except the final newline, which a whole line may lack. A name with something behind it is damage, too:
code that looks for `System RAM` would not match it (see `resource.spoiled`; what to do with damaged listings, as people paste
them, is `virtiomem.listing.repair`'s job). Flags and descs, which the text does not show, follow from the names: see
`resource.meanings`. Equal names are one object, as `sys.intern` gives it.

Models: the seq_file part of kernel/resource.c (v6.1).
"""

import re
import struct
from collections.abc import Iterable, Iterator
from operator import le, lt
from os import PathLike
from typing import IO

from virtiomem import border
from virtiomem.errors import ArgumentTypeError, ListingError, MaskedListingError
from virtiomem.files import StrPath, read_bytes
from virtiomem.gcpause import paused
from virtiomem.resource.children import Children
from virtiomem.resource.flags import IORESOURCE_IO, Desc
from virtiomem.resource.meanings import E820_LOW, meaning_of
from virtiomem.resource.names import is_known
from virtiomem.resource.node import Resource, Trusted, overlapping_descendants
from virtiomem.resource.printed import MAX_SHOWN_DEPTH, listing
from virtiomem.resource.spoiled import what_is_spoiled
from virtiomem.resource.tree import ResourceTree
from virtiomem.text import MAX_VALUE, described, quoted, shown

# A name may be empty, but it does not end in a tab or carriage return: editors and mailers add those.
_LINE = r"^( *)({0})-({0}) : (.*[^\t\r\n]|)$"
# Linux prints %08llx: eight digits filled up with zeros, or more digits without a zero in front.
_MEM_LINE = re.compile(_LINE.format("[1-9a-f][0-9a-f]{7,15}|0[0-9a-f]{7}"), re.MULTILINE)
_IO_LINE = _LINE.format("[0-9a-f]{4}")
_LOOSE_LINE = r"(\s*)([0-9a-fA-F]+)-([0-9a-fA-F]+) : (.*)"
_MASKED = r"(?: *(?:0000-0000|00000000-00000000) : .*(?:\n|\Z))+"
_FIRST_BLOCK, _LARGEST_BLOCK = 1 << 11, 1 << 16
"""Characters read at a time: twice as many each time, up to where the matches that are alive at once would take too much memory."""

Row = tuple[str, str, str, str]
"""Indent, start, end, name: the columns of a line, as text."""
Addresses = tuple[int, ...]


def load(file: StrPath | IO[str] | IO[bytes], *, source: str | None = None, allow_masked: bool = False) -> ResourceTree:
    """Read a listing from a path or an open file: see `loads`. `source` names it in errors; else its own name does.

    Raises UsageError for a path that cannot be read.
    """
    if isinstance(file, str | PathLike):
        return loads(read_bytes(file), source=source or str(file), allow_masked=allow_masked)
    if not callable(getattr(file, "read", None)):
        raise ArgumentTypeError(f"file must be a path or an open file (loads takes the text), not {described(file)}")
    name = getattr(file, "name", None)
    return loads(file.read(), source=source or (name if isinstance(name, str) else None), allow_masked=allow_masked)


def loads(text: str | bytes, *, source: str | None = None, allow_masked: bool = False) -> ResourceTree:
    """Read a listing, strictly.

    Raises ListingError with the line and the reason; MaskedListingError when all addresses are hidden, unless `allow_masked`:
    then the tree has the names in their nesting, every range is [0, 0], and no operation on it makes sense but `dumps`.
    Bytes that are no UTF-8 become surrogate escapes, so that `dumps(tree).encode(errors="surrogateescape")` has them back.
    """
    border.instance("text", text, str, bytes)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    # The first line tells: few listings are of ports or masked, and what reads those is compiled only for them.
    first = text[: text.find(" : ")].lstrip(" ")
    ports = len(first) == 9 and re.match(_IO_LINE, text, re.MULTILINE) is not None
    masked = first in ("0000-0000", "00000000-00000000") and re.fullmatch(_MASKED, text) is not None
    if masked and not allow_masked:
        raise MaskedListingError(source=source)
    tree = ResourceTree()
    if ports:
        tree.name, tree.flags, tree.end = "PCI IO", IORESOURCE_IO, 0xFFFF
    pattern = re.compile(_IO_LINE, re.MULTILINE) if ports else _MEM_LINE
    reader = _Reader(tree, pattern, source, masked=masked)
    # A listing may make a million objects and no garbage: the collector would search all of them again and again.
    with paused():
        reader.read(text)
    return tree


def dump(tree: Resource, file: StrPath | IO[str]) -> None:
    """Write a listing to a path, whole or not at all, or to an open text file: see `dumps`."""
    if isinstance(file, str | PathLike):
        from virtiomem.writing import write_whole  # not above: most listings are only read

        write_whole(file, dumps(tree).encode(errors="surrogateescape"))
    else:
        file.write(dumps(tree))


def dumps(tree: Resource, *, masked: bool = False) -> str:
    """The listing of everything inside `tree`; `masked` is what a reader without CAP_SYS_ADMIN gets."""
    border.instance("tree", tree, Resource)
    return listing(tree, masked=masked)


class _Reader:
    """Builds the tree line by line; a stack holds the resources that are still open, each with its children so far."""

    def __init__(self, tree: ResourceTree, pattern: re.Pattern[str], source: str | None, *, masked: bool) -> None:
        self.pattern = pattern
        self.source = source
        self.masked = masked
        self.line = 0
        self.open: list[tuple[Resource, list[Resource]]] = [(tree, [])]

    def read(self, text: str) -> None:
        tree, siblings = self.open[0]
        # Where the next sibling has to lie: above `floor`, up to `ceiling`. For most lines no more is tested.
        parent, level, floor, ceiling = tree, 0, tree.start - 1, tree.end
        name, flags, desc, spoiled = meaning_of("")
        for block in _blocks(text):
            starts, ends = ((), ()) if self.pattern is not _MEM_LINE else _like_above(block, level, name)
            # Thousands of lines like the one above, ascending below one parent: nothing else has to be looked at.
            if starts and floor < starts[0] and ends[-1] <= ceiling and all(map(lt, ends, starts[1:])):
                siblings += [
                    Trusted(start, end, name, flags, desc, parent) for start, end in zip(starts, ends, strict=True)
                ]
                self.line += len(starts)
                floor = ends[-1]
                continue
            for indent, first, last, label in self._rows(block):
                self.line += 1
                start, end = int(first, 16), int(last, 16)
                # Also for a line that is wrong: `_find_place` says in which way.
                if len(indent) != level or start <= floor or end > ceiling or end < start:
                    parent, siblings = self._find_place(len(indent), start, end)
                    level, ceiling = len(indent), parent.end
                # Names repeat from line to line: what one means is looked up when it changes.
                if label != name:
                    name, flags, desc, spoiled = meaning_of(label)
                    if spoiled:
                        raise self._error(spoiled)
                siblings.append(Trusted(start, end, name, flags, desc, parent))
                floor = end
        if text and not text.endswith("\n") and not is_whole(name, text):
            raise self._error(f"the last line has no newline, and {quoted(name)} may be cut short")
        while self.open:
            self._close()
        # Only when every resource is closed: until then its children are not in it.
        claim_low(tree)

    def _rows(self, block: str) -> Iterable[Row]:
        """The lines as columns; raises ListingError after those above the first that is not a resource line."""
        # findall() passes over what does not match: fewer rows than lines mean damage, and then each line is tried.
        rows: list[Row] = self.pattern.findall(block)
        return rows if len(rows) == block.count("\n") + (block[-1] != "\n") else self._rows_up_to_damage(block)

    def _rows_up_to_damage(self, block: str) -> Iterator[Row]:
        for line in block.removesuffix("\n").split("\n"):
            match = self.pattern.fullmatch(line)
            if match is None:
                self.line += 1
                raise self._error(_what_is_wrong(line))
            yield match[1], match[2], match[3], match[4]

    def _find_place(self, indent: int, start: int, end: int) -> tuple[Resource, list[Resource]]:
        """The parent of a line that does not simply follow its sibling, and that parent's children so far."""
        self._go_to_level(indent)
        # From here on the indent does not say how deep a line is; its range does. A masked listing has no ranges.
        if indent == 2 * MAX_SHOWN_DEPTH and not self.masked:
            self._go_to_container(start, end)
        parent, siblings = self.open[-1]
        if not self.masked:
            self._require_room(parent, siblings, start, end)
        return parent, siblings

    def _go_to_level(self, indent: int) -> None:
        """Open the resource above, or close resources, until the children at hand are indented by `indent`."""
        depth = len(self.open) - 1
        shown = min(depth, MAX_SHOWN_DEPTH)
        level, odd = divmod(indent, 2)
        if odd:
            raise self._error(f"indented by {spaces(indent)}, not by two a level")
        if level > shown:
            siblings = self.open[-1][1]
            if level > shown + 1 or level > MAX_SHOWN_DEPTH or not siblings:
                raise self._error(f"indented by {spaces(indent)}, {_below(siblings, shown)}")
            self.open.append((siblings[-1], []))
        # At the deepest indent the range decides what is closed: see `_go_to_container`.
        elif level < MAX_SHOWN_DEPTH:
            while len(self.open) - 1 > level:
                self._close()

    def _go_to_container(self, start: int, end: int) -> None:
        """Among lines that share the deepest indent, one inside the one above it is its child."""
        siblings = self.open[-1][1]
        if siblings and siblings[-1].contains(start, end):
            self.open.append((siblings[-1], []))
            return
        while len(self.open) - 1 > MAX_SHOWN_DEPTH and not self.open[-1][0].contains(start, end):
            self._close()

    def _require_room(self, parent: Resource, siblings: list[Resource], start: int, end: int) -> None:
        if end < start:
            raise self._error(f"{start:08x}-{end:08x} ends before it starts")
        if not parent.contains(start, end):
            raise self._error(
                f"{start:08x}-{end:08x} is outside its parent {parent.start:08x}-{parent.end:08x} : {parent.name}"
            )
        if siblings and start <= siblings[-1].end:
            before = siblings[-1]
            how = "overlaps" if end >= before.start else "comes after"
            raise self._error(
                f"{start:08x}-{end:08x} {how} its sibling {before.start:08x}-{before.end:08x} : {before.name}"
            )

    def _close(self) -> None:
        parent, children = self.open.pop()
        if children:
            parent._children = Children(children)

    def _error(self, reason: str) -> ListingError:
        return ListingError(reason, line=self.line, source=self.source)


def _blocks(text: str) -> Iterator[str]:
    """Whole lines, some at a time."""
    position, size = 0, _FIRST_BLOCK
    while position < len(text):
        stop = text.find("\n", position + size) + 1 or len(text)
        yield text[position:stop]
        position, size = stop, min(2 * size, _LARGEST_BLOCK)


def _like_above(block: str, indent: int, name: str) -> tuple[Addresses, Addresses]:
    """First and last addresses of lines that go on like the one above, with its indent and name, as most of a long
    listing does.

    None where a line differs, ends before it starts, or has addresses of another width: those are read line by line.
    """
    behind = f" : {name}\n"
    width = block.find("-") - indent
    # A few lines are read faster one by one.
    if len(block) < _FIRST_BLOCK or not (8 <= width <= 16 and block.endswith(behind) and block.isascii()):
        return (), ()
    length = indent + 2 * width + len("-") + len(behind)
    lines, rest = divmod(len(block), length)
    if rest:
        return (), ()
    data = block.encode()
    expected = bytearray(f"{' ' * indent}{'0' * width}-{'0' * width}{behind}".encode() * lines)
    # Lines of one length are a table: a slice with a step is a column of it, which is much faster than a search in each line.
    # Each number is filled up to sixteen digits, so that one unpack() makes integers of them all.
    digits = bytearray(b"0" * (32 * lines))
    for place in range(width):
        for read, written in ((indent, 16 - width), (indent + width + 1, 32 - width)):
            column = data[read + place :: length]
            expected[read + place :: length] = column
            digits[written + place :: 32] = column
    # Only the digits may differ from the line above: in lower case, and without a leading zero where they are more than eight.
    is_padded = width > 8 and b"0" in digits[16 - width :: 16]
    if data != expected or digits.translate(None, b"0123456789abcdef") or is_padded:
        return (), ()
    numbers = struct.unpack(f">{2 * lines}Q", bytes.fromhex(digits.decode()))
    starts, ends = numbers[::2], numbers[1::2]
    return (starts, ends) if all(map(le, starts, ends)) else ((), ())


def spaces(number: int) -> str:
    """A number of spaces, in words."""
    return f"{number} space{'s' * (number != 1)}"


def _below(siblings: list[Resource], level: int) -> str:
    return f"below a line with {2 * level}" if siblings else "with no line above it"


def claim_low(tree: Resource) -> None:
    """Set what a name alone does not tell: the firmware's entries below 1 MiB are busy whatever they are."""
    for node in overlapping_descendants(tree, 0, E820_LOW - 1):
        # Entries of the firmware that are not busy anyway have a desc. A PCI window there has none, and stays open.
        if node.desc != Desc.NONE:
            node.set_busy(True)


def is_whole(name: str, text: str) -> bool:
    """True for the name in the last line of a text, without newline, when it is not cut short: Linux, or the text, has
    it, too.
    """
    return is_known(name) or text.count(f" : {name}\n") > 0


def _what_is_wrong(line: str) -> str:
    """Say why a line is not a resource line."""
    if not line.strip():
        return "an empty line"
    match = re.fullmatch(_LOOSE_LINE, line, re.DOTALL)
    if match is None:
        return f"not a resource line: {quoted(line)}"
    if match[1].strip(" "):
        return f"indented by {quoted(match[1])}, not by spaces"
    for number in (match[2], match[3]):
        if len(number) > 16:
            return f"{shown(number, MAX_VALUE)} is not a 64-bit address"
    if line.endswith("\r"):
        return "the line ends in a carriage return"
    if spoiled := what_is_spoiled(match[4]):
        return spoiled
    return (
        f"{match[2]}-{match[3]} is not written as the kernel does, in lower case with 8 digits or as many as it needs"
    )
