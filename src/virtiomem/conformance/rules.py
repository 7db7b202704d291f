"""Every rule a virtio-mem device is held to: number, section, strength, and what it says in our words.

`spec` rules are all normative statements of the virtio specification's memory device section (5.15; section numbers of
version 1.3, with what the 1.4 draft adds). `uapi` rules are what only include/uapi/linux/virtio_mem.h (v6.1) states.
`virtio` rules are those of the rest of the specification that every device inherits and a queue with one kind of
request can show. `sound` rules stand nowhere: they are what a device that hostile drivers may talk to has to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from virtiomem.errors import UsageError
from virtiomem.text import nearest, quoted


class Level(StrEnum):
    """Strength of a rule (RFC 2119); SOUND where no specification says anything."""

    MUST = "MUST"
    MUST_NOT = "MUST NOT"
    SHOULD = "SHOULD"
    SHOULD_NOT = "SHOULD NOT"
    MAY = "MAY"
    SAYS = "says"
    """Stated as a fact, by the uapi header."""
    SOUND = "sound"


BINDING = frozenset({Level.MUST, Level.MUST_NOT})
"""Levels that a device must keep to conform."""
STRICTER: dict[str, frozenset[Level]] = {
    "should": frozenset({Level.SHOULD, Level.SHOULD_NOT}),
    "says": frozenset({Level.SAYS}),
    "sound": frozenset({Level.SOUND}),
}
"""Levels that a user may demand, too, by name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `unseen` says why a driver cannot check it, None when it can."""

    id: str
    section: str
    level: Level
    text: str
    unseen: str | None = None

    @property
    def source(self) -> str:
        """Document and section."""
        return _ELSEWHERE.get(self.section) or f"virtio 1.3, {self.section} {_SECTIONS[self.section]}"


_BINDS_DRIVER = "binds the driver, not the device"
_NO_PROPERTIES = "x86-64 memory has no such properties; reading and writing is checked by OPS-4"

_CONFIG = "5.15.4.2"
_INIT = "5.15.5.2"
_OPERATION = "5.15.6.2"
_PLUG = "5.15.6.3.2"
_UNPLUG = "5.15.6.4.2"
_ALL = "5.15.6.5.2"
_STATE = "5.15.6.6.2"
_UAPI = "virtio_mem.h"

_SECTIONS = {
    f"{number}": f"{who} Requirements: {title}"
    for title, sections in {
        "Device Status Field": {"Device": "2.1.2"},
        "Feature Bits": {"Device": "2.2.2"},
        "Device Configuration Space": {"Device": "2.5.2"},
        "Message Framing": {"Device": "2.7.4.1"},
        "The Virtqueue Descriptor Table": {"Device": "2.7.5.1"},
        "Indirect Descriptors": {"Device": "2.7.5.3.2"},
        "Used Buffer Notification Suppression": {"Device": "2.7.7.2"},
        "The Virtqueue Used Ring": {"Device": "2.7.8.2"},
        "Available Buffer Notification Suppression": {"Device": "2.7.10.2"},
        "Device configuration layout": {"Driver": "5.15.4.1", "Device": _CONFIG},
        "Device Initialization": {"Driver": "5.15.5.1", "Device": _INIT},
        "Device Operation": {"Driver": "5.15.6.1", "Device": _OPERATION},
        "PLUG request": {"Driver": "5.15.6.3.1", "Device": _PLUG},
        "UNPLUG request": {"Driver": "5.15.6.4.1", "Device": _UNPLUG},
        "UNPLUG ALL request": {"Driver": "5.15.6.5.1", "Device": _ALL},
        "STATE request": {"Driver": "5.15.6.6.1", "Device": _STATE},
    }.items()
    for who, number in sections.items()
}
"""Titles of the specification's sections."""
_ELSEWHERE = {_UAPI: "include/uapi/linux/virtio_mem.h, Linux 6.1", "-": "no specification; ours"}

RULES: tuple[Rule, ...] = (
    # Configuration layout
    Rule("CFG-1", _CONFIG, Level.MAY, "usable_region_size and requested_size change while the device runs"),
    Rule("CFG-2", _CONFIG, Level.MUST_NOT, "block_size, node_id, addr, region_size change, except at a system reset"),
    Rule("CFG-3", _CONFIG, Level.MUST, "plugged_size is the size of all plugged blocks"),
    Rule("CFG-4", _CONFIG, Level.MUST, "usable_region_size is requested_size or more"),
    Rule("CFG-5", _CONFIG, Level.MUST, "block_size is a power of two"),
    Rule("CFG-6", _CONFIG, Level.MUST, "addr and the four sizes are multiples of block_size"),
    Rule("CFG-7", _CONFIG, Level.MUST, "region_size is 0 or more", "the field is unsigned: no device can break it"),
    Rule("CFG-8", _CONFIG, Level.MUST_NOT, "usable_region_size shrinks, except by UNPLUG ALL and a system reset"),
    Rule(
        "CFG-9", _CONFIG, Level.MUST, "a new usable_region_size or requested_size is notified, except after UNPLUG ALL"
    ),
    Rule("CFG-10", _CONFIG, Level.SHOULD_NOT, "a new plugged_size is notified"),
    Rule("CFG-11", _CONFIG, Level.MAY, "a notification comes though nothing changed"),
    Rule("CFG-D1", "5.15.4.1", Level.MUST_NOT, "the driver writes to the configuration", _BINDS_DRIVER),
    Rule("CFG-D2", "5.15.4.1", Level.MUST, "the driver ignores the padding", _BINDS_DRIVER),
    Rule("CFG-D3", "5.15.4.1", Level.MUST, "the driver ignores node_id without ACPI_PXM", _BINDS_DRIVER),
    # Initialization
    Rule("INI-1", _INIT, Level.MAY, "the device refuses to work unless UNPLUGGED_INACCESSIBLE is accepted"),
    Rule("INI-2", _INIT, Level.MUST_NOT, "a device reset changes the state of blocks"),
    Rule("INI-3", _INIT, Level.MUST_NOT, "a device reset changes the contents of plugged blocks"),
    Rule(
        "INI-4",
        _INIT,
        Level.SHOULD,
        "PERSISTENT_SUSPEND is offered where plugged blocks survive a suspend (1.4)",
        "whether a platform suspends with plugged blocks does not show at the device",
    ),
    Rule("INI-D1", "5.15.5.1", Level.SHOULD, "the driver accepts UNPLUGGED_INACCESSIBLE", _BINDS_DRIVER),
    Rule("INI-D2", "5.15.5.1", Level.SHOULD, "the driver repeats UNPLUG ALL until nothing is plugged", _BINDS_DRIVER),
    # Operation
    Rule("OPS-1", _OPERATION, Level.MUST, "device memory has the properties of comparable RAM", _NO_PROPERTIES),
    Rule(
        "OPS-2",
        _OPERATION,
        Level.MAY,
        "unplugged memory is modified at any time",
        "a licence: nothing that is seen can break it",
    ),
    Rule("OPS-3", _OPERATION, Level.MUST_NOT, "the device modifies the contents of plugged blocks"),
    Rule("OPS-4", _OPERATION, Level.MUST, "plugged blocks can be read and written"),
    Rule("OPS-5", _OPERATION, Level.MUST, "without UNPLUGGED_INACCESSIBLE, unplugged usable blocks can be read"),
    Rule("OPS-6", _OPERATION, Level.MAY, "a system reset changes the state of blocks"),
    Rule("OPS-7", _OPERATION, Level.SHOULD, "a system reset unplugs all blocks"),
    Rule(
        "OPS-8",
        _OPERATION,
        Level.MUST_NOT,
        "suspend and wake-up change blocks when PERSISTENT_SUSPEND is negotiated (1.4)",
        "a machine without a guest does not suspend",
    ),
    Rule("OPS-D1", "5.15.6.1", Level.MUST_NOT, "the driver writes to unplugged blocks", _BINDS_DRIVER),
    Rule(
        "OPS-D2",
        "5.15.6.1",
        Level.MUST_NOT,
        "the driver reads unplugged blocks outside the usable region",
        _BINDS_DRIVER,
    ),
    Rule("OPS-D3", "5.15.6.1", Level.MUST_NOT, "the driver reads unplugged usable blocks by DMA", _BINDS_DRIVER),
    Rule("OPS-D4", "5.15.6.1", Level.SHOULD_NOT, "the driver reads unplugged usable blocks by CPU", _BINDS_DRIVER),
    Rule("OPS-D5", "5.15.6.1", Level.MUST_NOT, "with UNPLUGGED_INACCESSIBLE it reads unplugged blocks", _BINDS_DRIVER),
    Rule("OPS-D6", "5.15.6.1", Level.MUST_NOT, "the driver unplugs blocks that are in use", _BINDS_DRIVER),
    Rule("OPS-D7", "5.15.6.1", Level.SHOULD, "the driver initializes blocks after plugging them", _BINDS_DRIVER),
    Rule("OPS-D8", "5.15.6.1", Level.SHOULD, "the driver follows resize requests", _BINDS_DRIVER),
    Rule("OPS-D9", "5.15.6.1", Level.SHOULD, "the driver plugs only what it can use", _BINDS_DRIVER),
    Rule("OPS-D10", "5.15.6.1", Level.MAY, "the driver falls short of the requested size", _BINDS_DRIVER),
    Rule("OPS-D11", "5.15.6.1", Level.MUST_NOT, "without PERSISTENT_SUSPEND the guest suspends (1.4)", _BINDS_DRIVER),
    # PLUG
    Rule("PLUG-1", _PLUG, Level.MUST, "only type and request-specific data count: padding and surplus bytes do not"),
    Rule("PLUG-2", _PLUG, Level.MUST, "padding behind nb_blocks is ignored"),
    Rule("PLUG-3", _PLUG, Level.MUST, "ERROR for a misaligned addr, no blocks, or blocks outside the usable region"),
    Rule("PLUG-4", _PLUG, Level.MUST, "ERROR when any block is plugged already"),
    Rule("PLUG-5", _PLUG, Level.MAY, "BUSY while the request cannot be processed"),
    Rule("PLUG-6", _PLUG, Level.MUST, "ACK when all blocks were plugged"),
    Rule("PLUG-7", _PLUG, Level.MUST, "plugged_size shows the change"),
    Rule("PLUG-D1", "5.15.6.3.1", Level.MUST, "the driver looks at the response type only", _BINDS_DRIVER),
    # UNPLUG
    Rule(
        "UNPLUG-1", _UNPLUG, Level.MUST, "only type and request-specific data count: padding and surplus bytes do not"
    ),
    Rule("UNPLUG-2", _UNPLUG, Level.MUST, "padding behind nb_blocks is ignored"),
    Rule(
        "UNPLUG-3", _UNPLUG, Level.MUST, "ERROR for a misaligned addr, no blocks, or blocks outside the usable region"
    ),
    Rule("UNPLUG-4", _UNPLUG, Level.MUST, "ERROR when any block is unplugged already"),
    Rule("UNPLUG-5", _UNPLUG, Level.MAY, "BUSY while the request cannot be processed"),
    Rule("UNPLUG-6", _UNPLUG, Level.MUST, "ACK when all blocks were unplugged"),
    Rule("UNPLUG-7", _UNPLUG, Level.MUST, "plugged_size shows the change"),
    Rule("UNPLUG-D1", "5.15.6.4.1", Level.MUST, "the driver looks at the response type only", _BINDS_DRIVER),
    # UNPLUG ALL
    Rule("ALL-1", _ALL, Level.MUST, "everything but the type is ignored"),
    Rule("ALL-2", _ALL, Level.MUST, "padding in the request-specific data is ignored"),
    Rule("ALL-3", _ALL, Level.MAY, "BUSY while the request cannot be processed"),
    Rule("ALL-4", _ALL, Level.MUST, "ACK when all blocks were unplugged"),
    Rule("ALL-5", _ALL, Level.MUST, "plugged_size is 0 after an ACK"),
    Rule("ALL-6", _ALL, Level.MAY, "usable_region_size changes before the ACK"),
    Rule("ALL-D1", "5.15.6.5.1", Level.MUST, "the driver looks at the response type only", _BINDS_DRIVER),
    # STATE
    Rule("STATE-1", _STATE, Level.MUST, "only type and request-specific data count: padding and surplus bytes do not"),
    Rule("STATE-2", _STATE, Level.MUST, "padding behind nb_blocks is ignored"),
    Rule("STATE-3", _STATE, Level.MUST, "ERROR for a misaligned addr, no blocks, or blocks outside the usable region"),
    Rule("STATE-4", _STATE, Level.MUST, "ACK, with the state, for any other request, busy or not"),
    Rule("STATE-5", _STATE, Level.MUST, "PLUGGED when all blocks are plugged"),
    Rule("STATE-6", _STATE, Level.MUST, "UNPLUGGED when all blocks are unplugged"),
    Rule("STATE-7", _STATE, Level.MUST, "MIXED otherwise"),
    Rule("STATE-D1", "5.15.6.6.1", Level.MUST, "the driver looks at response type and state only", _BINDS_DRIVER),
    Rule("STATE-D2", "5.15.6.6.1", Level.MUST, "the driver ignores the state unless acknowledged", _BINDS_DRIVER),
    # The uapi header
    Rule("UAPI-1", _UAPI, Level.SAYS, "NACK for a PLUG that would exceed requested_size; not ERROR, which is final"),
    Rule("UAPI-2", _UAPI, Level.SAYS, "only PLUG is answered NACK: unplugging below requested_size works"),
    Rule("UAPI-3", _UAPI, Level.SAYS, "STATE is never BUSY"),
    Rule("UAPI-4", _UAPI, Level.SAYS, "UNPLUG ALL is never ERROR or NACK"),
    Rule("UAPI-5", _UAPI, Level.SAYS, "a usable region that UNPLUG ALL shrank is not notified"),
    Rule("UAPI-6", _UAPI, Level.SAYS, "no more than requested_size can ever be plugged"),
    Rule("UAPI-7", _UAPI, Level.SAYS, "usable_region_size stays within region_size"),
    # Every virtio device
    Rule("VIRTIO-1", "2.1.2", Level.MUST, "the status is 0 after a reset"),
    Rule("VIRTIO-2", "2.1.2", Level.MUST_NOT, "buffers are consumed or notified before DRIVER_OK"),
    Rule("VIRTIO-3", "2.1.2", Level.MUST, "NEEDS_RESET comes with a configuration notification once DRIVER_OK is set"),
    Rule("VIRTIO-4", "2.2.2", Level.SHOULD, "any subset of the offered features is accepted"),
    Rule("VIRTIO-5", "2.5.2", Level.MUST, "the configuration can be read before FEATURES_OK"),
    Rule("VIRTIO-6", "2.7.4.1", Level.MUST_NOT, "the device assumes how a message is cut into descriptors"),
    Rule("VIRTIO-7", "2.7.5.1", Level.MUST_NOT, "the device writes to readable buffers"),
    Rule("VIRTIO-8", "2.7.5.3.2", Level.MUST, "the write flag of the descriptor of an indirect table is ignored"),
    Rule("VIRTIO-9", "2.7.5.3.2", Level.MUST, "an indirect table may follow direct descriptors of the same chain"),
    Rule("VIRTIO-10", "2.7.7.2", Level.SHOULD_NOT, "the device interrupts a driver that set NO_INTERRUPT"),
    Rule("VIRTIO-11", "2.7.7.2", Level.MUST, "with EVENT_IDX, the entry that used_event names is notified"),
    Rule("VIRTIO-12", "2.7.8.2", Level.MUST, "the used length is of bytes that were written"),
    Rule("VIRTIO-13", "2.7.10.2", Level.MUST, "notifications without a new buffer are handled"),
    # Hostile and clumsy drivers
    Rule("SOUND-1", "-", Level.SOUND, "a refused request changes nothing, in whole or in part"),
    Rule("SOUND-2", "-", Level.SOUND, "ranges that wrap around 2^64 are errors"),
    Rule("SOUND-3", "-", Level.SOUND, "what the driver writes to the configuration changes no field"),
    Rule("SOUND-4", "-", Level.SOUND, "a request of less than 24 bytes does no harm"),
    Rule("SOUND-5", "-", Level.SOUND, "a response buffer of less than 10 bytes does no harm"),
    Rule("SOUND-6", "-", Level.SOUND, "an unknown request type does no harm"),
    Rule("SOUND-7", "-", Level.SOUND, "a chain without readable or without writable bytes does no harm"),
    Rule("SOUND-8", "-", Level.SOUND, "a descriptor without a length does no harm"),
    Rule("SOUND-9", "-", Level.SOUND, "a writable descriptor before a readable one does no harm"),
    Rule("SOUND-10", "-", Level.SOUND, "a chain that loops ends"),
    Rule("SOUND-11", "-", Level.SOUND, "a head beyond the queue does no harm"),
    Rule("SOUND-12", "-", Level.SOUND, "a next beyond the queue does no harm"),
    Rule("SOUND-13", "-", Level.SOUND, "indirect tables that are empty, cut short or loop do no harm"),
    Rule("SOUND-14", "-", Level.SOUND, "requests before a broken one, in the same notification, are answered"),
    Rule("SOUND-15", "-", Level.SOUND, "room behind the 10 bytes of a response is left alone"),
    Rule("SOUND-16", "-", Level.SOUND, "a queue full of chains is answered, each once"),
    Rule("SOUND-17", "-", Level.SOUND, "requests go on when the ring wraps and when its indices do"),
    Rule("SOUND-18", "-", Level.SOUND, "a queue that the driver makes smaller works, down to one descriptor"),
    Rule("SOUND-19", "-", Level.SOUND, "a reset with requests under way drops them, and the device works again"),
    Rule("SOUND-20", "-", Level.SOUND, "while the device is busy blocks stay as they are; afterwards it works"),
    Rule("SOUND-21", "-", Level.SOUND, "a requested size that is refused changes nothing"),
)

BY_ID = {rule.id: rule for rule in RULES}

GROUPS: dict[str, str] = {
    "CFG": "Device configuration layout",
    "INI": "Device initialization",
    "OPS": "Device operation",
    "PLUG": "PLUG request",
    "UNPLUG": "UNPLUG request",
    "ALL": "UNPLUG ALL request",
    "STATE": "STATE request",
    "UAPI": "What only the uapi header says",
    "VIRTIO": "What every virtio device owes",
    "SOUND": "Hostile and clumsy drivers",
}
"""Headings, by what a rule's number begins with, in the order of `RULES`."""


def binding(stricter: Iterable[str]) -> frozenset[Level]:
    """Levels that a device must keep, with those that are named in addition; `all` names all of them."""
    chosen = set(stricter)
    return BINDING.union(*(levels for name, levels in STRICTER.items() if chosen & {name, "all"}))


def group_of(rule: Rule) -> str:
    """The key in GROUPS."""
    return rule.id.partition("-")[0]


def selected(names: Iterable[str]) -> tuple[Rule, ...]:
    """The rules of these numbers (PLUG-4) and groups (PLUG), all when none are given; UsageError for another name."""
    chosen = {rule for name in names for rule in called(name)}
    return tuple(rule for rule in RULES if not chosen or rule in chosen)


def called(name: str) -> list[Rule]:
    """The rule of this number, or those of this group. Raises UsageError for another name."""
    found = [rule for rule in RULES if name.upper() in (rule.id, group_of(rule))]
    if not found:
        raise UsageError(
            f"no rule or group {quoted(name)}{nearest(name.upper(), [*BY_ID, *GROUPS])} (groups: {', '.join(GROUPS)})"
        )
    return found
