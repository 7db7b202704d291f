"""Write the results of the suite and of the fuzzer for machines: JSON and JUnit XML."""

import json
from typing import Any

import msgspec

from virtiomem import badge, junit
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
        "accepted": dict(figures.accepted.most_common()),
        "refused": figures.refused,
        "findings": [
            {
                "case": finding.case,
                "what": finding.difference.what,
                "recorded": finding.difference.recorded,
                "ours": finding.difference.ours,
                "policies": list(finding.policies),
                "found-after": finding.found_after,
                "log": [json.loads(msgspec.json.encode(line)) for line in finding.lines],
            }
            for finding in figures.findings
        ],
    }


def to_junit(report: SuiteReport) -> bytes:
    """The report as JUnit XML; a failure is what makes the exit code 1."""
    return junit.to_junit(f"virtio-mem conformance: {report.target}", [_case(verdict) for verdict in report.verdicts])


def to_badge(report: SuiteReport) -> bytes:
    """The counts as a badge (SVG)."""
    counts = f"{report.count(RuleOutcome.PASS)} pass, {report.count(RuleOutcome.FAIL)} fail"
    return badge.to_svg("virtio-mem conformance", counts, good=report.conforms and report.checked)


def _case(verdict: Verdict) -> junit.JunitCase:
    rule = verdict.rule
    fault = None
    if verdict.broken:
        fault = junit.Fault("failure", verdict.seen, rule.level.value, "\n".join(verdict.reproducer))
    elif verdict.outcome is RuleOutcome.FAIL:
        fault = junit.Fault("skipped", f"not kept, but no MUST: {verdict.seen}")
    elif verdict.outcome is not RuleOutcome.PASS:
        fault = junit.Fault("skipped", verdict.seen)
    name = f"{rule.id} {rule.level}: {rule.text}"
    return junit.JunitCase(GROUPS[group_of(rule)], name, fault, "" if fault else verdict.seen)
