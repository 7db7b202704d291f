"""Write the results of the suite and of the fuzzer for machines: JSON and JUnit XML."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from virtiomem import badge, junit
from virtiomem.conformance.against import OutcomeChange
from virtiomem.conformance.fuzz import Figures
from virtiomem.conformance.replay import ReplayResult
from virtiomem.conformance.rules import GROUPS, group_of
from virtiomem.conformance.suite import RuleOutcome, SuiteReport, Verdict
from virtiomem.errors import BackendError, DeviceError


def to_dict(report: SuiteReport, changes: Sequence[OutcomeChange] | None = None) -> dict[str, Any]:
    """The report as JSON has it; `changes` since another one, if it was compared."""
    return {
        "subject": report.target,
        "conforms": report.conforms if report.checked else None,
        "counts": {outcome.value: report.count(outcome) for outcome in RuleOutcome},
        "rules": [_rule(verdict) for verdict in report.verdicts],
        **({} if changes is None else {"changes": [asdict(change) | {"worse": change.worse} for change in changes]}),
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
        "said": list(verdict.said),
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
                "said": list(finding.said),
                "log": [json.loads(msgspec.json.encode(line)) for line in finding.lines],
            }
            for finding in figures.findings
        ],
    }


def to_junit(report: SuiteReport) -> bytes:
    """The report as JUnit XML; a failure is what makes the exit code 1."""
    return junit.to_junit(
        f"virtio-mem conformance: {report.target}", [_case(report, verdict) for verdict in report.verdicts]
    )


def figures_to_junit(figures: Figures) -> bytes:
    """A fuzzing run as JUnit XML: a case that failed for each finding, else one that passed."""
    title = f"virtio-mem fuzzing: {figures.target}"
    counted = f"{figures.requests} requests in {figures.cases} cases, seed {figures.seed}"
    cases = [
        junit.JunitCase(
            "fuzzing",
            f"case {finding.case}",
            junit.Fault("failure", str(finding.difference)),
            said="\n".join(finding.said),
        )
        for finding in figures.findings
    ]
    return junit.to_junit(title, cases or [junit.JunitCase("fuzzing", counted, None, "no difference", figures.seconds)])


def replays_to_junit(outcomes: Mapping[str, ReplayResult]) -> bytes:
    """Replays by log as JUnit XML, a case each."""
    cases = []
    for path, outcome in outcomes.items():
        fault = None
        if outcome.first is not None:
            fault = junit.Fault("failure", f"{outcome.differing} operations differ; the first, {outcome.first}")
        elif outcome.only_begun:
            fault = junit.Fault("skipped", "nothing was done with the device")
        cases.append(junit.JunitCase("replay", path, fault, "" if fault else f"{outcome.requests} requests"))
    return junit.to_junit("virtio-mem replay", cases)


def junit_of_no_device(what: str, error: BackendError | DeviceError) -> bytes:
    """JUnit XML that says why there was no device to test; `what` should have been done with one."""
    said = error.said if isinstance(error, BackendError) else ()
    case = junit.JunitCase(what, "the device can be used", junit.Fault("error", str(error)), said="\n".join(said))
    return junit.to_junit(f"virtio-mem {what}", [case])


def to_badge(report: SuiteReport) -> bytes:
    """The counts as a badge (SVG)."""
    skipped = report.count(RuleOutcome.SKIPPED)
    counts = f"{report.count(RuleOutcome.PASS)} pass, {report.count(RuleOutcome.FAIL)} fail"
    flawless = None if report.failures or skipped else True
    good = flawless if report.conforms and report.checked else False
    return badge.to_svg("virtio-mem conformance", f"{counts}{f', {skipped} skipped' if skipped else ''}", good=good)


def _case(report: SuiteReport, verdict: Verdict) -> junit.JunitCase:
    rule = verdict.rule
    fault = None
    if report.breaks(verdict):
        fault = junit.Fault("failure", verdict.seen, rule.level.value, "\n".join(verdict.reproducer))
    elif verdict.outcome is RuleOutcome.FAIL:
        fault = junit.Fault("skipped", f"not kept, though nothing demands it: {verdict.seen}", rule.level.value)
    elif verdict.outcome is not RuleOutcome.PASS:
        fault = junit.Fault("skipped", f"{verdict.outcome}: {verdict.seen}", verdict.outcome.value)
    name = f"{rule.id} {rule.level}: {rule.text}"
    output = "" if fault else verdict.seen
    return junit.JunitCase(GROUPS[group_of(rule)], name, fault, output, verdict.seconds, "\n".join(verdict.said))
