from xml.etree import ElementTree as ET

from junitparser import JUnitXml

from virtiomem.junit import Fault, JunitCase, to_junit


def test_counts_and_cases() -> None:
    text = to_junit(
        "a suite",
        [
            JunitCase("group", "passed", output="4 steps", seconds=0.25),
            JunitCase("group", "failed", Fault("failure", "different", "MUST", "a\nb")),
            JunitCase("group", "broken", Fault("error", "lost")),
            JunitCase("group", "left out", Fault("skipped", "cannot be seen")),
        ],
    )
    suite = ET.fromstring(text)  # noqa: S314 - our own
    assert suite.attrib == {"name": "a suite", "tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    passed, failed, broken, left_out = suite
    assert (passed.get("time"), passed.findtext("system-out")) == ("0.250", "4 steps")
    failure = failed.find("failure")
    assert failure is not None
    assert (failure.attrib, failure.text) == ({"message": "different", "type": "MUST"}, "a\nb")
    assert [element.tag for element in (*broken, *left_out)] == ["error", "skipped"]


def test_characters_that_xml_cannot_hold_are_shown() -> None:
    text = to_junit("a\x1b[31m", [JunitCase("g", "n\0", Fault("failure", "\ud800", text="x\x08\ny"))])
    suite = ET.fromstring(text)  # noqa: S314 - our own
    assert suite.get("name") == r"a\x1b[31m"
    assert suite[0].get("name") == r"n\x00"
    assert suite[0][0].get("message") == r"\ud800"
    assert suite[0][0].text == "x\\x08\ny"


def test_an_independent_reader_sees_the_same() -> None:
    cases = [
        JunitCase("group", "passed", output="4 steps", seconds=0.25),
        JunitCase("group", "failed", Fault("failure", "different", "MUST", "a\nb")),
        JunitCase("group", "broken", Fault("error", "lost")),
        JunitCase("group", "left out", Fault("skipped", "cannot be seen")),
    ]
    (suite,) = JUnitXml.fromstring(to_junit("a suite", cases))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, 1, 1, 1)
    assert [(case.classname, case.name, [why.message for why in case.result]) for case in suite] == [
        ("group", "passed", []),
        ("group", "failed", ["different"]),
        ("group", "broken", ["lost"]),
        ("group", "left out", ["cannot be seen"]),
    ]
    assert [case.time for case in suite] == [0.25, None, None, None]
