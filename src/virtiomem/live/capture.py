"""A capture: what a Linux said about its memory at one moment, in one small text file that a person can read before sending.

::

    virtiomem-capture/1
    collected 2026-11-23T03:12:45Z
    by virtiomem 0.1.0
    page-size 4096

    [proc/iomem]
     00000000-00000fff : Reserved
     00001000-0009fbff : System RAM
    [proc/cmdline] 2 of 9 parameters
     crashkernel=256M memhp_default_state=online_movable
    [proc/kpageflags] not collected
    # end

Every heading is a file or a directory of the captured Linux, with a remark when it was not there or not taken whole; the
headings are the manifest: nothing else was read. What was read follows, each line behind one space. A directory of small
files is lines of `name value`. The last line tells a whole file from one that was cut. `sources` has the table of all
headings, `collect` fills them, `script` prints a shell program that does the same where there is no Python. The file may be
compressed with gzip.
"""

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from virtiomem import border
from virtiomem.errors import ArgumentError, UsageError
from virtiomem.files import StrPath, read_bytes
from virtiomem.packed import unpack
from virtiomem.text import shown, sound

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "virtiomem-capture/1"

MAX_SIZE = 1 << 28
"""A capture unpacks to no more than this; the map of a machine with a million blocks takes a fifth of it."""

BY_HAND = "hand"
"""What a capture says that no program wrote; one that says nothing is taken for one."""
END = "# end"
"""The last line of what a program wrote; what a person wrote by hand need not have it."""

MEMORY = "sys/devices/system/memory"
"""The heading of memory blocks; as every heading, the name of a file or a directory, below the root."""

ABSENT = "absent"
DENIED = "denied"
NOT_COLLECTED = "not collected"
NO_NOTES = "no crash notes"
NO_HEADER = "no crash header"


class Section(NamedTuple):
    """One heading: the text that was read, and a remark, empty when there is nothing to remark."""

    text: str = ""
    remark: str = ""

    @classmethod
    def of(cls, lines: Iterable[str], remark: str = "") -> Self:
        """A section of lines."""
        return cls("".join(f"{line}\n" for line in lines), remark)

    @property
    def lines(self) -> list[str]:
        """The text's lines; they end in a newline and in nothing else that Python calls a line break."""
        # Not splitlines(): a form feed or U+2028 in what was read is no end of a line.
        return self.text.removesuffix("\n").split("\n") if self.text else []

    @property
    def unread(self) -> bool:
        """True if `remark` explains why the section is empty. A remark "n of m parameters" does not count."""
        return bool(self.remark) and not self.text and not self.remark.endswith(" parameters")

    @property
    def refused(self) -> bool:
        """True if something is there that could not be read."""
        return self.remark not in ("", ABSENT, NOT_COLLECTED, NO_NOTES, NO_HEADER) and not self.remark.endswith(
            " parameters"
        )

    @property
    def values(self) -> dict[str, str]:
        """A directory of small files: each name with its value."""
        return {name: value for name, _, value in (line.partition(" ") for line in self.lines)}


class Capture(NamedTuple):
    """Sections by their heading, in the order they were read."""

    sections: Mapping[str, Section]
    collected: str = ""
    """When, in UTC; empty when the file does not say."""
    by: str = ""
    said_page_size: int | None = None
    """None when the file does not say."""
    source: str = "capture"
    """Where it came from, for messages."""
    root: "Path | None" = None
    """The directory whose files it was collected from; None when it was read from a file."""
    told: tuple[str, ...] = ()
    """What there is to say about how it was read."""
    at_least: bool = False
    """Whether something may be missing from what was read."""

    def __repr__(self) -> str:
        return f"<Capture of {shown(self.source)}: {', '.join(self.sections) or 'empty'}>"

    @property
    def page_size(self) -> int:
        """Bytes of a page: what zones count."""
        from virtiomem.architecture import DEFAULT

        return self.said_page_size or DEFAULT.page_size

    @property
    def iomem_source(self) -> str:
        """Name of the listing in messages: the file that was read."""
        return self.source if self.root is None else str(self.root / "proc/iomem")

    def section(self, heading: str) -> Section:
        """A section, an absent one when the capture has none of that heading."""
        return self.sections.get(heading, Section(remark=ABSENT))

    @property
    def iomem(self) -> str:
        """The text of /proc/iomem. Raises UsageError, which says why, when the capture has none."""
        section = self.section("proc/iomem")
        if not section.text:
            raise UsageError(f"{self.source}: no /proc/iomem in it ({section.remark or 'empty'})")
        return section.text


def dumps(capture: Capture) -> str:
    """A capture as text."""
    head = {"collected": capture.collected, "by": capture.by, "page-size": capture.said_page_size}
    lines = [FORMAT, *(f"{key} {value}" for key, value in head.items() if value), ""]
    for heading, section in capture.sections.items():
        lines.append(f"[{heading}] {section.remark}".rstrip())
        # The blank keeps a line that begins with `[` or `#` from being a heading or the end.
        lines += [f" {line}" for line in section.lines]
    return "\n".join([*lines, END]) + "\n"


def dump(capture: Capture, path: StrPath) -> None:
    """Write a capture whole or not at all; compressed when the name ends in ``.gz``."""
    from virtiomem.writing import write_whole  # not above: most captures are only read

    data = dumps(capture).encode("utf-8", "surrogateescape")
    write_whole(path, _gzip(data) if os.path.splitext(path)[1] == ".gz" else data)  # noqa: PTH122 - see StrPath


def _gzip(data: bytes) -> bytes:
    """The same bytes for the same text: no time, no name."""
    # Not gzip.compress: what it writes into the header has changed between releases of Python.
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(data) + packer.flush()


def loads(data: str | bytes, *, source: str = "capture") -> Capture:
    """Read a capture, compressed or not, as text or as JSON.

    Raises UsageError with the source and the line for text that is not a capture. Headings it does not know are kept.
    """
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    raw = unpack(raw, source=source, limit=MAX_SIZE)
    if raw.lstrip().startswith(b"{"):
        from virtiomem.live.capture_json import from_json

        return from_json(raw, source)
    return _from_lines(Section(raw.decode("utf-8", "surrogateescape")).lines, source)


def load(path: StrPath) -> Capture:
    """Read a capture from a file; see `loads`."""
    return loads(read_bytes(path), source=str(path))


def _from_lines(lines: Sequence[str], source: str) -> Capture:
    """Read the text form."""
    numbered = enumerate(lines, 1)
    if (first := next(numbered, (1, ""))[1]) != FORMAT:
        raise UsageError(f"{source}:1: {first[:40]!r} is not {FORMAT!r}")
    head: dict[str, str] = {}
    sections: dict[str, tuple[list[str], str]] = {}
    body: list[str] | None = None
    for number, line in numbered:
        if line.startswith("["):
            heading, bracket, remark = line[1:].partition("]")
            if not bracket or not heading:
                raise UsageError(f"{source}:{number}: a heading without end: {line[:40]!r}")
            if heading in sections:
                raise UsageError(f"{source}:{number}: [{heading}] is there twice")
            body = []
            sections[heading] = (body, remark.strip())
        elif line.startswith(" ") and body is not None:
            body.append(line[1:])
        elif line and body is None:
            key, _, value = line.partition(" ")
            # A key that this release does not know is passed over, not refused: a later one may write more.
            head[key] = value
        elif line and not line.startswith("#"):
            raise UsageError(f"{source}:{number}: neither a heading nor a line behind a space: {line[:40]!r}")
    # A mail or a paste loses its end silently, and a shorter listing is a valid one.
    if head.get("by", BY_HAND) != BY_HAND and next(filter(None, reversed(lines))) != END:
        raise UsageError(f"{source}:{len(lines)}: the capture is cut short: its last line is not {END!r}")
    return Capture(
        {heading: Section.of(body, remark) for heading, (body, remark) in sections.items()},
        collected=head.get("collected", ""),
        by=head.get("by", ""),
        said_page_size=page_size_of(head.get("page-size"), source),
        source=source,
    )


def page_size_of(said: object, source: str) -> int | None:
    """Check the page size in the capture's head. Raises UsageError for a size that no page has."""
    if said is None:
        return None
    try:
        # Nine digits are more than any page has; int() refuses thousands of them with an error of its own.
        return border.page_size(int(said) if isinstance(said, str) and said.isdecimal() and len(said) < 9 else said)
    except ArgumentError as error:
        raise UsageError(f"{shown(source)}: {error}") from None


def to_json(capture: Capture) -> dict[str, Any]:
    """A capture as JSON's values; `manifest` says about every heading whether it was taken."""
    return {
        "format": FORMAT,
        "collected": capture.collected,
        "by": capture.by,
        **({"page-size": capture.said_page_size} if capture.said_page_size else {}),
        "manifest": {heading: section.remark or "whole" for heading, section in capture.sections.items()},
        "sections": {heading: [sound(line) for line in section.lines] for heading, section in capture.sections.items()},
    }
