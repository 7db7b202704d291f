"""Compare a report of the suite with one that was kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from virtiomem.conformance.rules import Level
from virtiomem.conformance.suite import RuleOutcome, SuiteReport
from virtiomem.errors import UsageError
from virtiomem.files import read_bytes
from virtiomem.notation import NotationError, convert, json_values
from virtiomem.text import shown


@dataclass(frozen=True, slots=True)
class OutcomeChange:
    """A rule that has another outcome than before."""

    rule: str
    before: RuleOutcome
    after: RuleOutcome

    @property
    def worse(self) -> bool:
        """True when the rule fails now, or passed and is no longer seen; a skipped rule does not count as worse."""
        return self.after is RuleOutcome.FAIL or (
            self.before is RuleOutcome.PASS and self.after is not RuleOutcome.SKIPPED
        )

    def __str__(self) -> str:
        return f"{self.rule}: {self.before} → {self.after}{' (worse)' if self.worse else ''}"


@dataclass(frozen=True, slots=True)
class KeptReport:
    """A report as it was kept: outcomes by rule."""

    subject: str
    outcomes: Mapping[str, RuleOutcome]

    def changes(self, report: SuiteReport) -> tuple[OutcomeChange, ...]:
        """Rules of both reports with another outcome now, in the rules' order."""
        pairs = ((verdict, self.outcomes.get(verdict.rule.id)) for verdict in report.verdicts)
        return tuple(
            OutcomeChange(verdict.rule.id, before, verdict.outcome)
            for verdict, before in pairs
            # A rule that the kept report does not have is new in the suite, not changed in the device.
            if before not in (None, verdict.outcome)
        )


class _Rule(Struct):
    rule: str
    level: Level
    outcome: RuleOutcome


class _Report(Struct):
    subject: str
    conforms: bool | None
    rules: list[_Rule]


def load_report(path: str | Path) -> KeptReport:
    """Read what `device check --json` printed. Raises UsageError for anything else, which names the key."""
    try:
        report = convert(json_values(read_bytes(path)), _Report)
    except NotationError as error:
        raise UsageError(f"{shown(path)}: not a report of `virtiomem device check --json`: {error}") from None
    return KeptReport(report.subject, {rule.rule: rule.outcome for rule in report.rules})
