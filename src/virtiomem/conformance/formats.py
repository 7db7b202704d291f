"""What the suite and the fuzzer found, for machines: JSON and JUnit XML."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from virtiomem.conformance.fuzz import Figures
from virtiomem.conformance.rules import GROUPS, group_of
from virtiomem.conformance.suite import RuleOutcome, SuiteReport, Verdict


def to_dict(report: SuiteReport) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "subject": report.target,
        "conforms": report.conforms if report.checked else None,
        "counts": {outcome.value: report.count(outcome) for outcome in RuleOutcome},
        "rules": [_rule(verdict) for verdict in report.verdicts],
    }


def _rule(verdict: Verdict) -> dict[str, Any]:
    rule = verdict.rule
    return {
        "rule": rule.id,
        "section": rule.section,
        "level": rule.level.value,
        "text": rule.text,
        "outcome": verdict.outcome.value,
        "seen": verdict.seen,
        "reproducer": list(verdict.reproducer),
        "lost": verdict.lost,
    }


def figures_to_dict(figures: Figures) -> dict[str, Any]:
    """A fuzzing run as JSON has it."""
    return {
        "subject": figures.target,
        "seed": figures.seed,
        "cases": figures.cases,
        "requests": figures.requests,
        "answers": dict(figures.answers.most_common()),
        "moves": dict(figures.moves.most_common()),
        "swept-blocks": figures.swept,
        "seconds": round(figures.seconds, 1),
        "findings": [
            {
                "case": finding.case,
                "what": finding.difference.what,
                "recorded": finding.difference.recorded,
                "ours": finding.difference.ours,
                "log": [json.loads(msgspec.json.encode(line)) for line in finding.lines],
            }
            for finding in figures.findings
        ],
    }


def to_junit(report: SuiteReport) -> bytes:
    """The report as JUnit XML; a failure is what makes the exit code 1."""
    broken = [verdict for verdict in report.verdicts if verdict.broken]
    skipped = [
        verdict for verdict in report.verdicts if verdict.outcome is not RuleOutcome.PASS and verdict not in broken
    ]
    suite = ET.Element(
        "testsuite",
        name=f"virtio-mem conformance: {report.target}",
        tests=str(len(report.verdicts)),
        failures=str(len(broken)),
        skipped=str(len(skipped)),
    )
    for verdict in report.verdicts:
        suite.append(_case(verdict, broken=verdict in broken))
    ET.indent(suite)
    text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(verdict: Verdict, *, broken: bool) -> ET.Element:
    rule = verdict.rule
    case = ET.Element("testcase", classname=GROUPS[group_of(rule)], name=f"{rule.id} {rule.level}: {rule.text}")
    if broken:
        failure = ET.SubElement(case, "failure", type=rule.level.value, message=verdict.seen)
        failure.text = "\n".join(verdict.reproducer)
    elif verdict.outcome is RuleOutcome.FAIL:
        ET.SubElement(case, "skipped", message=f"not kept, but no MUST: {verdict.seen}")
    elif verdict.outcome is not RuleOutcome.PASS:
        ET.SubElement(case, "skipped", message=verdict.seen)
    else:
        ET.SubElement(case, "system-out").text = verdict.seen
    return case
