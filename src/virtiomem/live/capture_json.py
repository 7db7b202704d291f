"""A capture's JSON form, read: few are kept as JSON, and what reads it takes longer to import than a capture takes to read."""

import msgspec

from virtiomem.errors import UsageError
from virtiomem.live.capture import FORMAT, Capture, Section, page_size_of
from virtiomem.notation import NotationError, check_format, convert, json_values
from virtiomem.text import shown


class _Json(msgspec.Struct, rename="kebab"):
    format: str
    sections: dict[str, list[str]]
    manifest: dict[str, str] = {}
    collected: str = ""
    by: str = ""
    page_size: int | None = None


def from_json(raw: bytes, source: str) -> Capture:
    """Read the JSON form. Raises UsageError, which names `source`."""
    try:
        values = json_values(raw)
        check_format(values, FORMAT)
        value = convert(values, _Json)
    except NotationError as error:
        raise UsageError(f"{shown(source)}: not a capture: {error}") from None
    remarks = {heading: "" if remark == "whole" else remark for heading, remark in value.manifest.items()}
    sections = {heading: Section.of(lines, remarks.get(heading, "")) for heading, lines in value.sections.items()}
    return Capture(sections, value.collected, value.by, page_size_of(value.page_size, source), source)
