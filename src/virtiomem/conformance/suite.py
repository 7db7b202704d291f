"""Run the checks and say, rule by rule, how a device fares."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from virtiomem.conformance.checks import CHECKS, Check
from virtiomem.conformance.rules import BINDING, RULES, Level, Rule
from virtiomem.conformance.testbench import Bench, NotApplicable, Target, Violation
from virtiomem.errors import BackendError, DeviceError, ProtocolError


class RuleOutcome(StrEnum):
    """Outcome of one rule on one device."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "n/a"
    UNSEEN = "unseen"
    """A driver cannot see it."""
    SKIPPED = "skipped"
    """Not tried: the caller excluded it, with a reason."""


GIVE_UP = 3
"""Rules in a row that the device did not survive."""

_WORST = (RuleOutcome.FAIL, RuleOutcome.PASS, RuleOutcome.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one rule, how it was seen, and what to do to see a failure again."""

    rule: Rule
    outcome: RuleOutcome
    seen: str
    reproducer: tuple[str, ...] = ()
    lost: bool = False
    """The device ended or stopped answering during the check."""
    said: tuple[str, ...] = ()
    """Last lines that a program then said on standard error."""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """All verdicts on one device, in the rules' order."""

    target: str
    verdicts: tuple[Verdict, ...]
    binding: frozenset[Level] = BINDING
    """Levels that a device must keep."""

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """Verdicts that failed."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is RuleOutcome.FAIL)

    @property
    def conforms(self) -> bool:
        """True when no rule of a binding level failed, and the device survived all of it."""
        return not any(map(self.breaks, self.verdicts))

    def breaks(self, verdict: Verdict) -> bool:
        """True for a rule of a binding level that is not kept, and for whatever the device did not survive."""
        return verdict.outcome is RuleOutcome.FAIL and (verdict.lost or verdict.rule.level in self.binding)

    @property
    def checked(self) -> bool:
        """True when any rule was seen kept or broken."""
        return any(verdict.outcome in {RuleOutcome.PASS, RuleOutcome.FAIL} for verdict in self.verdicts)

    def count(self, outcome: RuleOutcome) -> int:
        """Return the number of rules with this outcome."""
        return sum(verdict.outcome is outcome for verdict in self.verdicts)


def run(
    target: Target,
    rules: Sequence[Rule] = RULES,
    on_rule: Callable[[Rule], None] | None = None,
    skipped: Mapping[Rule, str] | None = None,
    binding: frozenset[Level] = BINDING,
) -> SuiteReport:
    """Check every rule in turn, telling `on_rule` before each; those `skipped` are not tried, for the reason there.

    The levels in `binding` are those that a device must keep.

    A device that a check does not survive fails the rule, and the next has a new one; after `GIVE_UP` of them in a row no
    more are tried. Raises BackendError when there is no device to begin with.
    """
    verdicts: list[Verdict] = []
    for rule in rules:
        if skipped and rule in skipped:
            verdicts.append(Verdict(rule, RuleOutcome.SKIPPED, skipped[rule]))
            continue
        if on_rule is not None:
            on_rule(rule)
        # A device that dies three times in a row will die of the other hundred as well, each after its time limit.
        if len(verdicts) >= GIVE_UP and all(verdict.lost for verdict in verdicts[-GIVE_UP:]):
            why = f"not tried: the device was lost in {GIVE_UP} rules one after the other"
            verdicts += [Verdict(left, RuleOutcome.NOT_APPLICABLE, why) for left in rules[len(verdicts) :]]
            break
        try:
            started = time.monotonic()
            verdict = judge(target, rule)
            verdicts.append(replace(verdict, seconds=time.monotonic() - started))
        except BackendError as lost:
            # Nothing was tried yet: there is no device, rather than one that a rule has killed.
            if all(verdict.outcome is RuleOutcome.SKIPPED for verdict in verdicts):
                raise
            words = f"there is no device any more: {lost}"
            verdicts.append(Verdict(rule, RuleOutcome.FAIL, words, lost=True, said=lost.said))
    return SuiteReport(target.name, tuple(verdicts), binding)


def judge(target: Target, rule: Rule) -> Verdict:
    """One rule: the first of its checks that fails, else what all of them saw; BackendError when there is no device."""
    if rule.unseen is not None:
        return Verdict(rule, RuleOutcome.UNSEEN, rule.unseen)
    # A rule with one check beyond registers and ring is looked at by that one.
    if not target.has_virtio and all(check.virtio for check in CHECKS[rule.id]):
        return Verdict(rule, RuleOutcome.NOT_APPLICABLE, "this device is given messages: registers and ring are ours")
    looks = [_look(target, rule, check) for check in CHECKS[rule.id]]
    # One check that fails breaks the rule, whatever the others saw.
    worst = min(looks, key=lambda look: _WORST.index(look.outcome))
    if worst.outcome is not RuleOutcome.PASS:
        return worst
    passed = (look.seen for look in looks if look.outcome is RuleOutcome.PASS)
    return Verdict(rule, RuleOutcome.PASS, "; ".join(dict.fromkeys(passed)))


def _look(target: Target, rule: Rule, check: Check) -> Verdict:
    bench: Bench | None = None
    try:
        with target.open(check.spec) as device:
            bench = Bench(device, check.spec, has_contents=target.has_contents)
            try:
                return Verdict(rule, RuleOutcome.PASS, check.function(bench))
            except NotApplicable as reason:
                return Verdict(rule, RuleOutcome.NOT_APPLICABLE, str(reason))
            except (Violation, ProtocolError) as finding:
                return Verdict(rule, RuleOutcome.FAIL, str(finding), tuple(bench.notes))
    except BackendError as lost:
        if bench is None:
            raise
        # What was under way has no note yet, and is most likely what it died of.
        notes = (*bench.notes, f"{bench.doing} → the device was lost")
        return Verdict(rule, RuleOutcome.FAIL, f"the device was lost: {lost}", notes, lost=True, said=lost.said)
    # The check needs a shape that this VMM does not make.
    except DeviceError as refusal:
        return Verdict(rule, RuleOutcome.NOT_APPLICABLE, f"no such device: {refusal}")
