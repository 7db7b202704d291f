"""Find damage in a name that Linux prints: text after it, text in it, or changes made on the way here.

A name is sound when a kernel can have printed it: whatever bytes a driver gives it (some of freed memory), and the
blanks at the end that Linux 2.4 leaves where it cuts names off at a fixed length. It is spoiled when it was one that
readers look for, as `System RAM  # below the hole` was: to them that is another name, and the memory is gone from every
total.

The patterns are texts, which `re` compiles when they are first used: most names have none of the characters without which a
pattern cannot match, and compiling them all is a twentieth of what a short command takes.
"""

import re

from virtiomem.resource.names import (
    CRASH_KERNEL,
    KERNEL_IMAGE,
    SYSTEM_RAM,
    VIRTIO_DEVICE,
    is_known,
    is_system_ram,
)
from virtiomem.text import quoted

_NO_BREAK_SPACES = "\u00a0\udca0"
"""A no-break space, and what one in Latin-1 becomes: a byte that is not UTF-8."""
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
"""What has no width, and comes along when text is copied out of a page: a soft hyphen, joiners, a byte order mark."""
_AS_SPACES = str.maketrans(_NO_BREAK_SPACES, "  ", _INVISIBLE)
ESCAPE = r"(?:\x1b|\^\[)\[[0-9;:]*[mK]|\[[0-9]{1,3}(?:;[0-9]{1,3})*m(?:\[K)?|\[m\[K"
"""What sets a terminal's colours, as `grep --color` writes it around what it found, as a pager shows it, and as a
browser does."""
RANGE = rf"(?:[0-9a-f]{{8,16}} ?- ?[0-9a-f]{{3,16}}|[0-9a-f]{{3,16}} ?- ?[0-9a-f]{{8,16}}) ?:(?: |$)|: {SYSTEM_RAM}"
"""Another range in a name, though it was broken, lost digits or its dash, or has no name. (A UUID has more dashes.)"""
# A run of blanks or dots is looked at once, from its beginning: a name may be a megabyte of them.
REMARK = r"(?<![ \t])[ \t]++(?:\#(?:[ \t\#]|$)|//|<[-=<]|/\*|\u2190|\u21d0|\u27f5)"
"""How people begin a remark behind a name. (`PCI Bus #0d` and `… (#2)` are names.)"""
_LEFT_OUT = ("snip", "cut", "skipped", "omitted", "elided", "truncated", "removed")
ELIDED = (
    r"(?<![ \t])(?:[ \t]++\.\.++|[ \t]*+(?:\[\.\.+\]|(?<!\.)\.\.\.++|\u2026|--8<.*"
    rf"|[\[<(](?:(?:[0-9]+|some|many|more|lines?)[ ])*(?:{'|'.join(_LEFT_OUT)}).*))[ \t]*$"
)
"""A mark behind a name that lines are missing."""
_TELLING = 4
"""Letters of a name that tell which it was, if it is cut: of `System RAM` and `Crash kernel` no other begins so."""
_BEHIND = r"(?s)[ \t]*[\W_].*|[ \t]+.*"
_LOOSE_RAM = rf"(?s){SYSTEM_RAM}.*|(?i:system[\W_]*ram(?:\(.*)?)"
_RELIED_ON = re.compile(
    rf"(?:{SYSTEM_RAM} \([a-z_]+\)|{SYSTEM_RAM}|{CRASH_KERNEL}|{KERNEL_IMAGE.pattern}|{VIRTIO_DEVICE.pattern})(?!\w)"
)
"""The names that sums and dumps go by; Linux puts nothing behind them."""


def may_elide(text: str) -> bool:
    """Return whether a text contains a sign of `ELIDED`. Every such mark has one. Most listings have none."""
    return any(sign in text for sign in ("..", "\u2026", "8<", *_LEFT_OUT))


def plain_name(name: str) -> str:
    """A name without what comes from mail, pages and editors: tabs at its end; among plain ASCII no-break spaces, and
    what has no width.

    (The kernel prints whatever bytes a name has, some of freed memory: a name of other bytes keeps all except its end.)
    Spaces at the end go where what is left is a name that Linux gives without them.
    """
    plain = name.translate(_AS_SPACES)
    plain = plain if plain.isascii() else name
    bare = plain.rstrip(" \t\r")
    # Spaces behind a name that is not known stay: Linux 2.4 prints such where it cuts a name off at a fixed length.
    return plain if bare != plain and bare and bare == plain.rstrip(" ") and not is_known(bare) else bare


def without_remark(name: str) -> tuple[str, str]:
    """A name that sums and dumps go by, and text that was written behind it; any other name is itself, with nothing
    behind it.
    """
    match = _RELIED_ON.match(name)
    behind = "" if match is None else name[match.end() :]
    if match is None or not re.fullmatch(_BEHIND, behind) or not (re.search(REMARK, name) or not is_known(name)):
        return name, ""
    return match[0], behind.strip()


def what_is_spoiled(name: str) -> str:
    """Describe the damage of a name that no kernel prints; empty for a sound one."""
    # Only where the rest is a name that is known, or damage itself: a driver's name may hold any bytes.
    if "[" in name and (plain := re.sub(ESCAPE, "", name)) != name and (is_known(plain) or what_is_spoiled(plain)):
        return f"colour escapes in the name {quoted(name)}"
    if ("-" in name or ": " in name) and re.search(RANGE, name):
        return f"two lines joined: the name {quoted(name)} has another range in it"
    if not name[:1].isalnum() and re.match(REMARK, f" {name}"):
        return f"a remark in place of a name: {quoted(name)}"
    if plain_name(name) != name:
        what = "an invisible character" if any(character in name for character in _INVISIBLE) else "a blank"
        return f"{what} that the kernel does not print, in or after the name {quoted(name)}"
    # Behind a name that is not known, dots may be part of it.
    if may_elide(name) and (mark := re.search(ELIDED, name)) and is_known(name[: mark.start()]):
        return f"a mark behind the name {quoted(name)} that lines are missing here"
    bare, remark = without_remark(name)
    if remark:
        return f"a remark behind the name {quoted(bare)}: {quoted(remark)}"
    # Only names that something relies on: any other may well be a name.
    if len(name) > _TELLING and any(
        relied_on.startswith(name) and relied_on != name for relied_on in (SYSTEM_RAM, CRASH_KERNEL)
    ):
        return f"the name {quoted(name)} may be cut short"
    # Once more without its blanks: a name that was wrapped in the middle reads `Sys tem RAM`.
    if (
        name.lstrip()[:1].casefold() == "s"
        and not is_system_ram(name)
        and (re.fullmatch(_LOOSE_RAM, name) or re.fullmatch(_LOOSE_RAM, "".join(name.split())))
    ):
        return f"the name {quoted(name)} is not quite {SYSTEM_RAM!r}, as Linux writes it"
    return ""
