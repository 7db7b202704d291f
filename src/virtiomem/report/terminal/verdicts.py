"""A conformance report for people: rule by rule, how it was seen, and how to see a failure again."""

from collections.abc import Sequence
from itertools import groupby
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from virtiomem.columns import flowing
from virtiomem.conformance.against import OutcomeChange
from virtiomem.conformance.checks import CHECKS
from virtiomem.conformance.rules import GROUPS, Level, Rule, group_of
from virtiomem.conformance.suite import RuleOutcome, SuiteReport, Verdict
from virtiomem.conformance.testbench import described
from virtiomem.recording.palette import NOT_AS_ASKED
from virtiomem.report.terminal.console import text, width_of

_STYLES = {
    RuleOutcome.PASS: "bold",
    RuleOutcome.FAIL: f"bold {NOT_AS_ASKED}",
    RuleOutcome.NOT_APPLICABLE: "dim",
    RuleOutcome.UNSEEN: "dim",
    RuleOutcome.SKIPPED: "dim",
}
"""The palette's colour for what is not kept; the word says it, too."""

_INDENT = 32
"""Columns before a rule's text: number, level, outcome."""


def show_report(console: Console, report: SuiteReport, changes: Sequence[OutcomeChange] | None = None) -> None:
    """Print every rule, the failures with what to do to see them again, what changed since another report, and a summary."""
    console.print(text(report.target, "bold"))
    for group, verdicts in groupby(report.verdicts, key=lambda verdict: group_of(verdict.rule)):
        _show_group(console, GROUPS[group], list(verdicts))
    for number, verdict in enumerate(report.failures, 1):
        _show_failure(console, number, verdict)
    if changes is not None:
        console.print()
        console.print(text(f"Since the other report {len(changes)} rule{'s' * (len(changes) != 1)} changed", "bold"))
    for change in changes or ():
        _flow(console, "  ", str(change))
    console.print()
    _flow(console, "", summary(report))


def summary(report: SuiteReport) -> str:
    """The report in one line."""
    binding = sum(verdict.rule.level in report.binding for verdict in report.failures)
    levels = " or ".join(level for level in Level if level in report.binding)
    more = "; --fail-on counts the others, too" if not all(map(report.breaks, report.failures)) else ""
    lost = sum(verdict.lost for verdict in report.failures)
    skipped = report.count(RuleOutcome.SKIPPED)
    return (
        f"{len(report.verdicts)} rule{'s' * (len(report.verdicts) != 1)}: {report.count(RuleOutcome.PASS)} pass, "
        f"{report.count(RuleOutcome.FAIL)} fail ({binding} of them {levels}{f'; the device was lost in {lost}' if lost else ''}{more}), "
        f"{report.count(RuleOutcome.NOT_APPLICABLE)} not applicable, "
        f"{report.count(RuleOutcome.UNSEEN)} not to be seen from the driver's side"
        f"{f', {skipped} skipped' if skipped else ''}"
        f"{'' if report.checked else ': nothing was checked'}"
    )


def _show_group(console: Console, heading: str, verdicts: Sequence[Verdict]) -> None:
    console.print()
    console.print(text(f"{heading} ({_section(verdicts[0].rule)})", "bold"))
    for verdict in verdicts:
        rule = verdict.rule
        line = Text.assemble(f"  {rule.id:<11}{rule.level:<11}", (f"{verdict.outcome:<8}", _STYLES[verdict.outcome]))
        for number, piece in enumerate(wrap(rule.text, console.width - _INDENT)):
            line.append(piece if not number else f"\n{'':{_INDENT}}{piece}")
        console.print(line)
        for piece in wrap(verdict.seen, console.width - _INDENT - 2):
            console.print(text(f"{'':{_INDENT + 2}}{piece}", "dim"))


def _show_failure(console: Console, number: int, verdict: Verdict) -> None:
    console.print()
    heading = f"Failure {number}: {verdict.rule.id} ({verdict.rule.section}, {verdict.rule.level}): {verdict.rule.text}"
    _flow(console, "", heading, "bold")
    _flow(console, "  ", f"{verdict.seen.removesuffix('.')}. To see it again:")
    for step, line in enumerate(verdict.reproducer, 1):
        _flow(console, f"  {step:>3}. ", line)
    show_said(console, verdict.said)


def show_rules(console: Console, rules: Sequence[Rule]) -> None:
    """Print where rules stand, and how each is seen or why a driver cannot see it."""
    for rule in rules:
        _flow(console, "", f"{rule.id}  {rule.level}: {rule.text}", "bold")
        _flow(console, "  stands in  ", rule.source)
        if rule.unseen is not None:
            _flow(console, "  unseen     ", rule.unseen)
        for check in CHECKS.get(rule.id, ()):
            _flow(console, "  seen by    ", f"{check.words}, on a device {described(check.spec)}")


def show_said(console: Console, lines: Sequence[str]) -> None:
    """Print what a program said last."""
    if lines:
        console.print(text("  It said last, on standard error:"))
    for line in lines:
        console.print(text(f"    {line}"))


def _flow(console: Console, head: str, words: str, style: str = "") -> None:
    """Print words in as many lines as they take."""
    for line in flowing(head, words, width_of(console)):
        console.print(text(line, style))


def _section(rule: Rule) -> str:
    """Say where a group's rules stand."""
    return {"SOUND": "no specification says so", "VIRTIO": "2", "UAPI": rule.section}.get(group_of(rule), rule.section)
