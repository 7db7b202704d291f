"""SVG elements, with the standard library's ElementTree: it escapes whatever a name may hold."""

import re
from xml.etree import ElementTree as ET

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def element(parent: ET.Element, tag: str, text: str | None = None, **attributes: str | float) -> ET.Element:
    """Add an element; underscores in attribute names stand for hyphens, a trailing one for nothing (`class_`)."""
    named = {name.rstrip("_").replace("_", "-"): _attribute(value) for name, value in attributes.items()}
    child = ET.SubElement(parent, tag, named)
    if text is not None:
        child.text = clean(text)
    return child


def clean(text: str) -> str:
    """Text without what XML cannot hold, such as control characters."""
    return _NOT_XML.sub("\ufffd", text)


def _attribute(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def shortened(text: str, width: float, per_character: float) -> str:
    """As much of a text as fits into `width` pixels; empty when that is next to nothing."""
    room = int(width / per_character)
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}…" if room > 5 else ""
