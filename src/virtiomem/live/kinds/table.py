"""All kinds of input: one row a kind. A new kind is a row here and a module next to it.

A kind is recognised by its beginning. What it gives are headings of a capture; a command takes every kind that gives
what it needs.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from virtiomem.errors import UsageError
from virtiomem.live.capture import FORMAT, MEMORY
from virtiomem.live.kinds.values import RANGES, Brought
from virtiomem.text import quoted

IOMEM = "proc/iomem"
HEAD = 1 << 16
"""Bytes at the beginning that tell a kind."""
_PLAIN_LISTING = re.compile(rb"[0-9a-f]{4,16}-[0-9a-f]{4,16} : [^\n]*\n *[0-9a-f]{4,16}-[0-9a-f]{4,16} : ")
"""How what is read most often begins: nothing else need be asked."""

TAKEN: dict[str, tuple[str, ...]] = {
    "iomem": (IOMEM,),
    "map": (IOMEM,),
    "kdump": (IOMEM,),
    "kdump --against": (RANGES,),
    "blocks": (MEMORY,),
    "explain": (MEMORY,),
}
"""What each command needs of its input; `read` takes whatever there is."""
LACKING = {IOMEM: "no /proc/iomem", MEMORY: "no memory blocks", RANGES: "no ranges of a dump"}
"""What is said about a kind that has it not."""


class Kind(NamedTuple):
    """A kind of input."""

    name: str
    """What `--from` calls it."""
    words: str
    """What it is, in a sentence: `… is WORDS`."""
    looks: str
    """What it looks like, for people."""
    pattern: str = ""
    """A regular expression that is found in its beginning; `^` and `$` are those of lines."""
    gives: tuple[str, ...] = ()
    """Headings of the capture that it becomes."""
    module: str = ""
    """The module next to this one that reads it: `read(text, source)`, or `read(path)` for what is read in place."""
    refuses: str = ""
    """What its reader refuses, with the line where there are lines."""
    magic: tuple[bytes, ...] = ()
    """How a file begins that is not a text, and is read in place: it may be larger than memory."""
    instead: str = ""
    """What to do with a kind that no command reads as what a Linux says about its memory."""

    @property
    def in_place(self) -> bool:
        """True if its reader takes a path."""
        return (bool(self.magic) and not self.instead) or self.name == "folder"

    @property
    def verbs(self) -> list[str]:
        """The commands that take it, most telling first."""
        return [*(verb for verb, needs in TAKEN.items() if set(needs) <= set(self.gives)), "read"]

    @property
    def takers(self) -> str:
        """The commands that take this kind, as the end of a sentence."""
        return self.instead or f"{' or '.join(f'`virtiomem {verb}`' for verb in self.verbs)} takes it"

    def reader(self) -> Callable[..., Brought]:
        """Its reader, imported when it is needed."""
        read: Callable[..., Brought] = import_module(f"{__package__}.{self.module}").read
        return read


CAPTURE = Kind(
    "capture",
    "a capture",
    f"`{FORMAT}`",
    rf"\A(?:\s*\{{[\s\S]{{0,200}}?)?{FORMAT}",
    (IOMEM, MEMORY),
    refuses="a last line that is not `# end`; a heading that stands twice; lines outside a heading",
)
RECORDING = Kind(
    "recording",
    "a recording",
    '`{"format": "virtiomem-recording/…"`',
    r'\A\s*\{\s*"format": *"virtiomem-rec',
    (IOMEM, MEMORY),
    refuses="invalid JSON; another format; values that no guest has; a key that stands twice",
)
LISTING = Kind(
    "listing",
    "a listing of /proc/iomem",
    "`00100000-7fffffff : System RAM`, however damaged",
    r"^[^\n]{0,40}?[0-9a-f]{8,16}-[0-9a-f]{8,16} : ",
    (IOMEM,),
    refuses="every damage, with its kind and its cure; `--lenient` reads on ([iomem.md](iomem.md#damaged-listings))",
)
KINDS: tuple[Kind, ...] = (
    CAPTURE,
    RECORDING,
    Kind(
        "elf",
        "an ELF core file",
        "a vmcore, or its header alone (binary)",
        magic=(b"\x7fELF",),
        gives=(RANGES,),
        module="core",
        refuses="what is not an ELF64 little-endian core file; an end within the program headers",
    ),
    Kind(
        "kdump",
        "a dump that makedumpfile compressed",
        "a vmcore of `makedumpfile -c`, `-l`, `-p` or of QEMU's `dump-guest-memory -z`, flattened or not (binary)",
        magic=(b"KDUMP   ", b"DISKDUMP", b"makedumpfile\0\0\0\0"),
        gives=(RANGES,),
        module="crash_dump",
        refuses="an end within the bitmaps, or without end mark; counts that no dump has; standard input",
    ),
    Kind(
        "folder",
        "a folder of a machine's files",
        "what sosreport packs, or `/` of a copy",
        gives=(IOMEM, MEMORY),
        module="folder",
        refuses="a folder with nothing of a capture in it; a file in it that its kind refuses is said and left out",
    ),
    Kind(
        "libvirt",
        "a libvirt domain",
        "`<domain type='kvm'>`, of `virsh dumpxml`",
        r"<domain(?:snapshot|status)?[\s>]",
        module="domain_xml",
        refuses="a document type or an entity; a size beyond 2^64, or in a unit that libvirt does not know; XML that is not closed",
    ),
    Kind(
        "readelf",
        "the output of readelf -l",
        "`Program Headers:`",
        r"^Program Headers:",
        (RANGES,),
        "core",
        refuses="a program header that is cut; fewer of them than are said",
    ),
    Kind(
        "lsmem",
        "the output of lsmem",
        "`RANGE SIZE STATE REMOVABLE BLOCK`; also of `-a`, `-b`, `-J`, `-P`, `-r`, `-o`, and of s390-tools",
        r"^[> ]*RANGE +(?:SIZE(?! +(?:BAR|NAME))|STATE|BLOCK|NODE)|^Address range +Size|^RANGE=\"0x|\"range\": *\"0x|^Memory block size *:"
        r"|^0x[0-9a-f]{16}-0x[0-9a-f]{16} ",
        (MEMORY,),
        "block_table",
        refuses="a row that does not fit the headings; blocks that are not the range; rows that the totals say are missing; totals alone",
    ),
    Kind(
        "pagetypeinfo",
        "/proc/pagetypeinfo",
        "`Page block order: 9`",
        r"^Page block order: ",
        ("proc/pagetypeinfo",),
        "free_pages",
    ),
    Kind(
        "zoneinfo",
        "/proc/zoneinfo",
        "`Node 0, zone   Normal` with `pages free` below",
        r"^Node +[0-9]+, zone +\w+ *\n(?:[^\n]*\n){0,20}? +pages free ",
        ("proc/zoneinfo",),
        "free_pages",
    ),
    Kind(
        "buddyinfo",
        "/proc/buddyinfo",
        "`Node 0, zone   Normal` with free blocks of each order behind",
        r"^Node +[0-9]+, zone +\w+(?: +[0-9]+){4,} *$",
        ("proc/buddyinfo",),
        "free_pages",
        refuses="a text without a zone",
    ),
    Kind(
        "qmp",
        "a QMP transcript",
        '`{"QMP": …}`, `{"execute": …}`, `{"return": …}`, `{"event": …}`',
        r'^[^{\n]{0,40}\{ *"(?:QMP|execute|return|event|timestamp|error)" *:',
        module="monitor",
        refuses="a message that is cut; a transcript in which nothing is of memory",
    ),
    Kind(
        "hmp",
        "a QEMU monitor's output",
        "`info memory-devices`: `Memory device [virtio-mem]: …`; `info memory_size_summary`: `base memory: …`",
        r"^Memory device \[|^base memory: [0-9]",
        module="monitor",
        refuses="an output in which nothing is of memory",
    ),
    Kind(
        "jc",
        "resources as JSON",
        "`jc --proc-iomem`, `virtiomem iomem -J`, `vol -r json linux.iomem`",
        r'\A\s*(?:\[\s*\{\s*"(?:start|END)"\s*:|\{\s*"iomem"\s*:)',
        (IOMEM,),
        "resources",
        refuses="an invalid address; a resource without a name",
    ),
    Kind(
        "volatility",
        "volatility's table of resources",
        "`NAME / START / END` (`vol linux.iomem`, also of `-r pretty`, `csv`); `PCI mem  0x0  0xFFFF` (linux_iomem)",
        r"^(?i:(?:TreeDepth,)?NAME[\t,]START[\t,]END| *\| +NAME +\| +START +\| +END)|^\S[^\t\n]{0,200}\t0x[0-9A-F]{1,16} *\t0x[0-9A-F]{1,16} *$",
        (IOMEM,),
        "resources",
        refuses="an invalid row",
    ),
    Kind(
        "crash",
        "crash's table of resources",
        "`RESOURCE RANGE NAME`, of `dev -i`",
        r"^ *RESOURCE +RANGE +NAME",
        (IOMEM,),
        "resources",
        refuses="an invalid row",
    ),
    LISTING,
    Kind(
        "dmesg",
        "a kernel log",
        "`virtio_mem virtio0: requested size: 0x…`; with or without times, of dmesg, a journal or a console",
        r"virtio_mem virtio[0-9]+: |^(?:<[0-9]+>)?\[ *[0-9]+\.[0-9]{6}\]|^[^\n]{0,80} kernel: ",
        ("dev/kmsg",),
        "kernel_log",
    ),
)
"""In the order in which they are asked."""

_PACKED = {
    "xz": (b"\xfd7zXZ\0", "xz -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd", "zstd -dc"),
    "bzip2": (b"BZh", "bzip2 -dc"),
    "zip": (b"PK\x03\x04", "unzip -p"),
}
OTHERS: tuple[Kind, ...] = (
    Kind(
        "sweep",
        "a sweep",
        "a scenario with `[parameters]` or a `[workload]`",
        r"(?m)\A(?=\s*+[#\w\[])[\s\S]*?^(?:\[parameters[\].]|\[workload\]|seeds *= *[0-9])",
        instead="`virtiomem sweep` plays it, and `virtiomem run --from-sweep FILE RUN` one run of it",
    ),
    Kind(
        "sweep rows",
        "a table of a sweep's rows",
        "`sweep,run,seed,…`; of `virtiomem sweep`",
        r"\Asweep,run,seed,",
        instead="`virtiomem run --from-sweep SWEEP RUN` plays a run of it again, from the sweep file",
    ),
    Kind(
        "scenario",
        "a scenario",
        "`[guest]`, `[[step]]`",
        r"\A(?:\s*+(?:\#|\w+ *=)[^\n]*\n)*\s*+\[\[?(?:guest|driver|device|step)[\].]",
        instead="`virtiomem run` plays it, and `--record FILE` keeps a recording, which every command takes",
    ),
    Kind(
        "device log",
        "a log of requests to a device",
        '`{"op": "header", …}`',
        r'\A\s*\{"op": *"header"',
        instead="`virtiomem device replay` takes it",
    ),
    Kind(
        "check report",
        "a report of `virtiomem device check`",
        '`{"subject": …, "conforms": …`',
        r'\A\s*\{\s*"subject": *"[^\n]*",\s*"conforms":',
        instead="`virtiomem device check --against` compares with it",
    ),
    Kind(
        "table",
        "a table that `virtiomem iomem` printed",
        "`RANGE SIZE BAR NAME`",
        r"\ARANGE +SIZE +(?:BAR +)?NAME",
        instead="it is read again from what `--raw` or `--json` prints",
    ),
    Kind(
        "web page",
        "a page for a browser",
        "HTML; of `virtiomem report` and `sweep --page`",
        r"(?i)\A\s*<(?:!doctype html|html)\b",
        instead="the recordings, or the rows, that it was made of are read",
    ),
    Kind(
        "program",
        "a program, an object or a library",
        "",
        r"\A\x7fELF[\s\S]{12}[^\x04]",
        instead="of ELF files core files are read",
    ),
    Kind(
        "picture",
        "a picture",
        "SVG, PNG",
        r"\A\s*(?:<\?xml[^>]*>\s*)?<svg\b",
        magic=(b"\x89PNG", b"\xff\xd8\xff"),
        instead="what it was made of is read",
    ),
    Kind(
        "parquet",
        "a Parquet file",
        "`virtiomem sweep --rows FILE.parquet`",
        magic=(b"PAR1",),
        instead="`virtiomem run --from-sweep FILE RUN` plays a run of a sweep again",
    ),
    *(
        Kind(name, f"packed by {name}", "", magic=(magic,), instead=f"`{unpacker} FILE` unpacks it")
        for name, (magic, unpacker) in _PACKED.items()
    ),
    Kind(
        "archive", "an archive of files", "", r"\A[^\n]{257}ustar", instead="`tar -xf` unpacks it, and a folder is read"
    ),
)
"""What is known for what it is by its very beginning, though no command reads it as what a Linux says about its memory."""
_BINARY = Kind("binary", "binary data of no kind that is read", "", instead="a listing or a capture is text")
_TEXT = Kind(
    "text",
    "a text of no kind that is read",
    "",
    instead="--from KIND says what it is where its beginning does not tell",
)


def named(name: str) -> Kind:
    """The kind that `--from` names. Raises UsageError, which lists all, for none."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise UsageError(f"--from: no kind {quoted(name)} (there are {', '.join(kind.name for kind in KINDS)})")


def recognise_in_place(head: bytes) -> Kind | None:
    """Recognise, by its first bytes, a file that is read in place."""
    if not any(head.startswith(kind.magic) for kind in KINDS):  # as for every text: no pattern need be asked
        return None
    kind = recognise(head)
    return kind if kind.in_place else None


def recognise(data: bytes, needs: tuple[str, ...] = ()) -> Kind:
    """Recognise a file by its beginning; of several kinds, one that gives what is needed.

    What begins as JSON and is nothing else is a recording, and any text is a listing where a map is needed: the reader says
    what is wrong with it.
    """
    start = data[:HEAD].lstrip()
    otherwise = LISTING if IOMEM in needs or not start else _TEXT
    return known(data, needs) or (RECORDING if start.startswith(b"{") else otherwise)


def known(data: bytes, needs: tuple[str, ...] = ()) -> Kind | None:
    """Recognise a file by its beginning, where that suffices; of several kinds, one that gives what is needed."""
    if _PLAIN_LISTING.match(data):
        return LISTING
    head = data[:HEAD].decode("utf-8", "surrogateescape").replace("\r\n", "\n").removeprefix("\ufeff")
    # These first: their patterns hold at the beginning of the file, those of `KINDS` on any line of its head, which a
    # page or a scenario may quote.
    for kind in OTHERS:
        if data.startswith(kind.magic) or (kind.pattern and re.search(kind.pattern, head)):
            return kind
    for kind in KINDS:
        if data.startswith(kind.magic):
            return kind
    found = [kind for kind in KINDS if kind.pattern and re.search(kind.pattern, head, re.MULTILINE)]
    useful = (kind for kind in found if needs and set(needs) <= set(kind.gives))
    return next(useful, found[0] if found else _BINARY if "\0" in head else None)
