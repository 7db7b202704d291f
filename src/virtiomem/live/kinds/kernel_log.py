"""A kernel log: what the virtio_mem driver said about its devices, and memory hotplug of what failed.

It may come from dmesg, a journal, a console or a file; what stands before the message (times, host, level) is taken away.
"""

import re
from collections.abc import Iterator

from virtiomem.driver.messages import MODULE, VALUE_LINE, Key
from virtiomem.live.capture import Section
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.text import shown

_KEYS = frozenset(map(str, Key))
_SIZES = {Key.REGION_SIZE, Key.DEVICE_BLOCK_SIZE, Key.PLUGGED_SIZE, Key.REQUESTED_SIZE}
_DRIVER = re.compile(rf"{MODULE} virtio[0-9]+: .*")
_OTHER = re.compile(
    r"(?P<said>(?:acpi PNP0C80\S*: .*|.*(?:add_memory failed|unaligned hotplug range|vmemmap alloc failure|page allocation failure"
    r"|memory offlining .* failed|migrating pfn .* failed|Hotplug Mem|Offlined Pages|Out of memory: Killed|crashkernel reserved).*))"
)
_BEFORE = re.compile(r"^(?:<[0-9]+>)?(?:.*? kernel: )?(?:\[ *[0-9]+\.[0-9]+\](?:\[ *\w+\])? )?(?:\[[A-Z][^\]]*\] )?")
MAX_FACTS = 1000
"""Limit for lines that are quoted; a log may have any number."""


def read(text: str, source: str) -> Brought:  # noqa: ARG001 - every kind's reader receives it
    """Read what is there; a log that says nothing of memory gives nothing, which is said."""
    lines = [_BEFORE.sub("", line, count=1) for line in text.splitlines()]
    # Searched for, not matched: a console may have put something else before it on the line.
    driver = [match[0] for line in lines if (match := _DRIVER.search(line))]
    facts = [*_values(driver), *_said(lines)]
    remarks = [] if driver else ["the virtio_mem driver says nothing in it"]
    if len(facts) > MAX_FACTS:
        remarks.append(f"{len(facts) - MAX_FACTS} more lines of memory are not shown")
    return Brought({"dev/kmsg": Section.of(driver)}, tuple(facts[:MAX_FACTS]), tuple(remarks))


def _values(lines: list[str]) -> Iterator[Fact]:
    """Yield the facts in the driver's messages: values, and words."""
    for line in lines:
        match = re.fullmatch(VALUE_LINE, line)
        if match and match["key"] in _KEYS:
            key, value = match["key"], match["value"]
            yield Fact(match["name"], key, int(value, 0) if key in _SIZES else value)
        else:
            name, _, words = line.removeprefix(f"{MODULE} ").partition(": ")
            yield Fact(name, "said", shown(words))


def _said(lines: list[str]) -> Iterator[Fact]:
    for line in lines:
        if not _DRIVER.search(line) and (match := _OTHER.fullmatch(line)):
            yield Fact("kernel", "said", shown(match["said"]))
