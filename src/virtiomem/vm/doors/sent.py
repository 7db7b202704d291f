"""Every command that is sent to a machine: for what, by which verb, and what it changes.

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
    """One command; `since` is the first release of its receiver that has it (qemu-ga is released with QEMU)."""

    name: str
    to: Literal["monitor", "agent", "libvirt", "Firecracker", "Cloud Hypervisor"]
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
    Command(
        "guest-file-seek",
        "agent",
        "go to the memory blocks that should shrink in /proc/kpageflags",
        ("explain",),
        "0.15",
    ),
    Command("guest-file-read", "agent", "read it", THOROUGH, "0.15"),
    Command("guest-file-close", "agent", "close it, whatever happened", THOROUGH, "0.15"),
    Command("virConnectOpen", "libvirt", "connect; read-only unless something is to change", EVERY, "0.0.3"),
    Command("virConnectSetKeepAlive", "libvirt", "notice a daemon that is gone", EVERY, "0.9.8"),
    Command("virConnectRegisterCloseCallback", "libvirt", "hear that it is gone", EVERY, "0.10.0"),
    Command("virConnectDomainEventRegisterAny", "libvirt", "hear of sizes, resets and ends", EVERY, "0.8.0"),
    Command("virConnectListAllDomains", "libvirt", "the domains of `URI/`", EVERY, "0.9.13"),
    Command("virDomainLookupByName", "libvirt", "find the domain", EVERY, "0.0.3"),
    Command("virDomainLookupByUUID", "libvirt", "find it by its UUID", EVERY, "0.1.0"),
    Command("virDomainGetState", "libvirt", "whether its CPUs run", EVERY, "0.9.2"),
    Command("virDomainGetXMLDesc", "libvirt", "all sizes; passed-through devices", EVERY, "0.0.3 (virtio-mem 7.9)"),
    Command("virConnectGetVersion", "libvirt", "the version of QEMU", THOROUGH, "0.0.3"),
    Command("virConnectGetLibVersion", "libvirt", "the version of libvirt", THOROUGH, "0.7.3"),
    Command("virDomainGetJobStats", "libvirt", "whether a migration, save or dump runs", THOROUGH, "1.0.3"),
    Command(
        "virDomainUpdateDeviceFlags",
        "libvirt",
        "set a size",
        ("resize",),
        "0.8.0",
        changes="`requested` of the devices named; with `--persist` in the stored configuration, too",
    ),
    Command("virDomainAttachDeviceFlags", "libvirt", "add a device", ("attach",), "0.7.7", changes="it is added"),
    Command("virDomainDetachDeviceFlags", "libvirt", "remove a device", ("detach",), "0.7.7", changes="it is removed"),
    Command(
        "virDomainQemuAgentCommand",
        "libvirt",
        "pass a command of the agent's on, with `--agent libvirt`",
        THOROUGH,
        "0.10.0",
        changes="the domain is marked as tainted, until it stops",
    ),
    Command("virConnectClose", "libvirt", "disconnect", EVERY, "0.0.3"),
    Command("GET /", "Firecracker", "its version; whether its CPUs run", EVERY, "0.10"),
    Command("GET /machine-config", "Firecracker", "boot memory", EVERY, "0.10"),
    Command("GET /hotplug/memory", "Firecracker", "all sizes", EVERY, "1.14"),
    Command("PATCH /hotplug/memory", "Firecracker", "set a size", ("resize",), "1.14", changes="`requested_size_mib`"),
    Command("GET /vmm.ping", "Cloud Hypervisor", "its version", EVERY, "0.10"),
    Command("GET /vm.info", "Cloud Hypervisor", "all that it tells", EVERY, "0.10"),
    Command("PUT /vm.resize", "Cloud Hypervisor", "set a size", ("resize",), "0.10", changes="the size of all memory"),
    Command(
        "PUT /vm.resize-zone",
        "Cloud Hypervisor",
        "set the size of a zone",
        ("resize",),
        "0.10",
        changes="the zone's size",
    ),
)

COMMANDS = {command.name: command for command in TABLE}


def why_not(name: str, version: str) -> str | None:
    """Return why an unstable command is not sent to this version of QEMU even if it is allowed; None if it may be sent."""
    command = COMMANDS[name]
    if command.stable or ".".join(version.split(".")[:2]) in command.survived:
        return None
    known = " and ".join(command.survived)
    return f"{name} is not sent to QEMU {version or 'of unknown version'}: only {known} are known to survive it"
