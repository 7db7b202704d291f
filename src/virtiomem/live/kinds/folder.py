"""Folder of a machine's files: a copy of its root, a sosreport unpacked, a folder into which proc/iomem and dmesg were copied.

Sources: sos/report/plugins/pci.py (proc/iomem), memory.py (lsmem, proc/pagetypeinfo), kernel.py (dmesg, proc/buddyinfo,
proc/zoneinfo) of sos 4; what a command printed is in sos_commands/PLUGIN, in a file named as the command with `_`
between words.
"""

from collections.abc import Iterator
from pathlib import Path

from virtiomem.errors import UsageError, VirtiomemError
from virtiomem.files import MAX_LISTING, read_bytes
from virtiomem.live.capture import MEMORY, Section
from virtiomem.live.collect import collect
from virtiomem.live.kinds import block_table, free_pages, kernel_log
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.text import shown

_ELSEWHERE = (
    ("proc/iomem", ("iomem", "proc_iomem"), None),
    (
        MEMORY,
        (
            "sos_commands/memory/lsmem_-a_-o_RANGE_SIZE_STATE_REMOVABLE_ZONES_NODE_BLOCK",
            "sos_commands/memory/lsmem*",
            "lsmem*",
        ),
        block_table.read,
    ),
    ("dev/kmsg", ("sos_commands/kernel/dmesg*", "var/log/dmesg", "dmesg*"), kernel_log.read),
    ("proc/buddyinfo", ("proc/buddyinfo", "buddyinfo"), free_pages.read),
    ("proc/pagetypeinfo", ("proc/pagetypeinfo", "pagetypeinfo"), free_pages.read),
)
"""What is in another place than on a machine, or is what a command printed."""


def read(path: str | Path) -> Brought:
    """Read what a capture would hold, from where it stands in the folder. Raises UsageError where none of them exists."""
    root = _root(Path(path))
    sections = {heading: section for heading, section in collect(root).sections.items() if section.text}
    facts: list[Fact] = []
    remarks: list[str] = []
    for heading, places, reader in _ELSEWHERE:
        # A file of the machine itself is better than what a command printed of it.
        if heading in sections or not (found := next(_there(root, places), None)):
            continue
        try:
            # A damaged file costs its own section, not those that are sound: it is remarked.
            text = read_bytes(found, limit=MAX_LISTING).decode("utf-8", "surrogateescape")
            read_as = Brought({heading: Section(text)}) if reader is None else reader(text, str(found))
        except VirtiomemError as error:
            remarks.append(str(error))
            continue
        sections |= read_as.sections
        facts += read_as.facts
        remarks.append(f"{heading} is from {shown(found.relative_to(root))}")
    if not sections:
        raise UsageError(
            f"{shown(path)}: a folder with nothing in it that a capture holds (proc/iomem, sys/devices/system/memory, …)"
        )
    return Brought(sections, tuple(facts), tuple(remarks))


def _root(path: Path) -> Path:
    """The folder itself, or the only one in it, as archives unpack."""
    try:
        inside = [one for one in sorted(path.iterdir())[:100] if one.is_dir()] if not (path / "proc").is_dir() else []
    except OSError as error:
        raise UsageError(f"{shown(path)}: {error.strerror}") from None
    return inside[0] if len(inside) == 1 and (inside[0] / "proc").is_dir() else path


def _there(root: Path, places: tuple[str, ...]) -> Iterator[Path]:
    for place in places:
        yield from (one for one in sorted(root.glob(place)) if one.is_file())
