"""The outputs of `device`."""

from typing import Any

from msgspec import UNSET, UnsetType

from virtiomem.cli.outputs.base import Count, Natural, Printed
from virtiomem.conformance.replay import ReplayDifference
from virtiomem.conformance.rules import Level
from virtiomem.conformance.suite import RuleOutcome


class RuleOutput(Printed, kw_only=True):
    """A rule, how a device fares with it, what was seen, and what to do to see that again.

    `said`: the last lines on standard error of a program that was lost.
    """

    rule: str
    section: str
    level: Level
    text: str
    outcome: RuleOutcome
    seen: str
    reproducer: list[str]
    lost: bool
    said: list[str]


class RuleChange(Printed, kw_only=True):
    """A rule that has another outcome than in the report that was compared."""

    rule: str
    before: RuleOutcome
    after: RuleOutcome
    worse: bool


class SuiteOutput(Printed, kw_only=True):
    """Result of the conformance suite. `conforms`: null when no rule could be tested. `changes`: with --against."""

    subject: str
    conforms: bool | None
    counts: dict[str, Natural]
    rules: list[RuleOutput]
    changes: list[RuleChange] | UnsetType = UNSET


class FuzzFinding(Printed, kw_only=True):
    """A difference between two devices, and the moves that lead to it (a request log).

    `policies`: what --accept takes that would explain it; `found_after`: so many lines had the log that first showed one;
    `said`: the last lines on standard error of a program that broke.
    """

    case: Natural
    what: str
    recorded: str
    ours: str
    policies: list[str]
    found_after: Natural
    said: list[str]
    log: list[dict[str, Any]]


class FuzzOutput(Printed, kw_only=True):
    """Result of a comparison: how much was compared, and what differed.

    `accepted`: how often the model did as the device, by policy; `refused`: shapes of device, with the words of the refusal.
    """

    subject: str
    seed: int
    cases: Natural
    requests: Natural
    answers: dict[str, Count]
    moves: dict[str, Count]
    swept_blocks: Natural
    seconds: float
    accepted: dict[str, Count]
    refused: dict[str, str]
    findings: list[FuzzFinding]


class ReplayOutput(Printed, kw_only=True, rename=None):
    """Result of replaying a request log; `differing` of the operations did, `only_begun`: nothing was done with the device."""

    log: str
    operations: Natural
    requests: Natural
    differing: Natural
    first: ReplayDifference | None
    only_begun: bool
