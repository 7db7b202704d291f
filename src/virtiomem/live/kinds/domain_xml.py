"""A libvirt domain: its memory, its memory devices.

The standard library's parser builds the tree, behind a check that nothing is declared in it: a document type, and with
it entities that would fill the memory, has no domain.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from virtiomem.errors import UsageError
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.text import shown
from virtiomem.units import U64_MAX, MiB, format_size, libvirt_unit

MAX_TEXT = 16 * MiB


def read(text: str, source: str) -> Brought:
    """Read a domain. Raises UsageError for what is no XML, has a document type, or no domain."""
    if len(text) > MAX_TEXT:
        raise UsageError(f"{shown(source)}: longer than {format_size(MAX_TEXT)}: no libvirt domain")
    if re.search(r"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise UsageError(f"{shown(source)}: a document type or an entity, which no domain of libvirt's has")
    # The domain may stand inside another document, such as a <domainsnapshot>.
    domain = re.search(r"<domain[\s>].*?(?:</domain>|\Z)", text, re.DOTALL)
    if domain is None:
        raise UsageError(f"{shown(source)}: no <domain> in it")
    try:
        root = ET.fromstring(domain[0])  # noqa: S314 - nothing is declared in it
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise UsageError(f"{shown(source)}: not the XML of a libvirt domain: {shown(error)}") from None
    return Brought({}, tuple(_facts(root, source)))


def _facts(root: ET.Element, source: str) -> Iterator[Fact]:
    for what in ("memory", "currentMemory", "maxMemory"):
        if (element := root.find(what)) is not None:
            yield Fact("machine", what, _size(element, source))
            if slots := element.get("slots"):
                yield Fact("machine", "slots", shown(slots))
    for number, device in enumerate(root.iterfind("devices/memory")):
        alias = device.find("alias")
        name = shown(alias.get("name", "") if alias is not None else "") or f"memory device {number}"
        yield Fact(name, "model", shown(device.get("model", "?")))
        for element in device.iterfind("target/*"):
            if element.tag in ("size", "block", "requested", "current"):
                yield Fact(
                    name,
                    {"size": "max-size", "block": "block-size"}.get(element.tag, f"{element.tag}-size"),
                    _size(element, source),
                )
            elif element.tag == "node":
                yield Fact(name, "node", shown((element.text or "").strip()))
            elif element.tag == "address":
                yield Fact(name, "address", shown(element.get("base", "?")))


def _size(element: ET.Element, source: str) -> int:
    text, unit = (element.text or "").strip(), element.get("unit", "")
    factor = libvirt_unit(unit)
    if factor is None or not (text.isascii() and text.isdecimal() and len(text) <= 20) or int(text) * factor > U64_MAX:
        raise UsageError(f"{shown(source)}: <{shown(element.tag)}> is not a size: {shown(text)} {shown(unit.lower())}")
    return int(text) * factor
