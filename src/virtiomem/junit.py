"""Outcomes as JUnit XML, as continuous integration reads it."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from virtiomem.text import printable


class Fault(NamedTuple):
    """Why a case is not passed: `tag` is ``failure``, ``error`` or ``skipped``."""

    tag: str
    message: str
    kind: str = ""
    text: str = ""


class JunitCase(NamedTuple):
    """One case; `output` is what is worth reading of one that passed, `said` what a program said on standard error."""

    classname: str
    name: str
    fault: Fault | None = None
    output: str = ""
    seconds: float | None = None
    said: str = ""


def to_junit(name: str, cases: Sequence[JunitCase]) -> bytes:
    """A suite with its cases, as a file; characters that XML cannot hold are written as `text.printable` does."""
    suite = ET.Element("testsuite", name=printable(name), tests=str(len(cases)))
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.fault is not None and case.fault.tag == tag for case in cases)))
    suite.extend(map(_element, cases))
    ET.indent(suite)
    text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _element(case: JunitCase) -> ET.Element:
    element = ET.Element("testcase", classname=printable(case.classname), name=printable(case.name))
    if case.seconds is not None:
        element.set("time", f"{case.seconds:.3f}")
    if case.fault is not None:
        fault = ET.SubElement(element, case.fault.tag, message=printable(case.fault.message))
        if case.fault.kind:
            fault.set("type", case.fault.kind)
        if case.fault.text:
            fault.text = _printable_lines(case.fault.text)
    # In the order that the schema of JUnit's reports prescribes: the failure first, then system-out and system-err.
    for tag, text in (("system-out", case.output), ("system-err", case.said)):
        if text:
            ET.SubElement(element, tag).text = _printable_lines(text)
    return element


def _printable_lines(text: str) -> str:
    # Line by line: as a whole, the line ends would be shown as escapes.
    return "\n".join(map(printable, text.splitlines()))
