"""What QEMU answers, as shapes for `validation.read`: the parts of its answers that are looked at."""

from msgspec import Struct

from virtiomem.qemu.validation import Number, Text

MIGRATION_IDLE = frozenset({"none", "cancelled", "completed", "failed"})
"""States of a migration in which a device plugs and unplugs; in all others it answers BUSY.

Models: migration_is_idle() in migration/migration.c (v7.2).
"""


class _Numbers(Struct, frozen=True):
    major: Number
    minor: Number
    micro: Number


class Version(Struct, frozen=True):
    """Of the greeting, and of query-version."""

    qemu: _Numbers

    def __str__(self) -> str:
        return f"{self.qemu.major}.{self.qemu.minor}.{self.qemu.micro}"


class Migration(Struct, frozen=True):
    """An answer of query-migrate."""

    status: Text = "none"


class QomObject(Struct, frozen=True):
    """An element of an answer of qom-list."""

    name: Text
    type: Text
