"""What QEMU answers, as shapes for `border.read`: the parts of its answers that are looked at."""

from msgspec import Struct

from virtiomem.qemu.border import Number, Text


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
