"""Every command that is sent to a machine's monitor or guest agent: for what, by which verb, and what it changes.

`Peer` sends nothing that is not in this table, and docs/vm.md shows it. QEMU promises to keep its stable commands; one
whose name begins with ``x-`` may do anything in the next release, so that it needs the user's word and a release that
was seen to survive it.
"""

from dataclasses import dataclass
from typing import Literal

EVERY = ("list", "status", "resize", "watch", "explain")
THOROUGH = ("status", "resize", "explain")
VIRTIO_STATUS = "x-query-virtio-status"


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `since` is the first release of QEMU that has it, or of qemu-ga, which shares its numbers."""

    name: str
    to: Literal["monitor", "agent"]
    what: str
    verbs: tuple[str, ...]
    since: str
    changes: str = "nothing"
    survived: tuple[str, ...] = ()
    """Release series in which an unstable command was seen to do no harm."""

    @property
    def stable(self) -> bool:
        """False for what QEMU does not promise to keep."""
        return not self.name.startswith("x-")


TABLE = (
    Command("qmp_capabilities", "monitor", "begin to talk", EVERY, "0.13"),
    Command("query-memory-size-summary", "monitor", "boot memory", EVERY, "2.11"),
    Command("query-status", "monitor", "whether its CPUs run", EVERY, "0.14"),
    Command("query-memory-devices", "monitor", "all sizes", EVERY, "2.1 (virtio-mem 5.1)"),
    Command("qom-list", "monitor", "names of devices without an id; passed-through devices", EVERY, "1.2"),
    Command("qom-get", "monitor", "which device without an id is which", EVERY, "1.2"),
    Command("query-migrate", "monitor", "whether a migration runs", THOROUGH, "0.14"),
    Command(
        VIRTIO_STATUS,
        "monitor",
        "whether a driver is there; only with `--unstable-monitor-commands`",
        THOROUGH,
        "7.2",
        survived=("7.2", "10.0"),
    ),
    Command("qom-set", "monitor", "set a size", ("resize",), "1.2", changes="`requested-size` of the devices named"),
    Command("guest-sync-delimited", "agent", "begin to talk", THOROUGH, "1.1"),
    Command("guest-get-memory-block-info", "agent", "size of a memory block", THOROUGH, "2.3"),
    Command("guest-get-memory-blocks", "agent", "which blocks are online", THOROUGH, "2.3"),
    Command(
        "guest-file-open",
        "agent",
        "open a file below /proc or /sys for reading",
        THOROUGH,
        "0.15",
        changes="the agent has a file open, until it is closed",
    ),
    Command("guest-file-read", "agent", "read it", THOROUGH, "0.15"),
    Command("guest-file-close", "agent", "close it, whatever happened", THOROUGH, "0.15"),
)

COMMANDS = {command.name: command for command in TABLE}


def why_not(name: str, version: str) -> str | None:
    """Why an unstable command is not sent to QEMU of this version, even if the user wants it; None when it may be."""
    command = COMMANDS[name]
    if command.stable or ".".join(version.split(".")[:2]) in command.survived:
        return None
    known = " and ".join(command.survived)
    return f"{name} is not sent to QEMU {version or 'of unknown version'}: only {known} are known to survive it"
